// SPDX-License-Identifier: GPL-2.0-or-later
// Deployments, scheduling, endpoints and silent nodes, with agents played by the test.
#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/controller_in_thread.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using namespace test;

std::string deployment(int replicas, const std::string& image = "one") {
  return fmt::format(
      R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":{},"selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{}","ports":[{{"name":"http","containerPort":8080}}]}}]}}}}}}}})",
      replicas, image);
}
constexpr const char* kWebService =
    R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http"}]}})";

TEST(Controller, ADeploymentRunsServesRollsAndGoes) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.add_node("n2");
  EXPECT_TRUE(c.eventually([&] { return !api::text_at(c.get("/api/v1/nodes/n2"), "spec.podCIDR").empty(); }));
  ASSERT_EQ(c.create(kServices, kWebService), "");
  ASSERT_EQ(c.create(kDeployments, deployment(4)), "");
  auto path = std::string(kDeployments) + "/web";
  ASSERT_TRUE(c.play_until([&] { return api::int_at(c.get(path), "status.availableReplicas") == 4; }))
      << json::serialize(c.get(path));
  std::map<std::string, int> per_node;
  for (const auto& p : c.list(kPods)) ++per_node[api::text_at(p, "spec.nodeName")];
  EXPECT_EQ(per_node, (std::map<std::string, int>{{"n1", 2}, {"n2", 2}}));
  ASSERT_TRUE(c.play_until([&] { return c.endpoints().size() == 4; }));
  for (const auto& [name, ready] : c.endpoints()) EXPECT_TRUE(ready) << name;

  auto rolled = c.run(c.admin->patch(
      path, object(R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"two"}]}}}})"), "strategic"));
  ASSERT_TRUE(rolled) << rolled.error().to_string();
  ASSERT_TRUE(c.play_until([&] {
    auto d = c.get(path);
    return api::int_at(d, "status.observedGeneration") == api::int_at(d, "metadata.generation") &&
           api::int_at(d, "status.updatedReplicas") == 4 && api::int_at(d, "status.replicas") == 4 &&
           api::int_at(d, "status.availableReplicas") == 4;
  })) << json::serialize(c.get(path));
  EXPECT_EQ(api::text_at(c.get(path), "metadata.annotations"), "");
  for (const auto& p : c.list(kPods))
    EXPECT_EQ(api::text_at(api::array_at(p, "spec.containers")[0].as_object(), "image"), "two");

  ASSERT_TRUE(c.run(c.admin->remove(path)));
  EXPECT_TRUE(c.play_until([&] { return c.list(kPods).empty() && c.list("/apis/apps/v1/replicasets").empty(); }));
  EXPECT_TRUE(c.eventually([&] { return c.endpoints().empty(); }));
  ASSERT_TRUE(c.run(c.admin->remove(std::string(kServices) + "/web")));
  EXPECT_TRUE(
      c.eventually([&] { return c.list(kSlices, "labelSelector=kubernetes.io%2Fservice-name%3Dweb").empty(); }));
}

TEST(Controller, WhatFitsNowhereIsTold) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  ASSERT_EQ(
      c.create(
          kPods,
          R"({"metadata":{"name":"big"},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"64"}}}]}})"),
      "");
  auto path = std::string(kPods) + "/big";
  auto message = [&] {
    auto pod = c.get(path);
    for (const auto& x : api::array_at(pod, "status.conditions"))
      if (api::text_at(x.as_object(), "type") == "PodScheduled") return api::text_at(x.as_object(), "message");
    return std::string();
  };
  EXPECT_TRUE(c.eventually([&] { return message() == "no nodes available to schedule pods"; })) << message();
  c.add_node("n1");
  EXPECT_TRUE(c.eventually([&] {
    return message() ==
           "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 "
           "Preemption is not helpful for scheduling.";
  })) << message();
  EXPECT_TRUE(c.eventually([&] {
    for (const auto& e : c.list("/api/v1/namespaces/default/events"))
      if (api::text_at(e, "reason") == "FailedScheduling" && api::text_at(e, "involvedObject.name") == "big")
        return true;
    return false;
  }));
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"small"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  EXPECT_TRUE(
      c.eventually([&] { return api::text_at(c.get(std::string(kPods) + "/small"), "spec.nodeName") == "n1"; }));
}

// What a newcomer does first: delete a replica, and look where its successor runs.
TEST(Controller, AReplicasSuccessorGoesWhereItIsMissing) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  for (const char* name : {"n1", "n2", "n3"}) c.add_node(name);
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"client"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  ASSERT_EQ(c.create(kServices, kWebService), "");
  ASSERT_EQ(c.create(kDeployments, deployment(3)), "");
  auto replicas = [&] {  // node -> name, of those that stay
    std::multimap<std::string, std::string> out;
    for (const auto& p : c.list(kPods, "labelSelector=app%3Dweb"))
      if (api::text_at(p, "metadata.deletionTimestamp").empty() && api::text_at(p, "status.phase") == "Running")
        out.emplace(api::text_at(p, "spec.nodeName"), api::text_at(p, "metadata.name"));
    return out;
  };
  auto spread = [&] {
    auto all = replicas();
    return all.size() == 3 && all.count("n1") == 1 && all.count("n2") == 1 && all.count("n3") == 1;
  };
  ASSERT_TRUE(c.play_until(spread));
  for (int round = 0; round < 4; ++round) {
    auto gone = replicas().begin()->second;
    ASSERT_TRUE(c.run(c.admin->remove(std::string(kPods) + "/" + gone)));
    ASSERT_TRUE(c.play_until([&] {
      auto all = replicas();
      return all.size() == 3 && std::none_of(all.begin(), all.end(), [&](const auto& r) { return r.second == gone; });
    }));
    EXPECT_TRUE(spread()) << "round " << round;
  }
}

TEST(Controller, ASilentNodeLeavesRotationAtOnce) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.add_node("n2");
  c.add_node("n3");
  ASSERT_EQ(c.create(kServices, kWebService), "");
  ASSERT_EQ(c.create(kDeployments, deployment(3)), "");
  ASSERT_TRUE(c.play_until([&] { return c.endpoints().size() == 3; }));
  auto ready = [&] {
    int n = 0;
    for (const auto& [name, is] : c.endpoints()) n += is ? 1 : 0;
    return n;
  };
  EXPECT_EQ(ready(), 3);
  auto silent = std::move(c.nodes["n2"]);
  c.nodes.erase("n2");
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(c.play_until([&] { return ready() == 2; }));
  auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, 500ms);
  EXPECT_LT(took, 5s);
  auto n2 = c.get("/api/v1/nodes/n2");
  EXPECT_NE(json::serialize(n2).find("NodeStatusUnknown"), std::string::npos);
  EXPECT_NE(json::serialize(n2).find("node.kubernetes.io/unreachable"), std::string::npos);
  // The others were never suspected.
  EXPECT_EQ(json::serialize(c.get("/api/v1/nodes/n1")).find("NodeStatusUnknown"), std::string::npos);
}

}  // namespace
}  // namespace trama::control
