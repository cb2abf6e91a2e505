// SPDX-License-Identifier: GPL-2.0-or-later
// Requests and their answers as tables; no socket, no TLS.
#include "control/server/handlers.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/control/server/handlers_rig.h"

namespace trama::server {
namespace {

using testing::HasSubstr;
TEST_F(Handlers, CreateGetDelete) {
  auto made = make_pod("a");
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(api::text_at(body(made), "kind"), "Pod");
  EXPECT_EQ(make_pod("a").status, 409);
  auto got = ask("GET", std::string(kPods) + "/a");
  EXPECT_EQ(got.status, 200);
  EXPECT_EQ(got.body, made.body);
  auto gone = ask("DELETE", std::string(kPods) + "/a", R"({"propagationPolicy":"Background"})");
  EXPECT_EQ(gone.status, 200) << gone.body;
  auto missing = ask("GET", std::string(kPods) + "/a");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(api::text_at(body(missing), "message"), "pods \"a\" not found");
}

struct Case {
  const char *method, *target, *body;
  int status;
  const char* says;
};

TEST_F(Handlers, RefusalsAreStatusesThatSayWhy) {
  const Case cases[] = {
      {"GET", "/api/v1/unicorns", "", 404, "the server could not find the requested resource"},
      {"GET", "/nonsense", "", 404, "the server could not find the requested resource"},
      {"GET", "/api/v1/namespaces/default/pods?fieldSelector=spec.foo%3D1", "", 400, "field label not supported"},
      {"GET", "/api/v1/namespaces/default/pods?labelSelector=a+in+b", "", 400, "unable to parse requirement"},
      {"GET", "/api/v1/namespaces/default/pods?resourceVersion=x", "", 400, "Invalid value"},
      {"GET", "/api/v1/namespaces/default/pods?continue=nonsense", "", 400, "continue key is not valid"},
      {"POST", "/api/v1/namespaces/default/pods", "{", 400, "not JSON"},
      {"POST", "/api/v1/namespaces/default/pods", "[]", 400, "not an object"},
      {"POST", "/api/v1/namespaces/default/pods", R"({"kind":"Service","apiVersion":"v1"})", 400,
       "do not match the expected"},
      {"POST", "/api/v1/namespaces/default/pods", R"({"metadata":{"name":"a","namespace":"other"}})", 400,
       "namespace of the provided object does not match"},
      {"POST", "/api/v1/namespaces/nowhere/pods",
       R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})", 404,
       "namespaces \"nowhere\" not found"},
      {"POST", "/api/v1/pods", R"({"metadata":{"name":"a"}})", 400, "namespace"},
      {"POST", "/api/v1/namespaces/default/services", R"({"metadata":{"name":"a"},"spec":{"ports":[{"port":0}]}})", 422,
       "must be between 1 and 65535, inclusive"},
      {"POST", "/apis/apps/v1/namespaces/default/deployments", R"({"metadata":{"name":"a"},"spec":{"replicas":"3"}})",
       400, "spec.replicas"},
      {"POST", "/api/v1/namespaces/default/pods?dryRun=Some",
       R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})", 422, "dryRun"},
      {"POST", "/api/v1/namespaces/default/pods?fieldValidation=Maybe", R"({"metadata":{"name":"a"}})", 400,
       "fieldValidation"},
      {"POST", "/api/v1/namespaces/default/pods?fieldValidation=Strict",
       R"({"metadata":{"name":"a"},"spec":{"containerss":[],"containers":[{"name":"c","image":"i"}]}})", 400,
       "strict decoding error: unknown field \"spec.containerss\""},
      {"PUT", "/api/v1/namespaces/default/pods/none",
       R"({"metadata":{"name":"none"},"spec":{"containers":[{"name":"c","image":"i"}]}})", 404, "not found"},
      {"PUT", "/api/v1/namespaces/default", R"({"metadata":{"name":"other"}})", 400,
       "does not match the name on the URL"},
      {"POST", "/api/v1/namespaces/default/pods/a/status", "{}", 405, "not allow"},
      {"DELETE", "/api/v1/namespaces/default/pods/a/status", "", 405, "not allow"},
      {"GET", "/api/v1/namespaces/default/pods/a/nonsense", "", 404, "could not find"},
      {"POST", "/version", "{}", 405, "not allow"},
  };
  for (const auto& c : cases) {
    auto r = ask(c.method, c.target, c.body);
    EXPECT_EQ(r.status, c.status) << c.method << " " << c.target << ": " << r.body;
    EXPECT_THAT(api::text_at(body(r), "message") + r.body, HasSubstr(c.says)) << c.method << " " << c.target;
    EXPECT_EQ(api::text_at(body(r), "kind"), "Status") << c.target;
    EXPECT_EQ(api::int_at(body(r), "code"), c.status) << c.target;
  }
}

