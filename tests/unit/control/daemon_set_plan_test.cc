// SPDX-License-Identifier: GPL-2.0-or-later
// DaemonSets: which nodes, which pods, and rollouts played step by step.
#include "control/controllers/daemon_set_plan.h"

#include <set>

#include "control/controllers/deployment_plan.h"
#include "control/scheduler/choice.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:10:00Z");
const std::map<std::string, Time> kNothingHeld;

api::ObjectPtr daemon_set(const std::string& pod_spec = "", const std::string& more = "",
                          const std::string& image = "one") {
  return stored(
      "daemonsets",
      R"({"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"namespace":"d","name":"probe","uid":"ds","generation":2},"spec":{)" +
          more +
          R"("selector":{"matchLabels":{"app":"probe"}},"template":{"metadata":{"labels":{"app":"probe"}},"spec":{)" +
          pod_spec + R"("containers":[{"name":"c","image":")" + image + R"("}]}}}})");
}
DaemonNode node(const std::string& name, const std::string& taints = "[]", const std::string& labels = "{}") {
  return daemon_node_of(*stored("nodes", R"({"metadata":{"name":")" + name + R"(","labels":)" + labels +
                                             R"(},"spec":{"taints":)" + taints + "}}"));
}
std::string hash_of(const api::Object& set) { return template_hash(api::object_at(set.body, "spec.template"), 0); }
DaemonSetPlan planned(const api::Object& set, const std::vector<DaemonNode>& nodes,
                      const std::vector<api::ObjectPtr>& pods, const std::map<std::string, Time>& held, Time now) {
  return plan_daemon_set(set, hash_of(set), nodes, pods, held, now);
}
// A pod of the set as it would be made for the node, then placed there.
struct PodShape {
  std::string name, node, phase = "Running", created = "2026-01-01T00:00:00Z", ready_since = "2026-01-01T00:00:00Z";
  bool ready = true, dying = false;
};
api::ObjectPtr pod(const api::Object& set, const PodShape& p) {
  auto body = daemon_pod(set, p.node, hash_of(set));
  auto& metadata = body["metadata"].as_object();
  metadata["name"] = p.name;
  metadata["namespace"] = "d";
  metadata["uid"] = "uid-" + p.name;
  metadata["creationTimestamp"] = p.created;
  if (p.dying) metadata["deletionTimestamp"] = "2026-01-01T00:09:59Z";
  api::make_object_at(body, "spec")["nodeName"] = p.node;
  auto& status = api::make_object_at(body, "status");
  status["phase"] = p.phase;
  json::object ready;
  ready["type"] = "Ready";
  ready["status"] = p.ready ? "True" : "False";
  ready["lastTransitionTime"] = p.ready_since;
  json::array conditions;
  conditions.push_back(std::move(ready));
  status["conditions"] = std::move(conditions);
  return api::make_object({"pods", "d", p.name}, std::move(body), 1);
}
std::string names(const std::vector<api::ObjectPtr>& pods) {
  std::string out;
  for (const auto& p : pods) out += (out.empty() ? "" : " ") + p->key.name;
  return out;
}
std::string joined(const std::vector<std::string>& list) { return fmt::format("{}", fmt::join(list, " ")); }
std::string counts(const DaemonSetPlan& plan) {
  auto n = [&](const char* field) { return api::int_at(plan.status, field); };
  return fmt::format("desired {} current {} misplaced {} ready {} updated {} available {} unavailable {}",
                     n("desiredNumberScheduled"), n("currentNumberScheduled"), n("numberMisscheduled"),
                     n("numberReady"), n("updatedNumberScheduled"), n("numberAvailable"), n("numberUnavailable"));
}

