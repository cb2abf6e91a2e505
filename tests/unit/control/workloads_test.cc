// SPDX-License-Identifier: GPL-2.0-or-later
// ReplicaSets and Deployments: planners, and rollouts as transcripts.
#include "control/controllers/deployment_plan.h"
#include "control/controllers/replica_set_plan.h"
#include "tests/support/golden.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

const Time kNow = at("2026-01-01T00:10:00Z");

api::ObjectPtr replica_set(int replicas, const std::string& more = "") {
  return stored(
      "replicasets",
      R"({"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"namespace":"d","name":"web","uid":"rs","generation":3},"spec":{"replicas":)" +
          std::to_string(replicas) + more +
          R"(,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c"}]}}}})");
}
struct PodShape {
  std::string name, node = "n1", phase = "Running", ready_since = "2026-01-01T00:00:00Z", owner = "rs", label = "web";
  bool ready = true;
};
api::ObjectPtr pod(const PodShape& p) {
  std::string owner =
      p.owner.empty()
          ? ""
          : R"(,"ownerReferences":[{"kind":"ReplicaSet","name":"web","controller":true,"uid":")" + p.owner + R"("}])";
  return stored("pods", R"({"kind":"Pod","metadata":{"namespace":"d","name":")" + p.name + R"(","labels":{"app":")" +
                            p.label + R"("},"creationTimestamp":"2026-01-01T00:00:00Z")" + owner +
                            R"(},"spec":{"nodeName":")" + p.node + R"("},"status":{"phase":")" + p.phase +
                            R"(","conditions":[{"type":"Ready","status":")" + (p.ready ? "True" : "False") +
                            R"(","lastTransitionTime":")" + p.ready_since + R"("}]}})");
}

TEST(ReplicaSetPlan, CreatesWhatIsMissingAndCountsWhatIsThere) {
  auto plan = plan_replica_set(*replica_set(3), {pod({.name = "a"}), pod({.name = "b", .ready = false})}, kNow);
  EXPECT_EQ(plan.create, 1u);
  EXPECT_EQ(
      json::serialize(plan.status),
      R"({"replicas":2,"fullyLabeledReplicas":2,"readyReplicas":1,"availableReplicas":1,"observedGeneration":3})");
}

TEST(ReplicaSetPlan, FailedAndTerminatingPodsAreReplaced) {
  auto plan = plan_replica_set(*replica_set(1), {pod({.name = "a", .phase = "Failed"})}, kNow);
  EXPECT_EQ(plan.create, 1u);
  EXPECT_TRUE(plan.remove.empty());
}

TEST(ReplicaSetPlan, AdoptsOrphansReleasesStrangers) {
  auto plan = plan_replica_set(*replica_set(2),
                               {pod({.name = "orphan", .owner = ""}), pod({.name = "relabelled", .label = "debug"}),
                                pod({.name = "foreign", .owner = "other"})},
                               kNow);
  ASSERT_EQ(plan.adopt.size(), 1u);
  EXPECT_EQ(plan.adopt[0]->key.name, "orphan");
  ASSERT_EQ(plan.release.size(), 1u);
  EXPECT_EQ(plan.release[0]->key.name, "relabelled");
  EXPECT_EQ(plan.create, 1u);
}

TEST(ReplicaSetPlan, DeletionOrder) {
  std::vector<api::ObjectPtr> pods = {pod({.name = "old-ready"}),
                                      pod({.name = "young-ready", .ready_since = "2026-01-01T00:05:00Z"}),
                                      pod({.name = "crowded", .node = "n2", .ready_since = "2025-01-01T00:00:00Z"}),
                                      pod({.name = "crowded2", .node = "n2", .ready_since = "2025-01-01T00:00:00Z"}),
                                      pod({.name = "crowded3", .node = "n2", .ready_since = "2025-01-01T00:00:00Z"}),
                                      pod({.name = "not-ready", .ready = false}),
                                      pod({.name = "pending", .phase = "Pending", .ready = false}),
                                      pod({.name = "unplaced", .node = "", .phase = "Pending", .ready = false})};
  std::string order;
  for (const auto& p : deletion_order(pods)) order += p->key.name + " ";
  // not-ready shares n1 with three others: it goes before ready ones in any case.
  EXPECT_EQ(order.substr(0, 27), "unplaced pending not-ready ");
  EXPECT_LT(order.find("young-ready"), order.find("old-ready"));
  EXPECT_LT(order.find("young-ready"), order.find("crowded")) << "n1 holds four of ours, n2 three";
}

