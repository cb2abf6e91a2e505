// SPDX-License-Identifier: GPL-2.0-or-later
// DaemonSets, Jobs and NetworkPolicies on their way into the store: defaults, selectors made for them, refusals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/lifecycle.h"
#include "control/api/schema.h"

namespace trama::api {
namespace {

using testing::HasSubstr;
using testing::Not;

const Time kNow = std::chrono::system_clock::from_time_t(1'767'225'600);

json::object parsed(const std::string& text) { return json::parse(text).as_object(); }

std::string causes_of(const Status& s) {
  std::string out;
  for (const auto& c : s.causes) out += c.field + ": " + c.message + "\n";
  return out;
}

// The object as a create stores it, or what stands against it as "field: message\n".
struct Made {
  json::object body;
  std::string said;
};
Made make(const char* resource, const std::string& text) {
  const auto& kind = *kind_of_resource(resource);
  auto body = parsed(text);
  Findings found;
  check_schema(kind, body, found);
  Made m;
  for (const auto& u : found.unknown) m.said += u + "\n";
  for (const auto& t : found.mistyped) m.said += t + "\n";
  for (const auto& c : found.invalid) m.said += c.field + ": " + c.message + "\n";
  auto answer = prepare_create(kind, {resource, "d", ""}, std::move(body), kNow);
  if (answer)
    m.body = *answer;
  else
    m.said += causes_of(answer.error());
  return m;
}

// What an update to the object with `change` applied is told.
std::string change(const char* resource, const json::object& from, const std::function<void(json::object&)>& change) {
  const auto& kind = *kind_of_resource(resource);
  auto old = make_object({resource, "d", text_at(from, "metadata.name")}, from, 7);
  auto body = old->body;
  change(body);
  auto answer = prepare_update(kind, *old, std::move(body), Part::main, kNow);
  return answer ? "" : causes_of(answer.error());
}

std::string daemon_set(const std::string& more = "", const std::string& pod = "") {
  return R"({"metadata":{"name":"probe"},"spec":{"selector":{"matchLabels":{"app":"probe"}},)" + more +
         R"("template":{"metadata":{"labels":{"app":"probe"}},"spec":{)" + pod +
         R"("containers":[{"name":"c","image":"host"}]}}}})";
}
std::string job(const std::string& more = "", const std::string& pod = R"("restartPolicy":"Never",)",
                const std::string& metadata = "") {
  return R"({"metadata":{"name":"load"},"spec":{)" + more + R"("template":{)" + metadata + R"("spec":{)" + pod +
         R"("containers":[{"name":"c","image":"host"}]}}}})";
}
std::string policy(const std::string& spec) { return R"({"metadata":{"name":"p"},"spec":)" + spec + "}"; }

TEST(DaemonSets, Defaults) {
  auto made = make("daemonsets", daemon_set());
  EXPECT_EQ(made.said, "");
  EXPECT_EQ(json::serialize(object_at(made.body, "spec.updateStrategy")),
            R"({"rollingUpdate":{"maxUnavailable":1,"maxSurge":0},"type":"RollingUpdate"})");
  EXPECT_EQ(int_at(made.body, "spec.revisionHistoryLimit"), 10);
  EXPECT_EQ(int_at(made.body, "metadata.generation"), 1);
  EXPECT_EQ(text_at(made.body, "spec.template.spec.restartPolicy"), "Always");
  auto by_hand = make("daemonsets", daemon_set(R"("updateStrategy":{"type":"OnDelete"},)"));
  EXPECT_EQ(json::serialize(object_at(by_hand.body, "spec.updateStrategy")), R"({"type":"OnDelete"})");
}

TEST(DaemonSets, Refusals) {
  auto rolling = [](const std::string& amounts) {
    return make("daemonsets", daemon_set(R"("updateStrategy":{"rollingUpdate":{)" + amounts + "}},")).said;
  };
  EXPECT_EQ(rolling(R"("maxUnavailable":"30%")"), "");
  EXPECT_EQ(rolling(R"("maxUnavailable":0,"maxSurge":1)"), "");
  EXPECT_EQ(rolling(R"("maxSurge":1)"),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is "
            "non-zero\n");
  EXPECT_EQ(rolling(R"("maxUnavailable":0)"),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0\n");
  EXPECT_THAT(rolling(R"("maxUnavailable":"120%")"), HasSubstr("must not be greater than 100%"));
  EXPECT_THAT(rolling(R"("maxUnavailable":-1)"), HasSubstr("must be greater than or equal to 0"));
  EXPECT_THAT(rolling(R"("maxUnavailable":"some")"), HasSubstr("a valid percent string must be"));
  EXPECT_THAT(make("daemonsets", daemon_set(R"("updateStrategy":{"type":"Now"},)")).said,
              HasSubstr("Unsupported value: \"Now\": supported values: \"OnDelete\", \"RollingUpdate\""));
  EXPECT_THAT(
      make("daemonsets", daemon_set("", R"("restartPolicy":"Never",)")).said,
      HasSubstr("spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""));
  EXPECT_THAT(make("daemonsets", daemon_set("", R"("activeDeadlineSeconds":5,)")).said,
              HasSubstr("activeDeadlineSeconds in DaemonSet is not Supported"));
  auto none = parsed(daemon_set());
  make_object_at(none, "spec")["selector"] = json::object();
  EXPECT_THAT(make("daemonsets", json::serialize(none)).said, HasSubstr("empty selector is invalid for daemonset"));
  auto other = parsed(daemon_set());
  make_object_at(other, "spec.selector.matchLabels")["app"] = "else";
  EXPECT_THAT(make("daemonsets", json::serialize(other)).said,
              HasSubstr("`selector` does not match template `labels`"));
}

TEST(DaemonSets, TheSelectorStays) {
  auto made = make("daemonsets", daemon_set()).body;
  EXPECT_EQ(change("daemonsets", made, [](auto& b) { make_object_at(b, "spec")["minReadySeconds"] = 3; }), "");
  EXPECT_THAT(change("daemonsets", made,
                     [](auto& b) {
                       make_object_at(b, "spec.selector.matchLabels")["app"] = "x";
                       make_object_at(b, "spec.template.metadata.labels")["app"] = "x";
                     }),
              HasSubstr("spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x\"}}: field is immutable"));
}

TEST(Jobs, DefaultsAndGeneratedSelector) {
  auto made = make("jobs", job());
  ASSERT_EQ(made.said, "");
  const auto& b = made.body;
  auto uid = text_at(b, "metadata.uid");
  EXPECT_EQ(int_at(b, "spec.completions"), 1);
  EXPECT_EQ(int_at(b, "spec.parallelism"), 1);
  EXPECT_EQ(int_at(b, "spec.backoffLimit"), 6);
  EXPECT_EQ(text_at(b, "spec.completionMode"), "NonIndexed");
  EXPECT_EQ(text_at(b, "spec.podReplacementPolicy"), "TerminatingOrFailed");
  EXPECT_FALSE(bool_at(b, "spec.suspend", true));
  EXPECT_EQ(strings_at(b, "spec.selector.matchLabels"),
            (std::map<std::string, std::string>{{"batch.kubernetes.io/controller-uid", uid}}));
  std::map<std::string, std::string> labels{{"batch.kubernetes.io/controller-uid", uid},
                                            {"batch.kubernetes.io/job-name", "load"},
                                            {"controller-uid", uid},
                                            {"job-name", "load"}};
  EXPECT_EQ(strings_at(b, "spec.template.metadata.labels"), labels);
  EXPECT_EQ(strings_at(b, "metadata.labels"), labels) << "a Job without labels has its template's";
  auto queue = make("jobs", job(R"("parallelism":3,)")).body;
  EXPECT_EQ(at(queue, "spec.completions"), nullptr) << "a queue of work has no number of completions";
  auto own = make("jobs", job(R"("manualSelector":true,"selector":{"matchLabels":{"mine":"1"}},)",
                              R"("restartPolicy":"Never",)", R"("metadata":{"labels":{"mine":"1"}},)"));
  EXPECT_EQ(own.said, "");
  EXPECT_EQ(json::serialize(object_at(own.body, "spec.selector")), R"({"matchLabels":{"mine":"1"}})");
}

TEST(Jobs, Refusals) {
  EXPECT_EQ(make("jobs", job("", "")).said,
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"\n");
  for (const char* field :
       {"parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"})
    EXPECT_THAT(make("jobs", job(std::string("\"") + field + "\":-1,")).said,
                HasSubstr(std::string("spec.") + field + ": Invalid value: -1: must be greater than or equal to 0"));
  EXPECT_THAT(make("jobs", job(R"("selector":{"matchLabels":{"app":"x"}},)")).said,
              HasSubstr("`selector` not auto-generated"));
  EXPECT_THAT(make("jobs", job("", R"("restartPolicy":"Never",)", R"("metadata":{"labels":{"job-name":"x"}},)")).said,
              HasSubstr("spec.template.metadata.labels[job-name]: Invalid value: \"x\": must be 'load'"));
  EXPECT_THAT(make("jobs", job(R"("completionMode":"Indexed","parallelism":2,)")).said,
              HasSubstr("spec.completions: Required value: when completion mode is Indexed"));
  EXPECT_THAT(make("jobs", job(R"("completionMode":"Sorted",)")).said,
              HasSubstr("Unsupported value: \"Sorted\": supported values: \"Indexed\", \"NonIndexed\""));
  auto dotted = parsed(job(R"("completionMode":"Indexed","completions":2,)"));
  make_object_at(dotted, "metadata")["name"] = "a.b";
  EXPECT_THAT(make("jobs", json::serialize(dotted)).said,
              HasSubstr("will not able to create pod with invalid DNS label: a.b-1"));
  auto endless = parsed(job());
  make_object_at(endless, "metadata")["name"] = std::string(64, 'a');
  EXPECT_THAT(make("jobs", json::serialize(endless)).said, HasSubstr("at most 63 characters"))
      << "the name is a label of its pods";
  for (const char* field : {R"("podFailurePolicy":{"rules":[]})", R"("successPolicy":{"rules":[]})",
                            R"("backoffLimitPerIndex":1)", R"("maxFailedIndexes":1)", R"("managedBy":"a.b/c")"})
    EXPECT_THAT(make("jobs", job(std::string(field) + ",")).said,
                HasSubstr("Forbidden: this server does not support it"))
        << field << ": a Job that counts on it must not run without it";
}

TEST(Jobs, WhatMayChange) {
  auto made = make("jobs", job(R"("completions":3,)")).body;
  auto set = [](const char* path, const char* name, json::value v) {
    return [=](json::object& b) { make_object_at(b, path)[name] = v; };
  };
  EXPECT_EQ(change("jobs", made, set("spec", "parallelism", 5)), "");
  EXPECT_EQ(change("jobs", made, set("spec", "suspend", true)), "");
  EXPECT_THAT(change("jobs", made, set("spec", "completions", 4)), HasSubstr("spec.completions: Invalid value: 4"));
  EXPECT_THAT(change("jobs", made, set("spec", "completionMode", "Indexed")),
              HasSubstr("spec.completionMode: Invalid value: \"Indexed\": field is immutable"));
  EXPECT_THAT(change("jobs", made, set("spec.template.metadata.labels", "more", "x")),
              HasSubstr("spec.template: Invalid value"));
  EXPECT_THAT(change("jobs", made, set("spec.selector.matchLabels", "job-name", "load")),
              HasSubstr("spec.selector: Invalid value"));
  auto waiting = make("jobs", job(R"("suspend":true,)")).body;
  EXPECT_EQ(change("jobs", waiting, set("spec.template.spec.nodeSelector", "disk", "ssd")), "")
      << "a Job that never ran may still choose its nodes";
  EXPECT_THAT(change("jobs", waiting, set("spec.template.spec", "hostname", "x")),
              HasSubstr("spec.template: Invalid value"));
  auto started = waiting;
  make_object_at(started, "status")["startTime"] = "2026-01-01T00:00:00Z";
  EXPECT_THAT(change("jobs", started, set("spec.template.spec.nodeSelector", "disk", "ssd")),
              HasSubstr("spec.template: Invalid value"));
  auto elastic = make("jobs", job(R"("completionMode":"Indexed","completions":3,"parallelism":3,)")).body;
  EXPECT_THAT(change("jobs", elastic, set("spec", "completions", 5)),
              HasSubstr("can only be modified in tandem with spec.parallelism"));
  EXPECT_EQ(change("jobs", elastic,
                   [](auto& b) {
                     make_object_at(b, "spec")["completions"] = 5;
                     make_object_at(b, "spec")["parallelism"] = 5;
                   }),
            "");
}

TEST(NetworkPolicies, Defaults) {
  auto types = [](const std::string& spec) {
    auto made = make("networkpolicies", policy(spec));
    EXPECT_EQ(made.said, "") << spec;
    return json::serialize(array_at(made.body, "spec.policyTypes"));
  };
  EXPECT_EQ(types(R"({"podSelector":{}})"), R"(["Ingress"])");
  EXPECT_EQ(types(R"({"podSelector":{},"egress":[{}]})"), R"(["Ingress","Egress"])");
  EXPECT_EQ(types(R"({"podSelector":{},"policyTypes":["Egress"]})"), R"(["Egress"])");
  auto made = make("networkpolicies", policy(R"({"ingress":[{"ports":[{"port":80}],"from":[{"podSelector":{}}]}]})"));
  EXPECT_EQ(made.said, "");
  EXPECT_EQ(
      json::serialize(at(made.body, "spec")->as_object()),
      R"({"ingress":[{"ports":[{"port":80,"protocol":"TCP"}],"from":[{"podSelector":{}}]}],"podSelector":{},"policyTypes":["Ingress"]})")
      << "an empty selector selects everything: it must not get lost";
  EXPECT_EQ(int_at(made.body, "metadata.generation"), 1);
}

TEST(NetworkPolicies, Refusals) {
  auto peer = [](const std::string& text) {
    return make("networkpolicies", policy(R"({"egress":[{"to":[)" + text + "]}]}")).said;
  };
  EXPECT_EQ(peer(R"({"podSelector":{"matchLabels":{"a":"b"}},"namespaceSelector":{}})"), "");
  EXPECT_EQ(peer(R"({"ipBlock":{"cidr":"10.0.0.0/8","except":["10.1.0.0/16"]}})"), "");
  EXPECT_EQ(peer(R"({"ipBlock":{"cidr":"fd00::/8","except":["fd00:1::/32"]}})"), "");
  EXPECT_EQ(peer("{}"), "spec.egress[0].to[0]: Required value: must specify a peer\n");
  EXPECT_EQ(peer(R"({"podSelector":{},"ipBlock":{"cidr":"10.0.0.0/8"}})"),
            "spec.egress[0].to[0]: Forbidden: may not specify both ipBlock and another peer\n");
  EXPECT_EQ(peer(R"({"ipBlock":{"cidr":"10.0.0.0"}})"),
            "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"10.0.0.0\": must be a valid CIDR value, (e.g. "
            "10.9.8.0/24 or 2001:db8::/64)\n");
  EXPECT_THAT(peer(R"({"ipBlock":{}})"), HasSubstr("spec.egress[0].to[0].ipBlock.cidr: Required value"));
  for (const char* not_inside : {"10.0.0.0/8", "11.0.0.0/16", "0.0.0.0/0", "fd00::/64"})
    EXPECT_THAT(peer(std::string(R"({"ipBlock":{"cidr":"10.0.0.0/8","except":[")") + not_inside + "\"]}}"),
                HasSubstr("spec.egress[0].to[0].ipBlock.except[0]: Invalid value: \"" + std::string(not_inside) +
                          "\": must be a strict subset of `cidr`"));
  EXPECT_THAT(peer(R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"In"}]}})"),
              HasSubstr("spec.egress[0].to[0].podSelector.matchExpressions[0].values: Required value"));

  auto port = [](const std::string& text) {
    return make("networkpolicies", policy(R"({"ingress":[{"ports":[)" + text + "]}]}")).said;
  };
  EXPECT_EQ(port(R"({"port":"http"})"), "");
  EXPECT_EQ(port(R"({"port":80,"endPort":90,"protocol":"UDP"})"), "");
  EXPECT_EQ(port(R"({"port":80,"endPort":79})"),
            "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`\n");
  EXPECT_THAT(port(R"({"endPort":79})"), HasSubstr("may not be specified when `port` is not specified"));
  EXPECT_THAT(port(R"({"port":"http","endPort":79})"), HasSubstr("may not be specified when `port` is non-numeric"));
  EXPECT_THAT(port(R"({"port":0})"), HasSubstr("must be between 1 and 65535, inclusive"));
  EXPECT_THAT(port(R"({"port":80,"endPort":70000})"), HasSubstr("must be between 1 and 65535, inclusive"));
  EXPECT_THAT(port(R"({"protocol":"ICMP"})"),
              HasSubstr("Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\""));
  EXPECT_THAT(make("networkpolicies", policy(R"({"policyTypes":["Both"]})")).said,
              HasSubstr("spec.policyTypes[0]: Unsupported value: \"Both\": supported values: \"Egress\", \"Ingress\""));
  EXPECT_THAT(make("networkpolicies", policy(R"({"policyTypes":["Egress","Ingress","Egress"]})")).said,
              HasSubstr("may not specify more than two policyTypes"));
  EXPECT_THAT(make("networkpolicies", policy(R"({"ingres":[]})")).said, HasSubstr("unknown field \"spec.ingres\""));
}

}  // namespace
}  // namespace trama::api
