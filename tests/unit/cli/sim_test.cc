// SPDX-License-Identifier: GPL-2.0-or-later
// What simulated nodes and pods say about themselves.
#include <set>

#include <gtest/gtest.h>

#include "agent/compute/pod_status.h"
#include "cli/sim/model.h"

namespace trama::cli {
namespace {

constexpr const char* kNow = "2026-01-02T03:04:05Z";
constexpr const char* kLater = "2026-01-02T03:05:05Z";

api::ObjectPtr stored(const std::string& resource, json::object body) {
  api::Key key{resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")};
  api::make_object_at(body, "metadata")["uid"] = "uid-" + key.name;
  return api::make_object(std::move(key), std::move(body), 1);
}

api::ObjectPtr pod(const std::string& more_metadata = "", const std::string& status = R"({"phase":"Pending"})") {
  return stored("pods", json::parse(R"({"metadata":{"namespace":"default","name":"p")" + more_metadata +
                                    R"(},"spec":{"nodeName":"sim-0001","restartPolicy":"Always",
      "containers":[{"name":"a","image":"x"},{"name":"b","image":"y"}]},"status":)" +
                                    status + "}")
                            .as_object());
}

std::string condition(const json::object& status, const std::string& type) {
  for (const auto& c : api::array_at(status, "conditions"))
    if (api::text_at(c.get_object(), "type") == type) return api::text_at(c.get_object(), "status");
  return "absent";
}

TEST(SimOptions, WhatCannotBeIsRefusedInWords) {
  SimOptions o;
  EXPECT_TRUE(check(o));
  o.nodes = 0;
  EXPECT_NE(check(o).error().to_string().find("from 1 to"), std::string::npos);
  o.nodes = kMostSimulated + 1;
  EXPECT_FALSE(check(o));
  o.nodes = kMostSimulated;
  EXPECT_TRUE(check(o));
  for (const char* bad : {"", "-a", "a-", "Sim", "a.b", "a b"}) {
    o.prefix = bad;
    EXPECT_FALSE(check(o)) << bad;
  }
  o.prefix = std::string(51, 'a');
  EXPECT_FALSE(check(o));
  o.prefix = "rack-7";
  EXPECT_TRUE(check(o));
  o.lease_period = std::chrono::milliseconds(99);
  EXPECT_FALSE(check(o));
}

TEST(SimNode, IsLabelledTaintedAndNotReadyBeforeItsRange) {
  SimOptions o;
  o.labels["zone"] = "z1";
  o.pods_per_node = 7;
  auto node = stored("nodes", sim_node(o, 42, kNow));
  EXPECT_EQ(node->key.name, "sim-0042");
  EXPECT_TRUE(is_simulated(*node));
  EXPECT_EQ(node->labels.at("zone"), "z1");
  EXPECT_EQ(node->labels.at("kubernetes.io/hostname"), "sim-0042");
  const auto& taint = api::array_at(node->body, "spec.taints").at(0).as_object();
  EXPECT_EQ(api::text_at(taint, "key"), "trama.dev/simulated");
  EXPECT_EQ(api::text_at(taint, "effect"), "NoSchedule");
  EXPECT_EQ(api::text_at(node->body, "status.allocatable.pods"), "7");
  EXPECT_EQ(condition(api::object_at(node->body, "status"), "Ready"), "False");
  // With a range it is ready, and says so only once.
  auto body = node->body;
  body["spec"].as_object()["podCIDRs"] = json::array{"10.0.0.0/24"};
  body["status"] = sim_node_status(o, 42, *stored("nodes", body), kNow);
  EXPECT_EQ(condition(body["status"].as_object(), "Ready"), "True");
  EXPECT_EQ(sim_node_status(o, 42, *stored("nodes", body), kLater), body["status"].as_object());
  o.taint = false;
  EXPECT_TRUE(api::array_at(sim_node(o, 42, kNow), "spec.taints").empty());
}

TEST(SimNode, AddressesAreAllDifferentAndOutOfTheBenchmarkRange) {
  auto range = *base::Cidr::parse("198.18.0.0/15");
  std::set<base::Ip> seen;
  for (unsigned i = 1; i <= kMostSimulated; ++i) {
    auto ip = sim_address(i);
    ASSERT_TRUE(range.contains(ip)) << i;
    ASSERT_TRUE(seen.insert(ip).second) << i;
  }
}

TEST(SimNode, ItsLeaseBelongsToIt) {
  SimOptions o;
  auto node = stored("nodes", sim_node(o, 1, kNow));
  auto lease = sim_lease(o, *node, "2026-01-02T03:04:05.000000Z");
  const auto& owner = api::array_at(lease, "metadata.ownerReferences").at(0).as_object();
  EXPECT_EQ(api::text_at(owner, "uid"), node->uid);
  EXPECT_EQ(api::int_at(lease, "spec.leaseDurationSeconds"), 40);
}

TEST(SimPod, RunsAndIsReadyAtOnceAndThenStaysAsItIs) {
  auto ip = *base::Ip::parse("10.0.0.2");
  auto fresh = pod();
  auto status = sim_pod_status(*fresh, {ip}, sim_address(1), kNow);
  EXPECT_EQ(api::text_at(status, "phase"), "Running");
  EXPECT_TRUE(agent::is_pod_ready(status));
  EXPECT_EQ(api::text_at(status, "podIP"), "10.0.0.2");
  EXPECT_EQ(api::text_at(status, "hostIP"), "198.18.0.1");
  EXPECT_EQ(api::array_at(status, "containerStatuses").size(), 2u);
  auto running = pod("", json::serialize(status));
  EXPECT_EQ(sim_pod_status(*running, {ip}, sim_address(1), kLater), status);
  EXPECT_EQ(addresses_of(*running), std::vector<base::Ip>{ip});
}

TEST(SimPod, OfAJobSucceedsAfterItWasSeenRunning) {
  auto ip = *base::Ip::parse("10.0.0.2");
  auto job = std::string(R"(,"ownerReferences":[{"kind":"Job","name":"j","uid":"u"}])");
  auto status = sim_pod_status(*pod(job), {ip}, sim_address(1), kNow);
  EXPECT_EQ(api::text_at(status, "phase"), "Running");
  // restartPolicy of the pod above is Always, with which nothing ever ends; Jobs refuse it.
  auto body = pod(job, json::serialize(status))->body;
  body["spec"].as_object()["restartPolicy"] = "Never";
  auto ended = sim_pod_status(*stored("pods", body), {ip}, sim_address(1), kLater);
  EXPECT_EQ(api::text_at(ended, "phase"), "Succeeded");
  EXPECT_FALSE(agent::is_pod_ready(ended));
  body["status"] = ended;
  EXPECT_TRUE(has_ended(*stored("pods", body)));
}

TEST(SimNode, FallsSilentByAnAnnotation) {
  auto body = sim_node(SimOptions{}, 1, kNow);
  EXPECT_FALSE(is_silent(*stored("nodes", body)));
  api::make_object_at(body, "metadata.annotations")[kSilent] = "true";
  EXPECT_TRUE(is_silent(*stored("nodes", body)));
}

}  // namespace
}  // namespace trama::cli