TEST(ReplicaSetPlan, AvailabilityTakesItsTime) {
  auto plan = plan_replica_set(*replica_set(1, R"(,"minReadySeconds":30)"),
                               {pod({.name = "a", .ready_since = "2026-01-01T00:09:50Z"})}, kNow);
  EXPECT_EQ(api::int_at(plan.status, "availableReplicas"), 0);
  ASSERT_TRUE(plan.look_again);
  EXPECT_EQ(base::format_seconds(*plan.look_again), "2026-01-01T00:10:20Z");
}

TEST(ReplicaSetPlan, ATerminatingSetTouchesNothing) {
  auto text = json::serialize(replica_set(3)->body);
  text.insert(text.find(R"("uid":"rs")"), R"("deletionTimestamp":"2026-01-01T00:00:00Z",)");
  auto plan = plan_replica_set(*stored("replicasets", text), {pod({.name = "a"})}, kNow);
  EXPECT_EQ(plan.create, 0u);
  EXPECT_TRUE(plan.remove.empty());
}

// A Deployment with its ReplicaSets, played step by step. Pods become ready one step after they were asked for.
class Play {
 public:
  Play(int replicas, const std::string& strategy) : strategy_(strategy), replicas_(replicas) { set_image("one"); }
  void set_image(const std::string& image) {
    image_ = image;
    ++generation_;
    rebuild();
  }
  void set_replicas(int n) {
    replicas_ = n;
    ++generation_;
    rebuild();
  }
  void stuck(const std::string& image) { stuck_ = image; }
  bool step() {
    now_ += std::chrono::seconds(1);
    bool moved = false;
    std::vector<api::ObjectPtr> sets;
    for (const auto& [name, s] : sets_) sets.push_back(s);
    auto plan = plan_deployment(*deployment_, sets, old_pods(), now_);
    for (const auto& note : plan.notes) line(note), moved = true;
    if (plan.create) {
      auto name = api::text_at(*plan.create, "metadata.name");
      sets_[name] = api::make_object({"replicasets", "d", name}, *plan.create, ++revision_);
      moved = true;
    }
    for (const auto& s : plan.scale) {
      auto body = s.rs->body;
      body["spec"].as_object()["replicas"] = s.replicas;
      sets_[s.rs->key.name] = api::make_object(s.rs->key, body, ++revision_);
    }
    for (const auto& rs : plan.prune) {
      line("Pruned " + rs->key.name);
      sets_.erase(rs->key.name);
    }
    if (plan.changed) deployment_ = api::make_object(deployment_->key, plan.body, ++revision_);
    moved |= pods_follow();
    check_bounds();
    if (moved) {
      const auto* p = condition(deployment_->body, "Progressing");
      line("  " + state() + (p ? "  " + api::text_at(*p, "reason") : ""));
    }
    return moved || plan.changed;
  }
  void settle() {
    for (int i = 0; i < 100 && step(); ++i) {
    }
    line("settled: " + state() + "  " + api::text_at(*condition(deployment_->body, "Progressing"), "reason") +
         " Available=" + condition_status(deployment_->body, "Available"));
  }
  std::string transcript;
  void line(std::string text) {
    // Hashes depend on nothing a reader cares about: show which template a set has.
    for (const auto& [name, s] : sets_)
      for (auto at = text.find(name); at != std::string::npos; at = text.find(name))
        text.replace(at, name.size(), image_of(*s));
    transcript += text + "\n";
  }
  std::int64_t lowest_available = 1000, highest_total = 0;