TEST_F(Handlers, UnknownFieldsWarnByDefault) {
  auto r = ask("POST", kPods, R"({"metadata":{"name":"a"},"spec":{"typo":1,"containers":[{"name":"c","image":"i"}]}})");
  EXPECT_EQ(r.status, 201);
  ASSERT_EQ(r.headers.size(), 1u);
  EXPECT_EQ(r.headers[0].first, "Warning");
  EXPECT_THAT(r.headers[0].second, testing::StartsWith("299 - \""));
  EXPECT_THAT(r.headers[0].second, HasSubstr("spec.typo"));
  EXPECT_EQ(api::at(body(r), "spec.typo"), nullptr);
  EXPECT_TRUE(ask("POST", std::string(kPods) + "?fieldValidation=Ignore",
                  R"({"metadata":{"name":"b"},"spec":{"typo":1,"containers":[{"name":"c","image":"i"}]}})")
                  .headers.empty());
}

TEST_F(Handlers, FlagsAreReadAsUpstreamDoes) {
  auto flag = [](const char* target) {
    Request r;
    r.query = parse_target(target)->query;
    return r.flag("watch");
  };
  for (const char* yes : {"/?watch=true", "/?watch=True", "/?watch=1", "/?watch", "/?watch=yes"})
    EXPECT_TRUE(flag(yes)) << yes;
  for (const char* no : {"/", "/?watch=false", "/?watch=False", "/?watch=0"}) EXPECT_FALSE(flag(no)) << no;
}

TEST_F(Handlers, OtherMediaTypesAreRefused) {
  for (const char* type : {"application/yaml", "application/cbor", "text/plain"})
    EXPECT_EQ(ask("POST", kPods, "{}", {{"content-type", type}}).status, 415) << type;
  make_pod("a");
  for (const char* type : {"application/apply-patch+cbor", "application/json", "text/plain"}) {
    auto r = patch(std::string(kPods) + "/a", "{}", type);
    EXPECT_EQ(r.status, 415) << type;
    EXPECT_THAT(r.body, HasSubstr("application/strategic-merge-patch+json"));
  }
  EXPECT_EQ(ask("POST", kPods, R"({"metadata":{"name":"b"},"spec":{"containers":[{"name":"c","image":"i"}]}})",
                {{"content-type", "application/json; charset=utf-8"}})
                .status,
            201);
}

TEST_F(Handlers, ImpersonationIsNeverIgnored) {
  for (const char* header : {"impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-scopes"})
    EXPECT_EQ(ask("GET", kPods, "", {{header, "x"}}).status, 403) << header;
  EXPECT_EQ(ask("GET", kPods).status, 200);
}

TEST_F(Handlers, DryRunLeavesNoTrace) {
  auto before = rig.store().revision();
  auto made = ask("POST", std::string(kPods) + "?dryRun=All",
                  R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})");
  EXPECT_EQ(made.status, 201);
  EXPECT_EQ(ask("GET", std::string(kPods) + "/a").status, 404);
  EXPECT_EQ(rig.store().revision(), before);
  make_pod("a");
  EXPECT_EQ(patch(std::string(kPods) + "/a?dryRun=All", R"({"metadata":{"labels":{"x":"y"}}})", kMerge).status, 200);
  EXPECT_EQ(api::at(body(ask("GET", std::string(kPods) + "/a")), "metadata.labels"), nullptr);
  // Only in the body of a DELETE: ignoring it there deletes for real.
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "/a", R"({"dryRun":["All"]})").status, 200);
  EXPECT_EQ(ask("GET", std::string(kPods) + "/a").status, 200);
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "?dryRun=All").status, 200);
  EXPECT_EQ(ask("POST", std::string(kPods) + "/a/eviction?dryRun=All", R"({"kind":"Eviction"})").status, 201);
  EXPECT_EQ(ask("GET", std::string(kPods) + "/a").status, 200);
}

