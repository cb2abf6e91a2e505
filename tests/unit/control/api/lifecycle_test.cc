// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/lifecycle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::api {
namespace {

using testing::HasSubstr;

const Time kNow = std::chrono::system_clock::from_time_t(1'767'323'045);  // 2026-01-02T03:04:05Z

json::object object(std::string_view text) { return json::parse({text.data(), text.size()}).as_object(); }
const Kind& kind(const char* resource) { return *kind_of_resource(resource); }

json::object created(const char* resource, std::string_view text, Key key = {}) {
  auto body = object(text);
  if (key.resource.empty())
    key = {resource, kind(resource).namespaced ? "default" : "", text_at(body, "metadata.name")};
  auto got = prepare_create(kind(resource), key, std::move(body), kNow);
  EXPECT_TRUE(got) << got.error().message;
  return got ? *got : json::object();
}
ObjectPtr stored(const char* resource, json::object body, std::uint64_t revision = 5) {
  Key key{resource, text_at(body, "metadata.namespace"), text_at(body, "metadata.name")};
  return make_object(key, std::move(body), revision);
}

const char* kPod = R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})";
const char* kDeployment = R"({"metadata":{"name":"d"},"spec":{"selector":{"matchLabels":{"app":"a"}},
    "template":{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}})";

TEST(Create, SystemMetadataIsTheServers) {
  auto pod = created(
      "pods",
      R"({"metadata":{"name":"a","uid":"mine","resourceVersion":"9","deletionTimestamp":"2020-01-01T00:00:00Z","creationTimestamp":"2020-01-01T00:00:00Z"},
      "spec":{"containers":[{"name":"c","image":"i"}]},"status":{"phase":"Running","podIP":"1.2.3.4"}})");
  EXPECT_NE(text_at(pod, "metadata.uid"), "mine");
  EXPECT_EQ(text_at(pod, "metadata.uid").size(), 36u);
  EXPECT_EQ(text_at(pod, "metadata.creationTimestamp"), "2026-01-02T03:04:05Z");
  EXPECT_EQ(at(pod, "metadata.deletionTimestamp"), nullptr);
  EXPECT_EQ(text_at(pod, "metadata.namespace"), "default");
  EXPECT_EQ(text_at(pod, "status.phase"), "Pending");
  EXPECT_EQ(at(pod, "status.podIP"), nullptr);
  EXPECT_EQ(text_at(pod, "status.qosClass"), "BestEffort");
}

TEST(Create, GenerateName) {
  auto pod = created("pods", R"({"metadata":{"generateName":"web-"},"spec":{"containers":[{"name":"c","image":"i"}]}})",
                     {"pods", "default", ""});
  auto name = text_at(pod, "metadata.name");
  EXPECT_EQ(name.size(), 9u);
  EXPECT_EQ(name.substr(0, 4), "web-");
}

TEST(Create, InvalidIs422WithCauses) {
  auto got = prepare_create(kind("pods"), {"pods", "default", "A_b"},
                            object(R"({"metadata":{"name":"A_b"},"spec":{"containers":[{"name":"c"}]}})"), kNow);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, 422);
  EXPECT_EQ(got.error().reason, "Invalid");
  EXPECT_THAT(got.error().message, HasSubstr("Pod \"A_b\" is invalid: ["));
  EXPECT_THAT(got.error().message,
              HasSubstr("metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain must consist of"));
  EXPECT_THAT(got.error().message, HasSubstr("spec.containers[0].image: Required value"));
  EXPECT_EQ(got.error().causes.size(), 2u);
}

TEST(Update, StaleRevisionAndOtherUidConflict) {
  auto old = stored("pods", created("pods", kPod));
  auto body = old->body;
  body["metadata"].get_object()["resourceVersion"] = "4";
  auto got = prepare_update(kind("pods"), *old, body, Part::main, kNow);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, 409);
  EXPECT_THAT(got.error().message,
              HasSubstr("the object has been modified; please apply your changes to the latest version and try again"));
  body = old->body;
  body["metadata"].get_object()["uid"] = "other";
  EXPECT_EQ(prepare_update(kind("pods"), *old, body, Part::main, kNow).error().code, 409);
}