TEST(DaemonSetPlan, APodForEveryNodeThatItIsFor) {
  struct Case {
    const char *what, *pod_spec;
    DaemonNode node;
    bool starts, stays;
  };
  constexpr const char* kAffinity =
      R"("affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"disk","operator":"In","values":["ssd"]}]}]}}},)";
  auto taint = [](const char* key, const char* effect) {
    return fmt::format(R"([{{"key":"{}","effect":"{}"}}])", key, effect);
  };
  const Case cases[] = {
      {"any node", "", node("n"), true, true},
      {"selector", R"("nodeSelector":{"disk":"ssd"},)", node("n"), false, false},
      {"selector matches", R"("nodeSelector":{"disk":"ssd"},)", node("n", "[]", R"({"disk":"ssd"})"), true, true},
      {"affinity", kAffinity, node("n"), false, false},
      {"affinity matches", kAffinity, node("n", "[]", R"({"disk":"ssd"})"), true, true},
      {"by name", R"("nodeName":"m",)", node("n"), false, false},
      {"by its name", R"("nodeName":"n",)", node("n"), true, true},
      {"taint", "", node("n", taint("gpu", "NoSchedule")), false, true},
      {"taint that drives out", "", node("n", taint("gpu", "NoExecute")), false, false},
      {"taint that only discourages", "", node("n", taint("gpu", "PreferNoSchedule")), true, true},
      {"tolerated", R"("tolerations":[{"operator":"Exists"}],)", node("n", taint("gpu", "NoExecute")), true, true},
      {"cordoned", "", node("n", taint("node.kubernetes.io/unschedulable", "NoSchedule")), true, true},
      {"short of memory", "", node("n", taint("node.kubernetes.io/memory-pressure", "NoSchedule")), true, true},
      {"silent", "", node("n", taint("node.kubernetes.io/unreachable", "NoExecute")), true, true},
      {"not ready yet", "", node("n", taint("node.kubernetes.io/not-ready", "NoSchedule")), false, true},
      {"no network, which matters", "", node("n", taint("node.kubernetes.io/network-unavailable", "NoSchedule")), false,
       true},
      {"no network, host's is used", R"("hostNetwork":true,)",
       node("n", taint("node.kubernetes.io/network-unavailable", "NoSchedule")), true, true},
  };
  for (const auto& c : cases) {
    auto set = daemon_set(c.pod_spec);
    auto empty = planned(*set, {c.node}, {}, kNothingHeld, kNow);
    EXPECT_EQ(joined(empty.create), c.starts ? "n" : "") << c.what;
    EXPECT_EQ(api::int_at(empty.status, "desiredNumberScheduled"), c.starts ? 1 : 0) << c.what;
    auto there = planned(*set, {c.node}, {pod(*set, {.name = "a", .node = "n"})}, kNothingHeld, kNow);
    EXPECT_EQ(names(there.remove), c.stays ? "" : "a") << c.what;
    EXPECT_EQ(joined(there.create), "") << c.what;
    EXPECT_EQ(api::int_at(there.status, "numberMisscheduled"), c.starts ? 0 : 1) << c.what;
  }
}

TEST(DaemonSetPlan, TheSchedulerPutsThePodWhereItIsMeantToBe) {
  auto set = daemon_set(R"("nodeSelector":{"disk":"ssd"},)");
  auto body = daemon_pod(*set, "n2", hash_of(*set));
  EXPECT_EQ(node_of_daemon(body), "n2");
  body["metadata"].as_object()["name"] = "p";
  auto needs = needs_of(*api::make_object({"pods", "d", "p"}, body, 1));
  Cluster nodes;
  for (const char* name : {"n1", "n2", "n3"})
    nodes.put_node(state_of(*stored("nodes", std::string(R"({"metadata":{"name":")") + name +
                                                 R"(","labels":{"disk":"ssd"}},"spec":{"unschedulable":true},
             "status":{"conditions":[{"type":"Ready","status":"True"}]}})")));
  for (std::uint64_t r = 0; r < 5; ++r) EXPECT_EQ(choose_node(needs, nodes, r).node, "n2") << "cordoned or not";
  nodes.remove_node("n2");
  EXPECT_FALSE(choose_node(needs, nodes, 0).node);
}

TEST(DaemonSetPlan, SurplusAndForeignPods) {
  auto set = daemon_set();
  auto orphan = pod(*set, {.name = "orphan", .node = "n2"});
  auto body = orphan->body;
  body["metadata"].as_object().erase("ownerReferences");
  orphan = api::make_object(orphan->key, body, 1);
  body = pod(*set, {.name = "relabelled", .node = "n1"})->body;
  api::make_object_at(body, "metadata.labels")["app"] = "debug";
  auto relabelled = api::make_object({"pods", "d", "relabelled"}, body, 1);
  auto plan = planned(*set, {node("n1"), node("n2"), node("n3")},
                      {pod(*set, {.name = "young", .node = "n1", .created = "2026-01-01T00:05:00Z"}),
                       pod(*set, {.name = "old", .node = "n1"}), orphan, relabelled},
                      kNothingHeld, kNow);
  EXPECT_EQ(names(plan.remove), "young");
  EXPECT_EQ(names(plan.adopt), "orphan");
  EXPECT_EQ(names(plan.release), "relabelled");
  EXPECT_EQ(joined(plan.create), "n3");
  EXPECT_EQ(counts(plan), "desired 3 current 2 misplaced 0 ready 2 updated 2 available 2 unavailable 1");
}

