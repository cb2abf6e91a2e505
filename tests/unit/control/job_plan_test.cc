// SPDX-License-Identifier: GPL-2.0-or-later
// Jobs: single decisions, and whole lives played step by step.
#include "control/controllers/job_plan.h"

#include <functional>
#include <random>

#include "control/controllers/job_indexes.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;
using std::chrono::seconds;

const Time kNow = at("2026-01-01T00:10:00Z");

std::string condition_text(const json::object& body, std::string_view type) {
  const auto* c = condition(body, type);
  if (c == nullptr) return "";
  return api::text_at(*c, "status") + " " + api::text_at(*c, "reason") + ": " + api::text_at(*c, "message");
}

TEST(JobIndexes, TextAndBack) {
  for (const char* text : {"", "0", "0,1", "0-2", "1,3-5,7", "0,2,4,6-9"})
    EXPECT_EQ(JobIndexes::parse(text, 10).to_string(), text);
  EXPECT_EQ(JobIndexes::parse("1,3-5,7", 10).size(), 5);
  EXPECT_EQ(JobIndexes::parse("1,3-9", 6).to_string(), "1,3-5") << "fewer completions than before";
  EXPECT_EQ(JobIndexes::parse("x,2,1,-3,4-3", 10).to_string(), "2") << "what is wrong is left out";
  auto some = JobIndexes::parse("1,3-5", 10);
  some.add({2, 8, 3});
  EXPECT_EQ(some.to_string(), "1-5,8");
  EXPECT_TRUE(some.contains(5));
  EXPECT_FALSE(some.contains(6));
  EXPECT_EQ(some.pending(3, 10, {6}), (std::vector<std::int64_t>{0, 7, 9}));
  EXPECT_EQ(some.pending(1, 10, {}), (std::vector<std::int64_t>{0}));
}

