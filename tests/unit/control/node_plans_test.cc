// SPDX-License-Identifier: GPL-2.0-or-later
#include <random>

#include "control/controllers/node_cidr_plan.h"
#include "control/controllers/node_lifecycle_plan.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;
using base::Cidr;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

Cidr cidr(const char* text) { return *Cidr::parse(text); }

TEST(NodeCidrPlan, LowestFreeInNameOrderAndNeverChanged) {
  NodeCidrWorld w;
  w.clusters = {cidr("10.244.0.0/16"), cidr("fd00:10::/48")};
  w.nodes = {{"a", {}}, {"b", {cidr("10.244.0.0/24"), cidr("fd00:10::/64")}}, {"c", {}}};
  auto plan = plan_node_cidrs(w);
  ASSERT_EQ(plan.assign.size(), 2u);
  EXPECT_EQ(plan.assign["a"], (std::vector<Cidr>{cidr("10.244.1.0/24"), cidr("fd00:10:0:1::/64")}));
  EXPECT_EQ(plan.assign["c"], (std::vector<Cidr>{cidr("10.244.2.0/24"), cidr("fd00:10:0:2::/64")}));
}

TEST(NodeCidrPlan, ExhaustionAndDisputes) {
  NodeCidrWorld w;
  w.clusters = {cidr("10.244.0.0/23")};
  w.nodes = {{"a", {cidr("10.244.0.0/24")}}, {"b", {cidr("10.244.0.0/24")}}, {"c", {}}, {"d", {}}};
  auto plan = plan_node_cidrs(w);
  EXPECT_EQ(plan.assign["c"].front(), cidr("10.244.1.0/24"));
  EXPECT_EQ(plan.exhausted, std::set<std::string>{"d"});
  EXPECT_EQ(plan.disputed[cidr("10.244.0.0/24")], (std::vector<std::string>{"a", "b"}));
}

TEST(NodeCidrPlan, WhatCoolsDownIsNotGivenOut) {
  NodeCidrWorld w;
  w.clusters = {cidr("10.244.0.0/16")};
  w.nodes = {{"a", {}}};
  w.cooling = {cidr("10.244.0.0/24")};
  EXPECT_EQ(plan_node_cidrs(w).assign["a"].front(), cidr("10.244.1.0/24"));
}

// Against brute force: every answer is the lowest prefix that overlaps nothing.
TEST(NodeCidrPlan, RandomWorldsAgainstBruteForce) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    NodeCidrWorld w;
    w.clusters = {cidr("10.244.0.0/20")};  // 16 nodes
    std::vector<Cidr> used;
    for (int i = 0; i < 12; ++i) {
      std::vector<Cidr> have;
      if (random() % 2 == 0) {
        auto length = static_cast<unsigned>(22 + random() % 5);  // larger and smaller ones, written by hand
        have.push_back(Cidr::of(
            base::Ip::v4(10, 244, static_cast<std::uint8_t>(random() % 16), static_cast<std::uint8_t>(random() % 256)),
            length));
        used.push_back(have.front());
      }
      w.nodes["n" + std::to_string(100 + i)] = have;
    }
    auto plan = plan_node_cidrs(w);
    for (const auto& [name, have] : w.nodes) {
      if (!have.empty()) continue;
      Cidr expected;
      bool found = false;
      for (std::uint64_t i = 0; i < 16 && !found; ++i) {
        expected = *w.clusters[0].subnet(24, i);
        found = std::none_of(used.begin(), used.end(), [&](const Cidr& u) { return u.overlaps(expected); });
      }
      ASSERT_EQ(plan.assign.contains(name), found) << round;
      if (!found) continue;
      ASSERT_EQ(plan.assign[name].front(), expected) << round;
      used.push_back(expected);
    }
  }
}

const Time kNow = at("2026-01-01T00:10:00Z");

api::ObjectPtr node(const std::string& name, const std::string& ready = "True", const std::string& taints = "[]") {
  return stored("nodes", R"({"kind":"Node","metadata":{"name":")" + name + R"("},"spec":{"taints":)" + taints +
                             R"(},"status":{"conditions":[{"type":"Ready","status":")" + ready +
                             R"("},{"type":"MemoryPressure","status":"False"}]}})");
}
api::ObjectPtr pod_on(const std::string& name, const std::string& where, const std::string& tolerations = "[]") {
  return stored("pods", R"({"kind":"Pod","metadata":{"namespace":"d","name":")" + name + R"("},"spec":{"nodeName":")" +
                            where + R"(","tolerations":)" + tolerations +
                            R"(},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}})");
}

std::string taint_texts(const json::object& body) {
  std::string out;
  for (const auto& t : api::array_at(body, "spec.taints"))
    out += api::text_at(t.as_object(), "key") + ":" + api::text_at(t.as_object(), "effect") + " ";
  return out;
}