TEST_F(Handlers, StaleUpdatesConflictAndPatchesDoNot) {
  make_pod("a");
  auto stale = body(ask("GET", std::string(kPods) + "/a"));
  EXPECT_EQ(patch(std::string(kPods) + "/a", R"({"metadata":{"labels":{"x":"1"}}})", kStrategic).status, 200);
  auto r = ask("PUT", std::string(kPods) + "/a", json::serialize(stale));
  EXPECT_EQ(r.status, 409);
  EXPECT_EQ(api::text_at(body(r), "reason"), "Conflict");
  EXPECT_EQ(patch(std::string(kPods) + "/a", R"({"metadata":{"labels":{"x":"2"}}})", kMerge).status, 200);
  auto old = api::text_at(stale, "metadata.resourceVersion");
  EXPECT_EQ(patch(std::string(kPods) + "/a", R"({"metadata":{"resourceVersion":")" + old + R"(","labels":{"x":"3"}}})",
                  kMerge)
                .status,
            409)
      << "a version in the patch is a precondition";
  EXPECT_EQ(
      patch(std::string(kPods) + "/a", R"([{"op":"replace","path":"/metadata/labels/x","value":"4"}])", kJson).status,
      200);
  EXPECT_EQ(api::text_at(body(ask("GET", std::string(kPods) + "/a")), "metadata.labels.x"), "4");
}

TEST_F(Handlers, AnUnchangedObjectKeepsItsRevision) {
  make_pod("a");
  auto before = rig.store().revision();
  EXPECT_EQ(patch(std::string(kPods) + "/a", "{}", kMerge).status, 200);
  EXPECT_EQ(rig.store().revision(), before);
}

TEST_F(Handlers, StatusSubresource) {
  make_pod("a");
  auto r = patch(std::string(kPods) + "/a/status",
                 R"({"metadata":{"labels":{"x":"1"}},"spec":{"hostNetwork":true},"status":{"phase":"Running"}})",
                 kStrategic);
  EXPECT_EQ(r.status, 200) << r.body;
  auto pod = body(r);
  EXPECT_EQ(api::text_at(pod, "status.phase"), "Running");
  EXPECT_EQ(api::at(pod, "metadata.labels"), nullptr);
  EXPECT_EQ(api::at(pod, "spec.hostNetwork"), nullptr);
  patch(std::string(kPods) + "/a", R"({"status":{"phase":"Failed"}})", kMerge);
  EXPECT_EQ(api::text_at(body(ask("GET", std::string(kPods) + "/a")), "status.phase"), "Running");
}

TEST_F(Handlers, ScaleAndBinding) {
  const std::string deployments = "/apis/apps/v1/namespaces/default/deployments";
  ask("POST", deployments,
      R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})");
  auto scale = body(ask("GET", deployments + "/d/scale"));
  EXPECT_EQ(api::text_at(scale, "kind"), "Scale");
  EXPECT_EQ(api::text_at(scale, "status.selector"), "a=b");
  EXPECT_EQ(patch(deployments + "/d/scale", R"({"spec":{"replicas":3}})", kMerge).status, 200);
  auto deployment = body(ask("GET", deployments + "/d"));
  EXPECT_EQ(api::int_at(deployment, "spec.replicas"), 3);
  EXPECT_EQ(api::int_at(deployment, "metadata.generation"), 2);
  EXPECT_EQ(patch(deployments + "/d/scale", R"({"spec":{"replicas":-1}})", kMerge).status, 422);

  make_pod("a");
  const std::string binding = R"({"target":{"kind":"Node","name":"n1"}})";
  EXPECT_EQ(ask("POST", std::string(kPods) + "/a/binding", binding).status, 201);
  EXPECT_EQ(api::text_at(body(ask("GET", std::string(kPods) + "/a")), "spec.nodeName"), "n1");
  EXPECT_EQ(ask("POST", std::string(kPods) + "/a/binding", binding).status, 409);
}