TEST(Update, GenerationCountsSpecChangesOnly) {
  auto old = stored("deployments", created("deployments", kDeployment));
  EXPECT_EQ(int_at(old->body, "metadata.generation"), 1);
  auto labelled = old->body;
  make_object_at(labelled, "metadata.labels")["x"] = "y";
  EXPECT_EQ(int_at(*prepare_update(kind("deployments"), *old, labelled, Part::main, kNow), "metadata.generation"), 1);
  auto scaled = old->body;
  scaled["spec"].get_object()["replicas"] = 3;
  EXPECT_EQ(int_at(*prepare_update(kind("deployments"), *old, scaled, Part::main, kNow), "metadata.generation"), 2);
  auto reported = old->body;
  make_object_at(reported, "status")["readyReplicas"] = 1;
  EXPECT_EQ(int_at(*prepare_update(kind("deployments"), *old, reported, Part::status, kNow), "metadata.generation"), 1);
}

TEST(Update, StatusAndMainKeepToTheirParts) {
  auto old = stored(
      "nodes",
      created("nodes",
              R"({"metadata":{"name":"n1","labels":{"a":"b"}},"spec":{"unschedulable":true},"status":{"phase":"x"}})"));
  auto body = old->body;
  make_object_at(body, "metadata.labels")["hacked"] = "1";
  make_object_at(body, "spec")["unschedulable"] = false;
  make_object_at(body, "status")["phase"] = "y";
  auto through_status = prepare_update(kind("nodes"), *old, body, Part::status, kNow);
  EXPECT_EQ(at(*through_status, "metadata.labels.hacked"), nullptr);
  EXPECT_TRUE(bool_at(*through_status, "spec.unschedulable"));
  EXPECT_EQ(text_at(*through_status, "status.phase"), "y");
  auto through_main = prepare_update(kind("nodes"), *old, body, Part::main, kNow);
  EXPECT_FALSE(bool_at(*through_main, "spec.unschedulable"));
  EXPECT_EQ(text_at(*through_main, "status.phase"), "x");
}

TEST(Update, ImmutableFields) {
  auto deployment = stored("deployments", created("deployments", kDeployment));
  auto body = deployment->body;
  make_object_at(body, "spec.selector.matchLabels")["app"] = "b";
  make_object_at(body, "spec.template.metadata.labels")["app"] = "b";
  auto got = prepare_update(kind("deployments"), *deployment, body, Part::main, kNow);
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("field is immutable"));

  auto pod = stored("pods", created("pods", kPod));
  body = pod->body;
  body["spec"].get_object()["containers"].get_array()[0].get_object()["image"] = "other";
  EXPECT_TRUE(prepare_update(kind("pods"), *pod, body, Part::main, kNow));
  body["spec"].get_object()["hostNetwork"] = true;
  got = prepare_update(kind("pods"), *pod, body, Part::main, kNow);
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("pod updates may not change fields other than"));
}

TEST(Update, ServicesKeepWhatTheServerChose) {
  auto service = created("services", R"({"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80}]}})");
  auto& spec = service["spec"].get_object();
  spec["clusterIP"] = "10.96.0.7";
  spec["clusterIPs"] = json::array{json::value("10.96.0.7")};
  spec["ports"].get_array()[0].get_object()["nodePort"] = 30080;
  auto old = stored("services", service);
  auto got = prepare_update(kind("services"), *old,
                            object(R"({"metadata":{"name":"s"},"spec":{"type":"NodePort","ports":[{"port":80}]}})"),
                            Part::main, kNow);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(text_at(*got, "spec.clusterIP"), "10.96.0.7");
  EXPECT_EQ(int_at(array_at(*got, "spec.ports")[0].get_object(), "nodePort"), 30080);
  auto moved = old->body;
  moved["spec"].get_object()["clusterIP"] = "10.96.0.8";
  moved["spec"].get_object()["clusterIPs"] = json::array{json::value("10.96.0.8")};
  auto refused = prepare_update(kind("services"), *old, moved, Part::main, kNow);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("may not change once set"));
}

// `kubectl replace` of a Namespace knows nothing of finalizers; without them its content would be orphaned.
TEST(Update, NamespaceFinalizersSurviveAReplace) {
  auto ns = stored("namespaces", created("namespaces", R"({"metadata":{"name":"x"}})"));
  ASSERT_FALSE(array_at(ns->body, "spec.finalizers").empty());
  auto got =
      prepare_update(kind("namespaces"), *ns, object(R"({"metadata":{"name":"x"},"spec":{}})"), Part::main, kNow);
  ASSERT_TRUE(got);
  EXPECT_FALSE(array_at(*got, "spec.finalizers").empty());
  auto finalized = ns->body;
  finalized["spec"].get_object().erase("finalizers");
  EXPECT_TRUE(
      array_at(*prepare_update(kind("namespaces"), *ns, finalized, Part::all, kNow), "spec.finalizers").empty());
}

