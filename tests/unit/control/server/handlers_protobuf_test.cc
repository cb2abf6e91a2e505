// SPDX-License-Identifier: GPL-2.0-or-later
// Requests with protobuf bodies, as kubectl >= 1.32 and client-go >= 0.32 send them; answers are JSON all the same.
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/unit/control/api/wire_writer.h"
#include "tests/unit/control/server/handlers_rig.h"

namespace trama::server {
namespace {

using testing::HasSubstr;
using namespace api::wire;

class ProtobufBodies : public Handlers {
 protected:
  Reply send(const std::string& method, const std::string& target, const std::string& bytes) {
    return ask(method, target, bytes, {{"content-type", "application/vnd.kubernetes.protobuf"}});
  }
  static std::string kubectl(const std::string& name) {
    const char* source = std::getenv("TRAMA_SOURCE_DIR");
    auto read = base::read_file(std::string(source ? source : ".") + "/tests/testdata/protobuf/kubectl-" + name);
    if (!read) throw std::runtime_error(read.error().to_string());
    return *read;
  }
  json::object at_path(const std::string& target) { return body(ask("GET", target)); }
  std::string pod_a() { return std::string(kPods) + "/a"; }
};

TEST_F(ProtobufBodies, WhatKubectlCreatesIsWhatItsJsonWouldHaveCreated) {
  const std::pair<const char*, const char*> cases[] = {
      {"namespace", "/api/v1/namespaces"},
      {"service", "/api/v1/namespaces/default/services"},
      {"headless", "/api/v1/namespaces/default/services"},
      {"deployment", "/apis/apps/v1/namespaces/default/deployments"},
      {"idle-deployment", "/apis/apps/v1/namespaces/default/deployments"},
      {"configmap", "/api/v1/namespaces/default/configmaps"},
      {"binary-configmap", "/api/v1/namespaces/default/configmaps"},
      {"secret", "/api/v1/namespaces/default/secrets"},
      {"serviceaccount", "/api/v1/namespaces/default/serviceaccounts"},
  };
  // Two answers differ in identity and time only.
  auto bare = [&](const Reply& r) {
    auto out = body(r);
    for (const char* own : {"managedFields", "uid", "resourceVersion", "creationTimestamp"})
      api::make_object_at(out, "metadata").erase(own);
    return out;
  };
  for (auto [name, target] : cases) {
    auto by_json = ask("POST", target, kubectl(std::string(name) + ".json"));
    ASSERT_EQ(by_json.status, 201) << name << by_json.body;
    auto url = std::string(target) + "/" + api::text_at(body(by_json), "metadata.name");
    if (std::string(name) == "namespace") {
      auto again = send("POST", target, kubectl(std::string(name) + ".pb"));
      EXPECT_EQ(again.status, 409) << again.body;
      EXPECT_THAT(again.body, HasSubstr("namespaces \\\"shop\\\" already exists"));
      continue;
    }
    ASSERT_EQ(ask("DELETE", url).status, 200) << name;
    auto made = send("POST", std::string(target) + "?fieldManager=kubectl-create&fieldValidation=Strict",
                     kubectl(std::string(name) + ".pb"));
    ASSERT_EQ(made.status, 201) << name << made.body;
    EXPECT_EQ(made.content_type, "application/json");
    EXPECT_TRUE(made.headers.empty()) << name;
    EXPECT_EQ(bare(made), bare(by_json)) << name << "\n" << made.body << "\n" << by_json.body;
  }
  EXPECT_EQ(send("POST", "/api/v1/namespaces", envelope("v1", "Namespace", bytes(1, bytes(1, "new")))).status, 201);
}

// `kubectl drain --dry-run=server` says so nowhere else: whoever overlooks it deletes for real.
TEST_F(ProtobufBodies, DeleteOptionsAreObeyed) {
  make_pod("a");
  auto rehearsed = send("DELETE", pod_a(), kubectl("delete-dry-run.pb"));
  EXPECT_EQ(rehearsed.status, 200) << rehearsed.body;
  EXPECT_EQ(ask("GET", pod_a()).status, 200);
  EXPECT_EQ(api::at(at_path(pod_a()), "metadata.deletionTimestamp"), nullptr);

  auto delete_options = [](const std::string& message) { return envelope("v1", "DeleteOptions", message); };
  auto other = send("DELETE", pod_a(), delete_options(bytes(2, bytes(1, "somebody-else"))));
  EXPECT_EQ(other.status, 409);
  EXPECT_THAT(other.body, HasSubstr("UID in precondition: somebody-else"));
  EXPECT_EQ(send("DELETE", pod_a(), delete_options(bytes(2, bytes(2, "1")))).status, 409);
  EXPECT_EQ(send("DELETE", pod_a(), delete_options(bytes(4, "Sideways"))).status, 422);
  EXPECT_EQ(send("DELETE", kPods, delete_options(bytes(5, "All"))).status, 200);
  EXPECT_EQ(ask("GET", pod_a()).status, 200);

  auto uid = api::text_at(at_path(pod_a()), "metadata.uid");
  EXPECT_EQ(send("DELETE", pod_a(), envelope("apps/v1", "DeleteOptions", bytes(2, bytes(1, uid)))).status, 200);
  EXPECT_EQ(ask("GET", pod_a()).status, 404);
}

TEST_F(ProtobufBodies, EvictionsObeyTheirDeleteOptions) {
  make_pod("a");
  auto meta = bytes(1, bytes(1, "a") + bytes(3, "default"));
  auto rehearsal = envelope("policy/v1", "Eviction", meta + bytes(2, bytes(5, "All")));
  EXPECT_EQ(send("POST", pod_a() + "/eviction", rehearsal).status, 201);
  EXPECT_EQ(ask("GET", pod_a()).status, 200);
  auto wrong = envelope("policy/v1", "Eviction", meta + bytes(2, bytes(2, bytes(1, "x"))));
  EXPECT_EQ(send("POST", pod_a() + "/eviction", wrong).status, 409);
  EXPECT_EQ(ask("GET", pod_a()).status, 200);
  EXPECT_EQ(send("POST", pod_a() + "/eviction", envelope("policy/v1", "Eviction", meta)).status, 201);
  EXPECT_EQ(ask("GET", pod_a()).status, 404);
}

// `kubectl auth can-i` from 1.32 on: it sends the status that it asks for, empty.
TEST_F(ProtobufBodies, ReviewsAreAskedWithAnEmptyStatus) {
  auto asked = bytes(2, bytes(1, bytes(1, "default") + bytes(2, "create") + bytes(4, "*") + bytes(5, "pods")));
  auto review = envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", bytes(1, "") + asked + bytes(3, ""));
  auto r = send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews?fieldValidation=Strict", review);
  EXPECT_EQ(r.status, 201) << r.body;
  EXPECT_THAT(r.body, HasSubstr(R"("allowed":true)"));
}

TEST_F(ProtobufBodies, SubresourcesHaveKindsOfTheirOwn) {
  make_pod("a");
  auto binding = envelope("v1", "Binding", bytes(1, bytes(1, "a")) + bytes(2, bytes(1, "Node") + bytes(3, "n1")));
  EXPECT_EQ(send("POST", pod_a() + "/binding", binding).status, 201);
  EXPECT_EQ(api::text_at(at_path(pod_a()), "spec.nodeName"), "n1");

  const std::string deployments = "/apis/apps/v1/namespaces/default/deployments";
  EXPECT_EQ(send("POST", deployments, kubectl("deployment.pb")).status, 201);
  auto nothing = envelope("autoscaling/v1", "Scale", bytes(1, bytes(1, "web")) + bytes(2, number(1, 0)));
  auto scaled = send("PUT", deployments + "/web/scale", nothing);
  EXPECT_EQ(scaled.status, 200) << scaled.body;
  EXPECT_EQ(api::int_at(at_path(deployments + "/web"), "spec.replicas", 9), 0);
  // Go's JSON leaves the zero out.
  EXPECT_EQ(send("PUT", deployments + "/web/scale", envelope("autoscaling/v1", "Scale", bytes(2, number(1, 2)))).status,
            200);
  EXPECT_EQ(ask("PUT", deployments + "/web/scale", R"({"metadata":{"name":"web"},"spec":{}})").status, 200);
  EXPECT_EQ(api::int_at(at_path(deployments + "/web"), "spec.replicas", 9), 0);

  auto status = envelope("apps/v1", "Deployment",
                         bytes(1, bytes(1, "web")) + bytes(3, number(1, 1) + number(2, 0) + number(5, 3)));
  EXPECT_EQ(send("PUT", deployments + "/web/status", status).status, 200);
  EXPECT_EQ(api::object_at(at_path(deployments + "/web"), "status"),
            json::parse(R"({"observedGeneration":1,"unavailableReplicas":3})").as_object());
}

TEST_F(ProtobufBodies, LeasesOfLeaderElection) {
  const std::string leases = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
  auto lease = [](const std::string& version, std::int64_t seconds, const std::string& holder) {
    return envelope("coordination.k8s.io/v1", "Lease",
                    bytes(1, bytes(1, "leader") + bytes(3, "default") + bytes(6, version)) +
                        bytes(2, bytes(1, holder) + number(2, 15) +
                                     bytes(4, number(1, seconds) + number(2, 123'456'789)) + number(5, 0)));
  };
  auto made = send("POST", leases, lease("", 1'700'000'000, "me"));
  ASSERT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(api::text_at(body(made), "spec.renewTime"), "2023-11-14T22:13:20.123456Z");
  EXPECT_EQ(api::int_at(body(made), "spec.leaseTransitions", 9), 0);
  auto version = api::text_at(body(made), "metadata.resourceVersion");
  EXPECT_EQ(send("PUT", leases + "/leader", lease(version, 1'700'000'001, "")).status, 200);
  auto holder = at_path(leases + "/leader");
  ASSERT_NE(api::at(holder, "spec.holderIdentity"), nullptr) << "a lease that is let go says so";
  EXPECT_EQ(api::text_at(holder, "spec.holderIdentity", "?"), "");
  EXPECT_EQ(send("PUT", leases + "/leader", lease(version, 1'700'000'002, "me")).status, 409) << "a stale version";
}

TEST_F(ProtobufBodies, EventsOfBothGroups) {
  auto core = envelope("v1", "Event",
                       bytes(1, bytes(1, "e1")) + bytes(2, bytes(1, "Pod") + bytes(3, "a")) + bytes(3, "Started") +
                           bytes(4, "began") + number(8, 2) + bytes(9, "Normal"));
  EXPECT_EQ(send("POST", "/api/v1/namespaces/default/events", core).status, 201);
  auto newer = envelope("events.k8s.io/v1", "Event",
                        bytes(1, bytes(1, "e2")) + bytes(4, "trama") + bytes(7, "Killing") +
                            bytes(8, bytes(1, "Pod") + bytes(3, "b")) + bytes(10, "ends") + bytes(11, "Warning"));
  auto made = send("POST", "/apis/events.k8s.io/v1/namespaces/default/events", newer);
  EXPECT_EQ(made.status, 201) << made.body;
  EXPECT_EQ(api::text_at(body(made), "note"), "ends");
  auto seen = at_path("/api/v1/namespaces/default/events/e2");
  EXPECT_EQ(api::text_at(seen, "message"), "ends");
  EXPECT_EQ(api::text_at(seen, "involvedObject.name"), "b");
  EXPECT_EQ(api::text_at(seen, "reportingComponent"), "trama");
  EXPECT_EQ(api::text_at(at_path("/api/v1/namespaces/default/events/e1"), "message"), "began");
}

TEST_F(ProtobufBodies, RefusalsSayWhy) {
  auto services = "/api/v1/namespaces/default/services";
  const std::tuple<std::string, int, const char*> cases[] = {
      {"{}", 400, "the object provided is unrecognized (must be of type Service): provided data does not appear"},
      {envelope("v1", "Pod", ""), 400, "Pod in version \\\"v1\\\" cannot be handled as a Service"},
      {envelope("v2", "Service", ""), 400, "do not match the expected (v1, Service)"},
      {envelope("v1", "Service", "\x0a\x05"), 400,
       "Service in version \\\"v1\\\" cannot be handled as a Service: unexpected EOF"},
      {envelope("v1", "Service", bytes(1, bytes(1, "a") + bytes(3, "other"))), 400, "does not match the namespace"},
      {envelope("v1", "Service", bytes(1, bytes(1, "a")) + bytes(2, bytes(1, number(3, 0)))), 422,
       "must be between 1 and 65535, inclusive"},
      {envelope("v1", "Service", bytes(1, bytes(1, "a")) + bytes(2, bytes(4, "Carrier"))), 422, "Unsupported value"},
  };
  for (const auto& [bytes, status, says] : cases) {
    auto r = send("POST", services, bytes);
    EXPECT_EQ(r.status, status) << r.body;
    EXPECT_THAT(r.body, HasSubstr(says));
  }
  make_pod("a");
  EXPECT_EQ(send("PATCH", pod_a(), envelope("v1", "Pod", "")).status, 415) << "patches are JSON";
  EXPECT_EQ(send("DELETE", pod_a(), "\x01\x02").status, 400);
  EXPECT_EQ(ask("GET", pod_a()).status, 200);
  auto other = ask("POST", kPods, "x", {{"content-type", "application/yaml"}});
  EXPECT_THAT(other.body, HasSubstr("accepted media types include: application/json, "
                                    "application/vnd.kubernetes.protobuf"));
}

}  // namespace
}  // namespace trama::server