// A Job with its pods. What a pod does is decided by `fate`: "ok", "bad", or "" as long as it runs.
class Play {
 public:
  explicit Play(const std::string& spec) {
    job_ = stored(
        "jobs",
        R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"d","name":"load","uid":"job"},"spec":{)" +
            spec +
            R"(,"selector":{"matchLabels":{"u":"job"}},"template":{"metadata":{"labels":{"u":"job"}},"spec":{"restartPolicy":"Never","containers":[{"name":"c"}]}}}})");
  }
  std::function<std::string(const api::Object& pod, int age)> fate = [](const auto&, int) { return "ok"; };

  // One pass of the controller, then one second of the pods' life.
  bool step() {
    bool moved = decide();
    live();
    now += seconds(1);
    return moved;
  }
  void run(int steps) {
    for (int i = 0; i < steps && !is_job_finished(job_->body); ++i) step();
  }
  void set_spec(const char* field, json::value v) {
    auto body = job_->body;
    api::make_object_at(body, "spec")[field] = std::move(v);
    job_ = api::make_object(job_->key, std::move(body), ++revision_);
  }
  void delete_pod(const std::string& name) { begin_deletion(name); }
  std::int64_t number(const char* field) const { return api::int_at(job_->body, std::string("status.") + field); }
  std::string text(const char* field) const { return api::text_at(job_->body, std::string("status.") + field); }
  std::string said(std::string_view type) const { return condition_text(job_->body, type); }
  bool finished() const { return is_job_finished(job_->body); }
  std::size_t running() const {
    return static_cast<std::size_t>(
        std::count_if(pods.begin(), pods.end(), [](const auto& p) { return is_pod_active(p.second->body); }));
  }

  Time now = kNow;
  std::map<std::string, api::ObjectPtr> pods;
  std::vector<Time> births;
  std::vector<std::string> notes;
  std::size_t most_running = 0;
  std::int64_t ended_well = 0, ended_badly = 0;  // what really happened, counted here
  JobPlan last;
  JobOptions options{seconds(10), seconds(60)};

 private:
  bool decide() {
    std::vector<api::ObjectPtr> all;
    for (const auto& [name, p] : pods) all.push_back(p);
    last = plan_job(*job_, all, options, now);
    for (const auto& n : last.notes) notes.push_back(n.reason);
    for (const auto* list : {&last.count, &last.remove})
      for (const auto& p : *list) edit(p->key.name, [](json::object& b) { remove_finalizer(b, kJobTracking); });
    for (const auto* list : {&last.remove, &last.end})
      for (const auto& p : *list) begin_deletion(p->key.name);
    for (const auto& index : last.create) {
      auto body = job_pod(*job_, index);
      api::Key key{"pods", "d", fmt::format("{}{:03}", job_pod_prefix(*job_, index), ++serial_)};
      auto& metadata = body["metadata"].as_object();
      metadata["name"] = key.name;
      metadata["uid"] = "uid-" + key.name;
      metadata["creationTimestamp"] = base::format_seconds(now);
      api::make_object_at(body, "spec")["nodeName"] = "n1";
      api::make_object_at(body, "status")["phase"] = "Running";
      pods[key.name] = api::make_object(key, std::move(body), ++revision_);
      births.push_back(now);
      ages_[key.name] = 0;
    }
    auto body = job_->body;
    bool moved = json::value(last.status) != json::value(api::object_at(body, "status")) || !last.create.empty();
    body["status"] = last.status;
    job_ = api::make_object(job_->key, std::move(body), ++revision_);
    most_running = std::max(most_running, running());
    return moved;
  }
  void live() {
    std::vector<std::string> names;
    for (const auto& [name, p] : pods) names.push_back(name);
    for (const auto& name : names) {
      auto p = pods[name];
      if (is_terminating(p->body)) {  // its node agrees a second later
        edit(name, [](json::object& b) { api::make_object_at(b, "metadata")["deletionGracePeriodSeconds"] = 0; });
        continue;
      }
      if (!is_pod_active(p->body)) continue;
      auto end = fate(*p, ages_[name]++);
      if (end.empty()) continue;
      ++(end == "ok" ? ended_well : ended_badly);
      edit(name, [&](json::object& b) {
        auto& status = api::make_object_at(b, "status");
        status["phase"] = end == "ok" ? "Succeeded" : "Failed";
        status["containerStatuses"] =
            json::parse(R"([{"state":{"terminated":{"finishedAt":")" + base::format_seconds(now) + R"("}}}])");
      });
    }
  }
  void begin_deletion(const std::string& name) {
    edit(name, [&](json::object& b) {
      auto& metadata = api::make_object_at(b, "metadata");
      metadata["deletionTimestamp"] = base::format_seconds(now);
      metadata["deletionGracePeriodSeconds"] = 30;
    });
  }
  template <class F>
  void edit(const std::string& name, F change) {
    auto it = pods.find(name);
    if (it == pods.end()) return;
    auto body = it->second->body;
    change(body);
    bool over = is_terminating(body) && api::array_at(body, "metadata.finalizers").empty() &&
                api::int_at(body, "metadata.deletionGracePeriodSeconds") == 0;
    if (over)
      pods.erase(it);
    else
      it->second = api::make_object(it->second->key, std::move(body), ++revision_);
  }
  api::ObjectPtr job_;
  std::map<std::string, int> ages_;
  std::uint64_t revision_ = 1;
  int serial_ = 0;
};

TEST(JobPlan, CompletionsWithBoundedParallelism) {
  Play play(R"("completions":5,"parallelism":2)");
  play.fate = [](const auto&, int age) { return age >= 2 ? "ok" : ""; };
  play.step();
  EXPECT_EQ(play.number("active"), 2);
  EXPECT_EQ(play.text("startTime"), "2026-01-01T00:10:00Z");
  play.run(60);
  EXPECT_EQ(play.most_running, 2u);
  EXPECT_EQ(play.number("succeeded"), 5);
  EXPECT_EQ(play.number("active"), 0);
  EXPECT_EQ(play.births.size(), 5u) << "not one too many";
  EXPECT_EQ(play.said("Complete"), "True CompletionsReached: Reached expected number of succeeded pods");
  EXPECT_NE(play.text("completionTime"), "");
  EXPECT_EQ(play.notes, std::vector<std::string>{"Completed"});
  play.step();
  for (const auto& [name, p] : play.pods) EXPECT_FALSE(has_finalizer(p->body, kJobTracking)) << name;
}