TEST(NodeLifecyclePlan, SilenceTurnsIntoUnknownTaintsAndNotReadyPods) {
  LifecycleWorld w;
  w.now = kNow;
  w.nodes = {node("n1"), node("n2")};
  w.pods = {pod_on("a", "n1"), pod_on("b", "n2")};
  w.silence = {{"n1", 41s}, {"n2", 39s}};
  auto plan = plan_lifecycle(w, {});
  ASSERT_EQ(plan.nodes.size(), 1u);
  const auto& body = plan.nodes[0].body;
  EXPECT_EQ(condition_status(body, "Ready"), "Unknown");
  EXPECT_EQ(condition_status(body, "MemoryPressure"), "Unknown");
  EXPECT_EQ(api::text_at(*condition(body, "Ready"), "reason"), "NodeStatusUnknown");
  EXPECT_EQ(taint_texts(body), "node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute ");
  ASSERT_EQ(plan.not_ready.size(), 1u);
  EXPECT_EQ(plan.not_ready[0].have->key.name, "a");
  EXPECT_FALSE(is_pod_ready(plan.not_ready[0].body));
  EXPECT_TRUE(plan.evictions.empty());
  EXPECT_EQ(plan.look_again, 1001ms) << "n2's grace ends first";
  // The same world with that written: nothing more to do.
  w.nodes[0] = api::make_object(w.nodes[0]->key, body, 2);
  w.pods[0] = api::make_object(w.pods[0]->key, plan.not_ready[0].body, 2);
  auto again = plan_lifecycle(w, {});
  EXPECT_TRUE(again.nodes.empty());
  EXPECT_TRUE(again.not_ready.empty());
}

TEST(NodeLifecyclePlan, ReadyAgainTakesOurTaintsAwayAndOnlyOurs) {
  LifecycleWorld w;
  w.now = kNow;
  w.nodes = {
      node("n1", "True",
           R"([{"key":"node.kubernetes.io/unreachable","effect":"NoExecute"},{"key":"mine","effect":"NoSchedule"}])")};
  auto plan = plan_lifecycle(w, {});
  ASSERT_EQ(plan.nodes.size(), 1u);
  EXPECT_EQ(taint_texts(plan.nodes[0].body), "mine:NoSchedule ");
}

TEST(NodeLifecyclePlan, NotReadyByTheNodesOwnWord) {
  LifecycleWorld w;
  w.now = kNow;
  w.nodes = {node("n1", "False"), node("n2")};
  auto plan = plan_lifecycle(w, {});
  ASSERT_EQ(plan.nodes.size(), 1u);
  EXPECT_EQ(taint_texts(plan.nodes[0].body),
            "node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute ");
  EXPECT_EQ(condition_status(plan.nodes[0].body, "Ready"), "False");
}

std::string unreachable_since(const char* time) {
  return std::string(R"([{"key":"node.kubernetes.io/unreachable","effect":"NoSchedule","timeAdded":")") + time +
         R"("},{"key":"node.kubernetes.io/unreachable","effect":"NoExecute","timeAdded":")" + time + R"("}])";
}

TEST(NodeLifecyclePlan, EvictionAfterTolerationCountedFromTheTaint) {
  LifecycleWorld w;
  w.now = kNow;
  w.nodes = {node("n1", "Unknown", unreachable_since("2026-01-01T00:05:01Z")), node("n2"), node("n3")};
  w.silence = {{"n1", 300s}};
  w.pods = {
      pod_on("default", "n1"),
      pod_on("patient", "n1", R"([{"key":"node.kubernetes.io/unreachable","operator":"Exists"}])"),
      pod_on(
          "short", "n1",
          R"([{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":10}])")};
  auto plan = plan_lifecycle(w, {});
  ASSERT_EQ(plan.evictions.size(), 1u);
  EXPECT_EQ(plan.evictions[0].pod->key.name, "short");
  EXPECT_EQ(plan.look_again, 1s) << "the default pod's 300 s are over then";
  w.now += 2s;
  EXPECT_EQ(plan_lifecycle(w, {}).evictions.size(), 2u);
}

TEST(NodeLifecyclePlan, MostNodesGoneEvictsNobody) {
  LifecycleWorld w;
  w.now = kNow;
  auto gone = unreachable_since("2025-12-31T00:00:00Z");
  for (const char* name : {"n1", "n2", "n3"}) w.nodes.push_back(node(name, "Unknown", gone));
  w.nodes.push_back(node("n4"));
  w.pods = {pod_on("a", "n1")};
  auto plan = plan_lifecycle(w, {});
  EXPECT_TRUE(plan.evictions_held);
  EXPECT_TRUE(plan.evictions.empty());
  // One of three silent: that is an ordinary loss.
  w.nodes = {node("n1", "Unknown", gone), node("n2"), node("n3")};
  EXPECT_EQ(plan_lifecycle(w, {}).evictions.size(), 1u);
  // The only node silent: held, it may be us.
  w.nodes = {node("n1", "Unknown", gone)};
  EXPECT_TRUE(plan_lifecycle(w, {}).evictions.empty());
  // A taint set by hand is an order even then.
  w.nodes = {node("n1", "Unknown", R"([{"key":"out","effect":"NoExecute"}])")};
  EXPECT_EQ(plan_lifecycle(w, {}).evictions.size(), 1u);
}

}  // namespace
}  // namespace trama::control
