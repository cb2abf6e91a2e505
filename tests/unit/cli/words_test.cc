// SPDX-License-Identifier: GPL-2.0-or-later
// Exit codes, kinds, tables, patches, durations, ages, wait conditions: what verbs are made of.
#include <gmock/gmock.h>

#include "cli/age.h"
#include "cli/condition.h"
#include "cli/describe.h"
#include "cli/exit.h"
#include "cli/kinds.h"
#include "cli/patch.h"
#include "cli/table.h"
#include "cli/verbs/verbs.h"

namespace trama::cli {
namespace {

using base::Error;
using testing::HasSubstr;

json::object object(const char* text) { return json::parse(text).as_object(); }

TEST(Exit, CodesFollowTheKindOfError) {
  auto of = [](std::errc c) { return code(exit_of(Error::text("x", c))); };
  EXPECT_EQ(of(std::errc::invalid_argument), 2);
  EXPECT_EQ(of(std::errc::no_such_file_or_directory), 3);
  EXPECT_EQ(of(std::errc::file_exists), 4);
  EXPECT_EQ(of(std::errc::connection_refused), 5);
  EXPECT_EQ(of(std::errc::timed_out), 6);
  EXPECT_EQ(of(std::errc::operation_not_permitted), 7);
  EXPECT_EQ(of(std::errc::not_supported), 8);
  EXPECT_EQ(of(std::errc::io_error), 70);
  EXPECT_EQ(of(std::errc::operation_canceled), 130);
  EXPECT_EQ(code(exit_of(Error::from_errno(ECONNREFUSED, "connect"))), 5);
}

TEST(Exit, DidYouMean) {
  std::vector<std::string> verbs{"get", "describe", "delete", "apply", "exec", "events"};
  EXPECT_EQ(did_you_mean("gte", verbs), "get");
  EXPECT_EQ(did_you_mean("aply", verbs), "apply");
  EXPECT_EQ(did_you_mean("descripe", verbs), "describe");
  EXPECT_EQ(did_you_mean("frobnicate", verbs), "");
  EXPECT_EQ(did_you_mean("xyz", verbs), "");
}

std::string references(std::vector<std::string> words, bool names = false) {
  auto r = parse_references(words, names);
  if (!r) return "error: " + r.error().to_string();
  std::string out;
  for (const auto& x : *r) out += std::string(x.kind->resource) + "/" + x.name + " ";
  return out;
}

TEST(Kinds, EverySpellingOfReferences) {
  EXPECT_EQ(references({"pods"}), "pods/ ");
  EXPECT_EQ(references({"po,svc,deployment"}), "pods/ services/ deployments/ ");
  EXPECT_EQ(references({"Pod", "a", "b"}), "pods/a pods/b ");
  EXPECT_EQ(references({"pod/a", "svc/b", "deployments.apps/c"}), "pods/a services/b deployments/c ");
  EXPECT_THAT(references({"pod"}, true), HasSubstr("which pod?"));
  EXPECT_THAT(references({"pod/"}, true), HasSubstr("which pod?"));
  EXPECT_THAT(references({"pod/a", "b"}), HasSubstr("either KIND/NAME"));
  EXPECT_THAT(references({"deploymnt"}), HasSubstr("did you mean \"deployment\"?"));
  EXPECT_THAT(references({}), HasSubstr("expected a kind"));
}

TEST(Kinds, ManifestHeaders) {
  EXPECT_TRUE(find_kind("apps/v1", "Deployment"));
  EXPECT_EQ(find_kind("v1", "Deployment").error().to_string(),
            "expected apiVersion \"apps/v1\" for a Deployment, got \"v1\"");
  EXPECT_THAT(find_kind("v1", "Servic").error().to_string(), HasSubstr("did you mean \"Service\"?"));
  EXPECT_EQ(path_of(**find_kind("pods"), "default", "a"), "/api/v1/namespaces/default/pods/a");
  EXPECT_EQ(path_of(**find_kind("nodes"), "default", "n1"), "/api/v1/nodes/n1");
  EXPECT_EQ(path_of(**find_kind("deploy"), ""), "/apis/apps/v1/deployments");
  EXPECT_EQ(display_name(**find_kind("deploy"), "web"), "deployment.apps/web");
}

TEST(Table, ColumnsFitTheirWidestCell) {
  Table t{{"NAME", "STATUS"}, {{"a", "Running"}, {"längér", "x"}, {"b"}}};
  EXPECT_EQ(t.to_text(), "NAME     STATUS\na        Running\nlängér   x\nb\n");
  EXPECT_EQ(Table{}.to_text(), "");
}

TEST(Table, FromTheServer) {
  auto server =
      object(R"({"kind":"Table","columnDefinitions":[{"name":"Name"},{"name":"Ready"},{"name":"IP","priority":1}],
    "rows":[{"cells":["web-1","1/1","10.0.0.1"],"object":{"metadata":{"namespace":"default"}}},{"cells":["a\u001b[31m",2,null]}]})");
  EXPECT_EQ(from_server_table(server, {})->to_text(), "NAME     READY\nweb-1    1/1\na [31m   2\n");
  TableOptions wide;
  wide.wide = wide.with_namespace = true;
  wide.name_prefix = "pod/";
  EXPECT_EQ(from_server_table(server, wide)->to_text(),
            "NAMESPACE   NAME         READY   IP\ndefault     pod/web-1    1/1     10.0.0.1\n            pod/a [31m   "
            "2       <none>\n");
  EXPECT_FALSE(from_server_table(object("{}"), {}));
}

TEST(Patch, TakesAwayOnlyWhatWasAppliedBefore) {
  auto last = object(R"({"metadata":{"name":"w","labels":{"a":"1","b":"2"}},"spec":{"replicas":2,"x":{"y":1}}})");
  auto want = object(R"({"metadata":{"name":"w","labels":{"a":"1"}},"spec":{"replicas":3}})");
  auto patch = apply_patch(want, last);
  auto annotation = patch["metadata"].as_object()["annotations"].as_object()[kLastApplied];
  EXPECT_EQ(json::parse(annotation.as_string()), json::value(want));
  patch["metadata"].as_object().erase("annotations");
  EXPECT_EQ(json::value(patch),
            json::parse(R"({"metadata":{"name":"w","labels":{"a":"1","b":null}},"spec":{"replicas":3,"x":null}})"));
}

TEST(Patch, ListsAreMergedByTheirKey) {
  auto last = object(R"({"spec":{"ports":[{"port":80,"nodePort":30080},{"port":81}],"externalIPs":["1.1.1.1"]}})");
  auto want = object(R"({"spec":{"ports":[{"port":80}],"externalIPs":["2.2.2.2"]}})");
  auto patch = apply_patch(want, last);
  EXPECT_EQ(patch["spec"],
            json::parse(
                R"({"ports":[{"port":80,"nodePort":null},{"$patch":"delete","port":81}],"externalIPs":["2.2.2.2"]})"));
  auto containers =
      apply_patch(object(R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":1}]}]}})"),
                  object(R"({"spec":{"containers":[{"name":"a","ports":[{"containerPort":2}]},{"name":"b"}]}})"));
  EXPECT_EQ(
      containers["spec"],
      json::parse(
          R"({"containers":[{"name":"a","ports":[{"containerPort":1},{"$patch":"delete","containerPort":2}]},{"$patch":"delete","name":"b"}]})"));
}

TEST(Words, Durations) {
  EXPECT_EQ(parse_duration("30s")->count(), 30'000);
  EXPECT_EQ(parse_duration("250ms")->count(), 250);
  EXPECT_EQ(parse_duration("1h30m")->count(), 5'400'000);
  EXPECT_EQ(parse_duration("5")->count(), 5'000);
  for (auto bad : {"", "s", "5x", "-1s", "1d", "99999999999s"}) EXPECT_FALSE(parse_duration(bad)) << bad;
}

TEST(Words, Ages) {
  EXPECT_EQ(age_since(std::time(nullptr) + 100), "0s") << "clocks differ";
  EXPECT_EQ(unix_seconds("1970-01-01T00:01:00Z"), 60);
  EXPECT_EQ(age_of("never"), "<unknown>");
}

TEST(Condition, WhatWaitUnderstands) {
  auto pod = object(
      R"({"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"},{"type":"X","status":"False"}]}})");
  auto is = [&](const char* text) { return holds(*parse_wait_for(text), &pod); };
  EXPECT_TRUE(is("condition=Ready"));
  EXPECT_FALSE(is("condition=Ready=False"));
  EXPECT_TRUE(is("condition=X=False"));
  EXPECT_FALSE(is("condition=Absent"));
  EXPECT_TRUE(is("jsonpath={.status.phase}=Running"));
  EXPECT_FALSE(is("jsonpath={.status.phase}=Failed"));
  EXPECT_TRUE(is("jsonpath={.status.phase}"));
  EXPECT_TRUE(is("create"));
  EXPECT_FALSE(is("delete"));
  EXPECT_TRUE(holds(*parse_wait_for("delete"), nullptr));
  EXPECT_FALSE(holds(*parse_wait_for("condition=Ready"), nullptr));
  EXPECT_FALSE(parse_wait_for("ready"));
  EXPECT_FALSE(parse_wait_for("jsonpath=.status"));
}

TEST(Describe, ServiceNamesItsEndpoints) {
  Surroundings around;
  around.related.push_back(object(R"({"ports":[{"port":8080}],"endpoints":[{"addresses":["10.244.1.2"],"nodeName":"n1",
    "targetRef":{"name":"web-1"},"conditions":{"ready":true}}]})"));
  auto service =
      object(R"({"metadata":{"name":"web","namespace":"default"},"spec":{"type":"NodePort","clusterIPs":["10.96.0.10"],
    "selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":8080,"nodePort":30080}]}})");
  auto text = describe_text(**find_kind("svc"), service, around);
  EXPECT_THAT(text, HasSubstr("http 80/TCP -> 8080  node port 30080"));
  EXPECT_THAT(text, HasSubstr("10.244.1.2   8080    web-1   n1     yes"));
  around.related.clear();
  EXPECT_THAT(describe_text(**find_kind("svc"), service, around), HasSubstr("none: no ready pod"));
}

}  // namespace
}  // namespace trama::cli