TEST(JobPlan, EveryPodIsHeldUntilItIsCounted) {
  auto job = stored(
      "jobs",
      R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"d","name":"load","uid":"job"},"spec":{"template":{"metadata":{"labels":{"u":"job"}},"spec":{"containers":[{"name":"c"}]}}}})");
  auto body = job_pod(*job, std::nullopt);
  EXPECT_TRUE(has_finalizer(body, kJobTracking));
  EXPECT_TRUE(is_controlled_by(body, "job"));
  EXPECT_EQ(job_pod_prefix(*job, std::nullopt), "load-");
}

TEST(JobPlan, AnIndexedPodKnowsItsIndex) {
  auto job = stored(
      "jobs",
      R"({"apiVersion":"batch/v1","kind":"Job","metadata":{"namespace":"d","name":"load","uid":"job"},"spec":{"completionMode":"Indexed","template":{"metadata":{"labels":{"u":"job"}},"spec":{"initContainers":[{"name":"i"}],"containers":[{"name":"c","env":[{"name":"JOB_COMPLETION_INDEX","value":"mine"}]}]}}}})");
  auto body = job_pod(*job, 3);
  EXPECT_EQ(job_pod_prefix(*job, 3), "load-3-");
  EXPECT_EQ(api::text_at(body, "spec.hostname"), "load-3");
  for (const char* map : {"metadata.labels", "metadata.annotations"})
    EXPECT_EQ(api::strings_at(body, map)["batch.kubernetes.io/job-completion-index"], "3") << map;
  EXPECT_EQ(
      json::serialize(api::array_at(api::array_at(body, "spec.initContainers")[0].as_object(), "env")),
      R"([{"name":"JOB_COMPLETION_INDEX","valueFrom":{"fieldRef":{"fieldPath":"metadata.annotations['batch.kubernetes.io/job-completion-index']"}}}])");
  EXPECT_EQ(json::serialize(api::array_at(api::array_at(body, "spec.containers")[0].as_object(), "env")),
            R"([{"name":"JOB_COMPLETION_INDEX","value":"mine"}])");
}

TEST(JobPlan, IndexesAreDoneOnceEach) {
  Play play(R"("completionMode":"Indexed","completions":6,"parallelism":3,"backoffLimit":10)");
  std::map<std::string, int> tries;
  play.options.backoff_lowest = play.options.backoff_highest = seconds(1);
  // Index 1 fails twice before it succeeds, index 4 is slow.
  play.fate = [&](const api::Object& pod, int age) -> std::string {
    auto index = api::strings_at(pod.body, "metadata.annotations")[std::string(kCompletionIndex)];
    if (index == "4" && age < 8) return "";
    if (index == "1" && ++tries[index] <= 2) return "bad";
    return "ok";
  };
  play.step();
  EXPECT_EQ(play.last.create.size(), 3u);
  EXPECT_EQ(play.last.create[2], 2);
  play.run(100);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.text("completedIndexes"), "0-5");
  EXPECT_EQ(play.number("succeeded"), 6);
  EXPECT_EQ(play.number("failed"), 2);
  EXPECT_EQ(play.births.size(), 8u);
  EXPECT_EQ(play.most_running, 3u);
}

TEST(JobPlan, BackoffLimitAndTheTimesBetween) {
  Play play(R"("completions":1,"parallelism":1,"backoffLimit":3)");
  play.fate = [](const auto&, int) { return "bad"; };
  play.run(300);
  ASSERT_TRUE(play.finished());
  ASSERT_EQ(play.births.size(), 4u) << "the first one and three more";
  EXPECT_EQ((play.births[1] - play.births[0]) / seconds(1), 10);
  EXPECT_EQ((play.births[2] - play.births[1]) / seconds(1), 20);
  EXPECT_EQ((play.births[3] - play.births[2]) / seconds(1), 40);
  EXPECT_EQ(play.number("failed"), 4);
  EXPECT_EQ(play.said("FailureTarget"), "True BackoffLimitExceeded: Job has reached the specified backoff limit");
  EXPECT_EQ(play.said("Failed"), "True BackoffLimitExceeded: Job has reached the specified backoff limit");
  EXPECT_EQ(play.notes, std::vector<std::string>{"BackoffLimitExceeded"});
  EXPECT_EQ(play.text("completionTime"), "") << "only a complete Job has one";
}