TEST(DaemonSetPlan, FailedPodsAreReplacedWithABackOff) {
  auto set = daemon_set();
  std::vector<api::ObjectPtr> pods{pod(*set, {.name = "bad", .node = "n1", .phase = "Failed", .ready = false}),
                                   pod(*set, {.name = "done", .node = "n2", .phase = "Succeeded", .ready = false})};
  std::vector<DaemonNode> nodes{node("n1"), node("n2")};
  auto plan = planned(*set, nodes, pods, kNothingHeld, kNow);
  EXPECT_EQ(names(plan.remove), "bad done");
  ASSERT_EQ(plan.ended.size(), 2u);
  EXPECT_TRUE(plan.ended[0].failed);
  EXPECT_FALSE(plan.ended[1].failed);
  auto until = kNow + std::chrono::seconds(4);
  auto held = planned(*set, nodes, pods, {{"n1", until}}, kNow);
  EXPECT_EQ(names(held.remove), "done");
  EXPECT_EQ(held.look_again, until);
  EXPECT_EQ(names(planned(*set, nodes, pods, {{"n1", kNow}}, kNow).remove), "bad done");
}

TEST(DaemonSetPlan, ATerminatingPodHoldsItsNode) {
  auto set = daemon_set();
  auto plan = planned(*set, {node("n1")}, {pod(*set, {.name = "a", .node = "n1", .dying = true})}, kNothingHeld, kNow);
  EXPECT_EQ(joined(plan.create), "");
  EXPECT_EQ(names(plan.remove), "");
}

TEST(DaemonSetPlan, ATerminatingSetTouchesNothing) {
  auto body = daemon_set()->body;
  body["metadata"].as_object()["deletionTimestamp"] = "2026-01-01T00:00:00Z";
  auto set = api::make_object({"daemonsets", "d", "probe"}, body, 1);
  auto plan = planned(*set, {node("n1"), node("n2")}, {pod(*set, {.name = "a", .node = "n3"})}, kNothingHeld, kNow);
  EXPECT_TRUE(plan.create.empty());
  EXPECT_TRUE(plan.remove.empty());
}

TEST(DaemonSetPlan, AvailabilityTakesItsTime) {
  auto set = daemon_set("", R"("minReadySeconds":30,)");
  auto plan =
      planned(*set, {node("n1")}, {pod(*set, {.name = "a", .node = "n1", .ready_since = "2026-01-01T00:09:50Z"})},
              kNothingHeld, kNow);
  EXPECT_EQ(counts(plan), "desired 1 current 1 misplaced 0 ready 1 updated 1 available 0 unavailable 1");
  ASSERT_TRUE(plan.look_again);
  EXPECT_EQ(base::format_seconds(*plan.look_again), "2026-01-01T00:10:20Z");
}

// Nodes with their daemons; a pod that was asked for is ready one step later, one that was told to go is gone.
class Play {
 public:
  Play(int nodes, std::string strategy) : strategy_(std::move(strategy)) {
    for (int i = 1; i <= nodes; ++i) nodes_.push_back(node(fmt::format("n{:02}", i)));
    set_image("one");
  }
  void set_image(const std::string& image) {
    image_ = image;
    set_ = daemon_set("", R"("updateStrategy":)" + strategy_ + ",", image);
  }
  // Of this image no pod gets ready.
  void stuck(const std::string& image) { stuck_ = image; }
  bool step() {
    std::vector<api::ObjectPtr> pods;
    for (const auto& [name, p] : pods_) pods.push_back(p);
    auto plan = planned(*set_, nodes_, pods, kNothingHeld, kNow);
    bool moved = !plan.create.empty() || !plan.remove.empty();
    for (auto& [name, p] : pods_) {
      if (image_of(*p) == stuck_ || is_pod_ready(p->body)) continue;
      auto body = p->body;
      set_condition(body, "Ready", "True", "", "", kNow);
      p = api::make_object(p->key, std::move(body), 1);
      moved = true;
    }
    for (const auto& p : plan.remove) pods_.erase(p->key.name);
    for (const auto& n : plan.create) {
      auto name = fmt::format("p{:03}", ++serial_);
      pods_[name] = pod(
          *set_,
          {.name = name, .node = n, .created = fmt::format("2026-01-01T00:00:{:02}Z", serial_ % 60), .ready = false});
    }
    std::set<std::string> served;
    for (const auto& [name, p] : pods_)
      if (is_pod_ready(p->body)) served.insert(node_of_daemon(p->body));
    lowest_available = std::min(lowest_available, static_cast<std::int64_t>(served.size()));
    highest_total = std::max(highest_total, static_cast<std::int64_t>(pods_.size()));
    status = plan.status;
    return moved;
  }
  int settle() {
    int steps = 0;
    while (steps < 200 && step()) ++steps;
    return steps;
  }
  std::size_t with_image(const std::string& image) const {
    return static_cast<std::size_t>(
        std::count_if(pods_.begin(), pods_.end(), [&](const auto& p) { return image_of(*p.second) == image; }));
  }
  std::int64_t lowest_available = 1000, highest_total = 0;
  json::object status;