TEST_F(Handlers, GracefulDeletion) {
  make_pod("a", R"("nodeName":"n1",)");
  auto r = body(ask("DELETE", std::string(kPods) + "/a"));
  EXPECT_NE(api::text_at(r, "metadata.deletionTimestamp"), "");
  EXPECT_EQ(api::int_at(r, "metadata.deletionGracePeriodSeconds"), 30);
  EXPECT_EQ(ask("GET", std::string(kPods) + "/a").status, 200);
  EXPECT_EQ(
      ask("DELETE", std::string(kPods) + "/a", R"({"gracePeriodSeconds":0,"preconditions":{"uid":"other"}})").status,
      409);
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "/a", R"({"gracePeriodSeconds":0})").status, 200);
  EXPECT_EQ(ask("GET", std::string(kPods) + "/a").status, 404);
}

TEST_F(Handlers, DeleteCollectionHonoursSelectors) {
  for (const char* name : {"a", "b", "c"}) make_pod(name);
  patch(std::string(kPods) + "/b", R"({"metadata":{"labels":{"keep":"me"}}})", kMerge);
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "?labelSelector=!keep").status, 200);
  auto left = body(ask("GET", kPods)).at("items").as_array();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_EQ(api::text_at(left[0].as_object(), "metadata.name"), "b");
}

TEST_F(Handlers, PagesCoverEverythingOnce) {
  for (int i = 0; i < 25; ++i) make_pod("p" + std::to_string(i));
  std::set<std::string> seen;
  std::string next, revision;
  int pages = 0;
  do {
    auto page = body(ask("GET", std::string(kPods) + "?limit=10" + (next.empty() ? "" : "&continue=" + next)));
    for (const auto& item : page.at("items").as_array())
      EXPECT_TRUE(seen.insert(api::text_at(item.as_object(), "metadata.name")).second);
    if (revision.empty()) revision = api::text_at(page, "metadata.resourceVersion");
    EXPECT_EQ(api::text_at(page, "metadata.resourceVersion"), revision)
        << "a watch from here must see what happens between the pages";
    next = api::text_at(page, "metadata.continue");
    if (++pages == 1) {
      EXPECT_EQ(api::int_at(page, "metadata.remainingItemCount"), 15);
    }
    make_pod("between" + std::to_string(pages));
  } while (!next.empty() && pages < 10);
  EXPECT_GE(seen.size(), 25u);
  for (int i = 0; i < 25; ++i) EXPECT_TRUE(seen.count("p" + std::to_string(i)));
}

TEST_F(Handlers, ListRevisions) {
  EXPECT_EQ(ask("GET", std::string(kPods) + "?resourceVersion=0").status, 200);
  EXPECT_EQ(ask("GET", std::string(kPods) + "?resourceVersion=1&resourceVersionMatch=NotOlderThan").status, 200);
  auto future = ask("GET", std::string(kPods) + "?resourceVersion=999999999");
  EXPECT_EQ(future.status, 504);
  EXPECT_THAT(future.body, HasSubstr("ResourceVersionTooLarge"));
}

TEST_F(Handlers, TablesWhenAskedFor) {
  make_pod("a");
  const std::string table =
      "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
  auto list = body(ask("GET", kPods, "", {{"accept", table}}));
  EXPECT_EQ(api::text_at(list, "kind"), "Table");
  EXPECT_EQ(api::text_at(list, "apiVersion"), "meta.k8s.io/v1");
  EXPECT_EQ(list.at("rows").as_array().size(), 1u);
  EXPECT_EQ(api::text_at(list.at("rows").as_array()[0].as_object(), "object.metadata.name"), "a");
  EXPECT_EQ(api::text_at(body(ask("GET", std::string(kPods) + "/a", "", {{"accept", table}})), "kind"), "Table");
  EXPECT_EQ(api::text_at(body(ask("GET", kPods, "", {{"accept", "application/vnd.kubernetes.protobuf, */*"}})), "kind"),
            "PodList");
}