TEST(JobPlan, ASuccessEndsTheBackOff) {
  Play play(R"("completions":4,"parallelism":1,"backoffLimit":9)");
  int n = 0;
  play.fate = [&](const auto&, int) { return ++n == 1 || n == 2 || n == 4 ? "bad" : "ok"; };
  play.run(300);
  ASSERT_EQ(play.births.size(), 7u);
  auto gap = [&](std::size_t i) { return (play.births[i] - play.births[i - 1]) / seconds(1); };
  EXPECT_EQ(gap(1), 10);
  EXPECT_EQ(gap(2), 20);
  EXPECT_LE(gap(3), 2);
  EXPECT_EQ(gap(4), 10) << "counted from the last success";
}

TEST(JobPlan, FailureTakesTheOthersAlong) {
  Play play(R"("completions":3,"parallelism":3,"backoffLimit":0)");
  play.fate = [](const api::Object& pod, int) { return pod.key.name == "load-001" ? "bad" : ""; };
  play.step();
  play.step();
  EXPECT_EQ(play.last.end.size(), 2u);
  EXPECT_NE(play.said("FailureTarget"), "");
  EXPECT_EQ(play.said("Failed"), "") << "not before the last pod has gone";
  play.run(10);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.number("failed"), 3);
  EXPECT_EQ(play.number("active"), 0);
}

TEST(JobPlan, RestartsInPlaceCountToo) {
  for (auto [limit, restarts, over] : {std::tuple(0, 0, false), std::tuple(0, 1, true), std::tuple(2, 1, false),
                                       std::tuple(2, 2, true), std::tuple(2, 5, true)}) {
    auto job = stored(
        "jobs",
        fmt::format(
            R"({{"apiVersion":"batch/v1","kind":"Job","metadata":{{"namespace":"d","name":"load","uid":"job"}},"spec":{{"completions":1,"backoffLimit":{},"selector":{{"matchLabels":{{"u":"job"}}}},"template":{{"metadata":{{"labels":{{"u":"job"}}}},"spec":{{"restartPolicy":"OnFailure","containers":[{{"name":"c"}}]}}}}}}}})",
            limit));
    auto body = job_pod(*job, std::nullopt);
    body["metadata"].as_object()["name"] = "p";
    body["status"] = json::parse(
        fmt::format(R"({{"phase":"Running","containerStatuses":[{{"name":"c","restartCount":{}}}]}})", restarts));
    auto plan = plan_job(*job, {api::make_object({"pods", "d", "p"}, body, 1)}, {}, kNow);
    EXPECT_EQ(plan.end.size(), over ? 1u : 0u) << limit << " " << restarts;
  }
}

TEST(JobPlan, Deadline) {
  Play play(R"("completions":1,"parallelism":1,"activeDeadlineSeconds":5)");
  play.fate = [](const auto&, int) { return ""; };
  play.step();
  EXPECT_EQ(play.last.look_again, kNow + seconds(5));
  play.run(20);
  ASSERT_TRUE(play.finished());
  EXPECT_EQ(play.said("Failed"), "True DeadlineExceeded: Job was active longer than specified deadline");
  EXPECT_LE(play.now - kNow, seconds(9));
  EXPECT_EQ(play.number("failed"), 1);
}

TEST(JobPlan, AQueueOfWorkIsDoneWhenOneSaysSoAndAllHaveEnded) {
  Play play(R"("parallelism":3)");
  play.fate = [](const api::Object& pod, int age) { return pod.key.name == "load-001" || age >= 4 ? "ok" : ""; };
  play.step();
  EXPECT_EQ(play.number("active"), 3);
  play.step();
  EXPECT_FALSE(play.finished()) << "two still work";
  EXPECT_EQ(play.number("active"), 2) << "and no third is begun";
  play.run(20);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.number("succeeded"), 3);
  EXPECT_EQ(play.births.size(), 3u);
}