 private:
  static std::string image_of(const api::Object& pod) {
    return api::text_at(api::array_at(pod.body, "spec.containers")[0].as_object(), "image");
  }
  std::string strategy_, image_, stuck_;
  std::vector<DaemonNode> nodes_;
  api::ObjectPtr set_;
  std::map<std::string, api::ObjectPtr> pods_;
  int serial_ = 0;
};

std::string rolling(const std::string& unavailable, const std::string& surge) {
  return R"({"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":)" + unavailable + R"(,"maxSurge":)" + surge +
         "}}";
}

TEST(DaemonSetPlan, RolloutsKeepTheirBounds) {
  struct Case {
    const char *unavailable, *surge;
    std::int64_t may_miss, may_add;  // of 10 nodes
  };
  for (const auto& c : {Case{"1", "0", 1, 0}, Case{"3", "0", 3, 0}, Case{"\"25%\"", "0", 3, 0}, Case{"10", "0", 10, 0},
                        Case{"0", "1", 0, 1}, Case{"0", "4", 0, 4}, Case{"0", "\"31%\"", 0, 4}}) {
    Play play(10, rolling(c.unavailable, c.surge));
    play.settle();
    ASSERT_EQ(play.with_image("one"), 10u);
    play.lowest_available = 1000;
    play.highest_total = 0;
    play.set_image("two");
    auto steps = play.settle();
    EXPECT_LT(steps, 60);
    EXPECT_EQ(play.with_image("two"), 10u) << c.unavailable << " " << c.surge;
    EXPECT_EQ(play.with_image("one"), 0u);
    EXPECT_GE(play.lowest_available, 10 - c.may_miss) << c.unavailable << " " << c.surge;
    EXPECT_LE(play.highest_total, 10 + c.may_add) << c.unavailable << " " << c.surge;
    // The bound is used, not only kept.
    EXPECT_EQ(play.lowest_available, 10 - c.may_miss) << c.unavailable << " " << c.surge;
    EXPECT_EQ(play.highest_total, 10 + c.may_add) << c.unavailable << " " << c.surge;
    EXPECT_EQ(api::int_at(play.status, "updatedNumberScheduled"), 10);
    EXPECT_EQ(api::int_at(play.status, "numberAvailable"), 10);
  }
}

TEST(DaemonSetPlan, ABadTemplateStopsAtItsBound) {
  Play play(6, rolling("2", "0"));
  play.settle();
  play.lowest_available = 1000;
  play.stuck("bad");
  play.set_image("bad");
  for (int i = 0; i < 50; ++i) play.step();
  EXPECT_EQ(play.with_image("bad"), 2u);
  EXPECT_EQ(play.with_image("one"), 4u);
  EXPECT_EQ(play.lowest_available, 4);
  EXPECT_EQ(api::int_at(play.status, "updatedNumberScheduled"), 2);
  play.set_image("one");
  play.settle();
  EXPECT_EQ(play.with_image("one"), 6u) << "and back";

  Play surging(6, rolling("0", "2"));
  surging.settle();
  surging.lowest_available = 1000;
  surging.stuck("bad");
  surging.set_image("bad");
  for (int i = 0; i < 50; ++i) surging.step();
  EXPECT_EQ(surging.with_image("bad"), 2u);
  EXPECT_EQ(surging.with_image("one"), 6u);
  EXPECT_EQ(surging.lowest_available, 6);
}

TEST(DaemonSetPlan, OnDeleteWaitsForSomebody) {
  Play play(3, R"({"type":"OnDelete"})");
  play.settle();
  play.set_image("two");
  for (int i = 0; i < 10; ++i) play.step();
  EXPECT_EQ(play.with_image("one"), 3u);
  EXPECT_EQ(api::int_at(play.status, "updatedNumberScheduled"), 0);
}

}  // namespace
}  // namespace trama::control