TEST(Update, SigningRequestsCanNotChangeTheirMaker) {
  auto csr = stored(
      "certificatesigningrequests",
      created(
          "certificatesigningrequests",
          R"({"metadata":{"name":"c"},"spec":{"request":"eA==","signerName":"kubernetes.io/x","usages":["client auth"],"username":"system:bootstrap:a"}})"));
  auto body = csr->body;
  body["spec"].get_object()["username"] = "system:node:other";
  EXPECT_EQ(text_at(*prepare_update(kind("certificatesigningrequests"), *csr, body, Part::main, kNow), "spec.username"),
            "system:bootstrap:a");
}

TEST(Delete, PodsGetTheirGracePeriod) {
  auto body = created("pods", kPod);
  auto pending = prepare_delete(kind("pods"), *stored("pods", body), {}, kNow);
  EXPECT_TRUE(pending->now) << "bound to no node: nobody has to be asked";
  body["spec"].get_object()["nodeName"] = "n1";
  auto bound = stored("pods", body);
  auto graceful = prepare_delete(kind("pods"), *bound, {}, kNow);
  EXPECT_FALSE(graceful->now);
  EXPECT_EQ(text_at(graceful->body, "metadata.deletionTimestamp"), "2026-01-02T03:04:35Z");
  EXPECT_EQ(int_at(graceful->body, "metadata.deletionGracePeriodSeconds"), 30);
  auto dying = stored("pods", graceful->body);
  EXPECT_TRUE(prepare_delete(kind("pods"), *dying, {}, kNow)->noop) << "asked again: nothing changes";
  DeleteOptions force;
  force.grace_seconds = 0;
  EXPECT_TRUE(prepare_delete(kind("pods"), *dying, force, kNow)->now);
  DeleteOptions longer;
  longer.grace_seconds = 600;
  EXPECT_TRUE(prepare_delete(kind("pods"), *dying, longer, kNow)->noop) << "a period is never prolonged";
}

TEST(Delete, FinalizersAndPreconditions) {
  auto held = stored("configmaps", created("configmaps", R"({"metadata":{"name":"c","finalizers":["a.b/x"]}})"));
  auto got = prepare_delete(kind("configmaps"), *held, {}, kNow);
  EXPECT_FALSE(got->now);
  auto released = got->body;
  released["metadata"].get_object().erase("finalizers");
  EXPECT_TRUE(is_removable(released));
  EXPECT_FALSE(is_removable(got->body));
  EXPECT_FALSE(is_removable(held->body));
  DeleteOptions options;
  options.uid = "other";
  EXPECT_EQ(prepare_delete(kind("configmaps"), *held, options, kNow).error().code, 409);
  options = {};
  options.resource_version = "4";
  EXPECT_EQ(prepare_delete(kind("configmaps"), *held, options, kNow).error().code, 409);
  auto ns = stored("namespaces", created("namespaces", R"({"metadata":{"name":"x"}})"));
  auto terminating = prepare_delete(kind("namespaces"), *ns, {}, kNow);
  EXPECT_FALSE(terminating->now) << "its content goes first";
  EXPECT_EQ(text_at(terminating->body, "status.phase"), "Terminating");
}

TEST(DeleteOptions, Parsed) {
  auto got = parse_delete_options(object(
      R"({"gracePeriodSeconds":5,"propagationPolicy":"Background","preconditions":{"uid":"u"},"dryRun":["All"]})"));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->grace_seconds, 5);
  EXPECT_EQ(got->uid, "u");
  EXPECT_TRUE(got->dry_run);
  EXPECT_FALSE(parse_delete_options(object(R"({"propagationPolicy":"Sideways"})")));
  EXPECT_FALSE(parse_delete_options(object(R"({"dryRun":["Some"]})")));
  EXPECT_FALSE(parse_delete_options(object(R"({"gracePeriodSeconds":"soon"})")));
}

TEST(SameContent, IgnoresRevisionOnly) {
  EXPECT_TRUE(same_content(object(R"({"metadata":{"name":"a","resourceVersion":"1"}})"),
                           object(R"({"metadata":{"name":"a","resourceVersion":"2"}})")));
  EXPECT_FALSE(
      same_content(object(R"({"metadata":{"name":"a"}})"), object(R"({"metadata":{"name":"a","labels":{"x":"y"}}})")));
}

}  // namespace
}  // namespace trama::api