TEST(JobPlan, SuspendAndResume) {
  Play play(R"("completions":2,"parallelism":2,"suspend":true)");
  play.fate = [](const auto&, int age) { return age >= 3 ? "ok" : ""; };
  play.step();
  EXPECT_EQ(play.births.size(), 0u);
  EXPECT_EQ(play.said("Suspended"), "True JobSuspended: Job suspended");
  EXPECT_EQ(play.text("startTime"), "");
  play.set_spec("suspend", false);
  play.step();
  EXPECT_EQ(play.said("Suspended"), "False JobResumed: Job resumed");
  EXPECT_EQ(play.births.size(), 2u);
  play.set_spec("suspend", true);
  play.step();
  EXPECT_EQ(play.last.remove.size(), 2u);
  EXPECT_EQ(play.text("startTime"), "");
  for (int i = 0; i < 5; ++i) play.step();
  EXPECT_EQ(play.number("failed"), 0) << "who is told to go has not failed";
  EXPECT_TRUE(play.pods.empty());
  play.set_spec("suspend", false);
  play.run(20);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.notes, (std::vector<std::string>{"Suspended", "Resumed", "Suspended", "Resumed", "Completed"}));
}

TEST(JobPlan, LessParallelismIsNoFailure) {
  Play play(R"("completions":4,"parallelism":4)");
  play.fate = [](const auto&, int age) { return age >= 6 ? "ok" : ""; };
  play.step();
  play.set_spec("parallelism", 1);
  play.step();
  EXPECT_EQ(play.last.remove.size(), 3u);
  EXPECT_EQ(play.number("active"), 1);
  play.run(60);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.number("failed"), 0);
  EXPECT_EQ(play.number("succeeded"), 4);
}

TEST(JobPlan, APodThatSomebodyDeletesIsAFailureAndIsReplaced) {
  Play play(R"("completions":1,"parallelism":1)");
  play.fate = [](const auto&, int age) { return age >= 5 ? "ok" : ""; };
  play.step();
  play.delete_pod("load-001");
  play.step();
  EXPECT_EQ(play.number("failed"), 1);
  EXPECT_EQ(play.births.size(), 2u) << "at once, unless podReplacementPolicy says to wait";
  play.run(20);
  EXPECT_TRUE(play.finished());
  EXPECT_EQ(play.number("failed"), 1) << "once";

  Play patient(R"("completions":1,"parallelism":1,"podReplacementPolicy":"Failed")");
  patient.fate = play.fate;
  patient.step();
  patient.delete_pod("load-001");
  patient.step();
  EXPECT_EQ(patient.births.size(), 1u);
  EXPECT_EQ(patient.number("terminating"), 1);
  patient.run(20);
  EXPECT_EQ(patient.births.size(), 2u);
  EXPECT_EQ(patient.number("failed"), 1);
}

TEST(JobPlan, FinishedJobsGoAfterTheirTime) {
  Play play(R"("completions":1,"parallelism":1,"ttlSecondsAfterFinished":30)");
  play.run(10);
  ASSERT_TRUE(play.finished());
  play.step();
  EXPECT_FALSE(play.last.expired);
  ASSERT_TRUE(play.last.look_again);
  play.now = *play.last.look_again - seconds(1);
  play.step();
  EXPECT_FALSE(play.last.expired);
  play.step();
  EXPECT_TRUE(play.last.expired);
}

// Pods end, fail and are deleted at random, the controller may look late; whatever happens, each is counted once.
TEST(JobPlan, CountsAreExactWhateverHappens) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    std::mt19937_64 random(seed);
    Play play(R"("completions":30,"parallelism":7,"backoffLimit":1000)");
    play.options.backoff_lowest = play.options.backoff_highest = seconds(1);
    play.fate = [&](const auto&, int) -> std::string {
      auto r = random() % 10;
      return r < 3 ? "ok" : r < 4 ? "bad" : "";
    };
    std::int64_t deleted = 0;
    for (int i = 0; i < 500 && !play.finished(); ++i) {
      play.step();
      if (random() % 5 != 0) continue;
      for (const auto& [name, p] : play.pods)
        if (is_pod_active(p->body)) {
          play.delete_pod(name);
          ++deleted;
          break;
        }
    }
    ASSERT_TRUE(play.finished()) << "seed " << seed;
    EXPECT_EQ(play.number("succeeded"), 30) << "seed " << seed;
    EXPECT_EQ(play.ended_well, 30) << "seed " << seed;
    EXPECT_EQ(play.number("failed"), play.ended_badly + deleted) << "seed " << seed;
    EXPECT_LE(play.most_running, 7u);
  }
}

}  // namespace
}  // namespace trama::control