 private:
  static std::string image_of(const api::Object& rs) {
    return api::text_at(api::array_at(rs.body, "spec.template.spec.containers")[0].as_object(), "image");
  }
  std::size_t old_pods() const {
    std::size_t n = 0;
    for (const auto& [name, s] : sets_)
      if (image_of(*s) != image_) n += static_cast<std::size_t>(api::int_at(s->body, "status.replicas"));
    return n;
  }
  void rebuild() {
    auto status = deployment_ ? api::object_at(deployment_->body, "status") : json::object();
    auto body = object(
        R"({"apiVersion":"apps/v1","kind":"Deployment","metadata":{"namespace":"d","name":"web","uid":"dep","generation":)" +
        std::to_string(generation_) + R"(},"spec":{"replicas":)" + std::to_string(replicas_) +
        R"(,"revisionHistoryLimit":1,"strategy":)" + strategy_ +
        R"(,"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":")" +
        image_ + R"("}]}}}})");
    body["status"] = status;
    deployment_ = api::make_object({"deployments", "d", "web"}, std::move(body), ++revision_);
  }
  bool pods_follow() {
    bool moved = false;
    for (auto& [name, s] : sets_) {
      auto body = s->body;
      auto wanted = api::int_at(body, "spec.replicas");
      auto& status = api::make_object_at(body, "status");
      auto had = api::int_at(status, "replicas");
      bool good = image_of(*s) != stuck_;
      auto available = good ? std::min(had, wanted) : 0;  // those of the step before
      if (had == wanted && api::int_at(status, "availableReplicas") == available) continue;
      status["replicas"] = wanted;
      status["readyReplicas"] = available;
      status["availableReplicas"] = available;
      s = api::make_object(s->key, std::move(body), ++revision_);
      moved = true;
    }
    return moved;
  }
  void check_bounds() {
    std::int64_t total = 0, available = 0;
    for (const auto& [name, s] : sets_) {
      total += api::int_at(s->body, "spec.replicas");
      available += api::int_at(s->body, "status.availableReplicas");
    }
    highest_total = std::max(highest_total, total);
    lowest_available = std::min(lowest_available, available);
  }
  std::string state() const {
    std::string out;
    for (const auto& [name, s] : sets_)
      out += fmt::format("{}={}/{} ", image_of(*s), api::int_at(s->body, "status.availableReplicas"),
                         api::int_at(s->body, "spec.replicas"));
    return out;
  }
  std::string strategy_, image_, stuck_;
  int replicas_, generation_ = 0;
  std::uint64_t revision_ = 0;
  Time now_ = kNow;
  api::ObjectPtr deployment_;
  std::map<std::string, api::ObjectPtr> sets_;
};

TEST(DeploymentPlan, RollingUpdateTranscript) {
  Play play(4, R"({"type":"RollingUpdate","rollingUpdate":{"maxSurge":"25%","maxUnavailable":"25%"}})");
  play.settle();
  play.lowest_available = 1000;
  play.highest_total = 0;
  play.line("set image two");
  play.set_image("two");
  play.settle();
  EXPECT_GE(play.lowest_available, 3);
  EXPECT_LE(play.highest_total, 5);
  play.line("set image three, which never gets ready");
  play.stuck("three");
  play.set_image("three");
  play.settle();
  EXPECT_GE(play.lowest_available, 3) << "a bad image takes no more than maxUnavailable away";
  play.line("roll back to two");
  play.set_image("two");
  play.settle();
  play.line("scale to 6");
  play.set_replicas(6);
  play.settle();
  EXPECT_EQ(test::object("{}").size(), 0u);
  EXPECT_EQ(trama::test::golden_difference("control/rolling_update.txt", play.transcript), "");
}

TEST(DeploymentPlan, RecreateTranscript) {
  Play play(3, R"({"type":"Recreate"})");
  play.settle();
  play.line("set image two");
  play.set_image("two");
  play.settle();
  EXPECT_EQ(trama::test::golden_difference("control/recreate.txt", play.transcript), "");
}

TEST(DeploymentPlan, BoundsHoldForEveryStrategy) {
  for (int replicas : {1, 2, 3, 5, 10})
    for (const char* surge : {"0", "1", "3", "\"50%\""})
      for (const char* unavailable : {"0", "1", "2", "\"50%\""}) {
        Play play(replicas, std::string(R"({"type":"RollingUpdate","rollingUpdate":{"maxSurge":)") + surge +
                                R"(,"maxUnavailable":)" + unavailable + "}}");
        play.settle();
        play.lowest_available = 1000;
        play.highest_total = 0;
        play.set_image("two");
        play.settle();
        auto body = object(R"({"spec":{"replicas":)" + std::to_string(replicas) +
                           R"(,"strategy":{"rollingUpdate":{"maxSurge":)" + surge + R"(,"maxUnavailable":)" +
                           unavailable + "}}}}");
        auto bounds = rolling_bounds(body);
        EXPECT_LE(play.highest_total, replicas + bounds.surge) << surge << " " << unavailable << " " << replicas;
        EXPECT_GE(play.lowest_available, replicas - bounds.unavailable)
            << surge << " " << unavailable << " " << replicas;
        EXPECT_NE(play.transcript.rfind("NewReplicaSetAvailable Available=True"), std::string::npos) << play.transcript;
      }
}

TEST(DeploymentPlan, TemplateHashIsStable) {
  auto a = object(R"({"metadata":{"labels":{"a":"1","b":"2"}},"spec":{"containers":[{"name":"c","image":"i"}]}})");
  auto b = object(
      R"({"spec":{"containers":[{"image":"i","name":"c"}]},"metadata":{"labels":{"b":"2","a":"1","pod-template-hash":"x"}}})");
  EXPECT_EQ(template_hash(a, 0), template_hash(b, 0));
  EXPECT_NE(template_hash(a, 0), template_hash(a, 1));
}

}  // namespace
}  // namespace trama::control