TEST_F(Handlers, EventsUnderBothGroups) {
  auto r = ask(
      "POST", "/apis/events.k8s.io/v1/namespaces/default/events",
      R"({"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"e"},"regarding":{"kind":"Pod","name":"a"},"note":"hello","reason":"R","type":"Normal","reportingController":"x"})");
  EXPECT_EQ(r.status, 201) << r.body;
  auto core = body(ask("GET", "/api/v1/namespaces/default/events/e"));
  EXPECT_EQ(api::text_at(core, "message"), "hello");
  EXPECT_EQ(api::text_at(core, "involvedObject.name"), "a");
  EXPECT_EQ(api::text_at(core, "apiVersion"), "v1");
  auto newer = body(ask("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e"));
  EXPECT_EQ(api::text_at(newer, "note"), "hello");
  EXPECT_EQ(api::text_at(newer, "apiVersion"), "events.k8s.io/v1");
  EXPECT_EQ(body(ask("GET", "/api/v1/events?fieldSelector=involvedObject.name%3Da")).at("items").as_array().size(), 1u);
}

TEST_F(Handlers, AdmissionsDecideInsideTheWrite) {
  options.admissions.push_back([](store::Transaction& tx, const api::Key& key, const api::Object* old,
                                  json::object* body, const Identity& identity) -> std::optional<api::Status> {
    EXPECT_EQ(identity.name, "admin");
    if (key.resource != "configmaps") return std::nullopt;
    if (!body) return api::Status::forbidden("kept for ever");
    EXPECT_EQ(old == nullptr, tx.get(key) == nullptr);
    api::make_object_at(*body, "data")["stamped"] = "yes";
    return std::nullopt;
  });
  const std::string maps = "/api/v1/namespaces/default/configmaps";
  EXPECT_EQ(api::text_at(body(ask("POST", maps, R"({"metadata":{"name":"c"}})")), "data.stamped"), "yes");
  EXPECT_EQ(ask("DELETE", maps + "/c").status, 403);
  EXPECT_EQ(ask("GET", maps + "/c").status, 200);
}

TEST_F(Handlers, ANodeWritesItsOwnOnly) {
  make_pod("mine", R"("nodeName":"n1",)");
  make_pod("other", R"("nodeName":"n2",)");
  who = {"system:node:n1", {"system:nodes"}};
  EXPECT_EQ(ask("POST", "/api/v1/nodes",
                R"({"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"n1"}},"status":{"phase":"x"}})")
                .status,
            201);
  EXPECT_EQ(ask("POST", "/api/v1/nodes", R"({"metadata":{"name":"n2"}})").status, 403);
  EXPECT_EQ(patch("/api/v1/nodes/n1", R"({"spec":{"unschedulable":true}})", kMerge).status, 403);
  EXPECT_EQ(patch("/api/v1/nodes/n1/status", R"({"status":{"phase":"y"}})", kMerge).status, 200);
  EXPECT_EQ(patch(std::string(kPods) + "/mine/status", R"({"status":{"phase":"Running"}})", kMerge).status, 200);
  EXPECT_EQ(patch(std::string(kPods) + "/other/status", R"({"status":{"phase":"Running"}})", kMerge).status, 403);
  EXPECT_EQ(patch(std::string(kPods) + "/mine", R"({"metadata":{"labels":{"a":"b"}}})", kMerge).status, 403);
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "/other?gracePeriodSeconds=0").status, 403);
  EXPECT_EQ(ask("DELETE", std::string(kPods) + "/mine?gracePeriodSeconds=0").status, 200);
  EXPECT_EQ(ask("GET", "/api/v1/secrets").status, 403);
  who = {"admin", {"system:masters"}};
  EXPECT_EQ(ask("GET", std::string(kPods) + "/other").status, 200);
}

TEST_F(Handlers, SigningRequestsRecordTheirMaker) {
  who = {"system:bootstrap:abc", {"system:bootstrappers"}};
  const std::string csrs = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
  auto made = body(ask(
      "POST", csrs,
      R"({"metadata":{"name":"c"},"spec":{"request":"eA==","signerName":"kubernetes.io/x","usages":["client auth"],"username":"admin","groups":["system:masters"]}})"));
  EXPECT_EQ(api::text_at(made, "spec.username"), "system:bootstrap:abc");
  EXPECT_EQ(json::serialize(*api::at(made, "spec.groups")), R"(["system:bootstrappers"])");
  EXPECT_EQ(ask("GET", csrs + "/c").status, 200);
  EXPECT_EQ(ask("GET", csrs).status, 403);
  who.name = "system:bootstrap:xyz";
  EXPECT_EQ(ask("GET", csrs + "/c").status, 403);
}

TEST_F(Handlers, NestingIsBounded) {
  std::string deep = "1";
  for (int i = 0; i < 70; ++i) deep = "{\"a\":" + deep + "}";
  EXPECT_EQ(
      ask("POST", kPods,
          R"({"metadata":{"name":"a"},"spec":{"affinity":)" + deep + R"(,"containers":[{"name":"c","image":"i"}]}})")
          .status,
      400);
  // Each operation of a JSON patch wraps the value once more.
  make_pod("a");
  json::array wrap;
  for (int i = 0; i < 100; ++i)
    for (auto [op, from, path] : {std::tuple{"move", "/spec/affinity", "/metadata/keep"},
                                  {"add", "", "/spec/affinity"},
                                  {"move", "/metadata/keep", "/spec/affinity/a"}}) {
      json::object o;
      o["op"] = i == 0 && std::string_view(op) == "move" && std::string_view(path) == "/metadata/keep" ? "add" : op;
      if (*from) o["from"] = from;
      o["path"] = path;
      o["value"] = json::object();
      wrap.push_back(std::move(o));
    }
  auto r = patch(std::string(kPods) + "/a", json::serialize(wrap), kJson);
  EXPECT_EQ(r.status, 400) << r.body.substr(0, 300);
}

TEST_F(Handlers, DiscoveryInBothForms) {
  auto groups = ask("GET", "/apis");
  EXPECT_THAT(groups.body, HasSubstr("discovery.k8s.io"));
  auto v2 = ask("GET", "/apis", "",
                {{"accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"}});
  EXPECT_EQ(v2.content_type, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList");
  EXPECT_EQ(api::text_at(body(v2), "kind"), "APIGroupDiscoveryList");
  auto core = body(ask("GET", "/api/v1"));
  bool eviction = false;
  for (const auto& r : core.at("resources").as_array())
    if (api::text_at(r.as_object(), "name") == "pods/eviction")
      eviction = api::text_at(r.as_object(), "group") == "policy";
  EXPECT_TRUE(eviction) << "kubectl drain falls back to DELETE without it";
  auto openapi = ask("GET", "/openapi/v2");
  EXPECT_EQ(openapi.status, 200);
  EXPECT_TRUE(openapi.body.empty());
  EXPECT_EQ(openapi.content_type, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
  EXPECT_THAT(ask("GET", "/version").body, HasSubstr("gitVersion"));
}

TEST_F(Handlers, OpenApiDocumentsAreFoundThroughTheirIndex) {
  std::set<std::string> urls;
  auto index = body(ask("GET", "/openapi/v3"));
  for (const auto& [name, entry] : api::object_at(index, "paths")) {
    auto url = api::text_at(entry.as_object(), "serverRelativeURL");
    EXPECT_THAT(url, HasSubstr("?hash="));
    EXPECT_TRUE(urls.insert(url.substr(url.find('=') + 1)).second) << "two documents with one hash";
    auto document = ask("GET", url);
    EXPECT_EQ(document.status, 200) << url;
    EXPECT_EQ(document.content_type, "application/json");
    EXPECT_FALSE(api::object_at(body(document), "components.schemas").empty()) << url;
    EXPECT_EQ(ask("GET", url).body, document.body);
  }
  EXPECT_EQ(urls.size(), 10u) << "reviews, which are only asked, included";
  EXPECT_EQ(ask("GET", "/openapi/v3/apis/unicorns/v1").status, 404);
}

}  // namespace
}  // namespace trama::server
