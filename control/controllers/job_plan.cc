// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/job_plan.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "control/controllers/job_indexes.h"
#include "control/controllers/owned_pods.h"
#include "control/controllers/replica_set_plan.h"

namespace trama::control {

using std::chrono::milliseconds;

namespace {

using Pods = std::vector<api::ObjectPtr>;

std::string phase_of(const api::Object& pod) { return api::text_at(pod.body, "status.phase"); }

// -1 when it has none.
std::int64_t index_of(const api::Object& pod) {
  const auto* v = api::object_at(pod.body, "metadata.annotations").if_contains(kCompletionIndex);
  std::int64_t index = -1;
  if (v == nullptr || !v->is_string()) return index;
  std::string_view text = v->get_string();
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), index);
  return ec == std::errc{} && end == text.data() + text.size() && index >= 0 ? index : -1;
}

// When its last container ended.
Time finished_at(const api::Object& pod) {
  std::optional<Time> last;
  for (const auto& c : api::array_at(pod.body, "status.containerStatuses"))
    if (const auto* o = c.if_object())
      if (auto t = base::parse_timestamp(api::text_at(*o, "state.terminated.finishedAt")))
        last = last ? std::max(*last, *t) : *t;
  if (last) return *last;
  for (const auto* path : {"metadata.deletionTimestamp", "metadata.creationTimestamp"})
    if (auto t = base::parse_timestamp(api::text_at(pod.body, path))) return *t;
  return Time();
}

std::int64_t restarts_of(const api::Object& pod) {
  std::int64_t n = 0;
  for (const char* list : {"status.initContainerStatuses", "status.containerStatuses"})
    for (const auto& c : api::array_at(pod.body, list))
      if (const auto* o = c.if_object()) n += api::int_at(*o, "restartCount");
  return n;
}

// One look at the world.
struct Look {
  const api::Object& job;
  const JobOptions& options;
  Time now;
  JobPlan& plan;
  json::object body = job.body;  // status is brought up to date here
  bool indexed = api::text_at(job.body, "spec.completionMode") == "Indexed";
  bool only_failed = api::text_at(job.body, "spec.podReplacementPolicy") == "Failed";
  std::optional<std::int64_t> completions = {};
  std::int64_t parallelism = std::max<std::int64_t>(0, api::int_at(job.body, "spec.parallelism", 1));
  Pods active = {}, terminating = {}, mine = {};
  JobIndexes done = {};
  std::int64_t succeeded = 0, failed = 0;

  void look_at(Time when) { plan.look_again = plan.look_again ? std::min(*plan.look_again, when) : when; }
  json::object& status() { return api::make_object_at(body, "status"); }
  bool has(std::string_view type) const { return condition_status(body, type) == "True"; }
};

// Upstream counts a pod that is being deleted as failed at once, unless only pods that have failed are replaced. A pod
// whose node has agreed to the deletion is over in any case.
bool counts_as_failed(const Look& l, const api::Object& pod) {
  auto phase = phase_of(pod);
  if (phase == "Failed") return true;
  if (phase == "Succeeded" || !is_terminating(pod.body)) return false;
  return !l.only_failed || api::int_at(pod.body, "metadata.deletionGracePeriodSeconds") == 0;
}

void claim(Look& l, const Pods& pods) {
  auto selector = LabelSelector::of(api::object_at(l.job.body, "spec.selector"));
  for (const auto& pod : pods) {
    switch (claim_on(l.job, selector, *pod)) {
      case Claim::none: break;
      case Claim::held: l.mine.push_back(pod); break;
      case Claim::adopt: l.plan.adopt.push_back(pod); break;  // counted from the next look on, when it is ours
      case Claim::release: l.plan.release.push_back(pod); break;
    }
  }
}

void sort_out(Look& l) {
  for (const auto& pod : l.mine) {
    auto phase = phase_of(*pod);
    bool over = phase == "Succeeded" || phase == "Failed";
    if (over) continue;
    (is_terminating(pod->body) ? l.terminating : l.active).push_back(pod);
  }
}

void count(Look& l) {
  const auto& before = api::object_at(l.job.body, "status");
  l.succeeded = api::int_at(before, "succeeded");
  l.failed = api::int_at(before, "failed");
  std::set<std::int64_t> fresh;
  for (const auto& pod : l.mine) {
    if (!has_finalizer(pod->body, kJobTracking)) continue;
    bool good = phase_of(*pod) == "Succeeded";
    if (!good && !counts_as_failed(l, *pod)) continue;
    l.plan.count.push_back(pod);
    if (!good)
      ++l.failed;
    else if (!l.indexed)
      ++l.succeeded;
    else if (auto i = index_of(*pod); i >= 0 && i < l.completions.value_or(0))
      fresh.insert(i);
  }
  if (!l.indexed) return;
  l.done = JobIndexes::parse(api::text_at(before, "completedIndexes"), l.completions.value_or(0));
  l.done.add(fresh);
  l.succeeded = l.done.size();
}

bool set(Look& l, std::string_view type, bool state, std::string_view reason, std::string_view message) {
  return set_condition(l.body, type, state ? "True" : "False", reason, message, l.now);
}

// Why the Job has failed; nothing while it may still succeed.
struct Failure {
  std::string reason, message;
};
std::optional<Failure> failure_of(Look& l) {
  if (const auto* had = condition(l.body, "FailureTarget"); had != nullptr && l.has("FailureTarget"))
    return Failure{api::text_at(*had, "reason"), api::text_at(*had, "message")};
  if (l.has("SuccessCriteriaMet")) return std::nullopt;
  auto limit = api::int_at(l.job.body, "spec.backoffLimit", 6);
  bool beyond = l.failed > limit;
  if (api::text_at(l.job.body, "spec.template.spec.restartPolicy") == "OnFailure") {
    std::int64_t restarts = 0;
    for (const auto& pod : l.active) restarts += restarts_of(*pod);
    beyond |= limit == 0 ? restarts > 0 : restarts >= limit;
  }
  if (beyond) return Failure{"BackoffLimitExceeded", "Job has reached the specified backoff limit"};
  auto start = base::parse_timestamp(api::text_at(l.body, "status.startTime"));
  if (api::at(l.job.body, "spec.activeDeadlineSeconds") == nullptr || !start) return std::nullopt;
  auto deadline = *start + std::chrono::seconds(api::int_at(l.job.body, "spec.activeDeadlineSeconds"));
  if (l.now >= deadline) return Failure{"DeadlineExceeded", "Job was active longer than specified deadline"};
  l.look_at(deadline);
  return std::nullopt;
}

void fail(Look& l, const Failure& why) {
  set(l, "FailureTarget", true, why.reason, why.message);
  l.plan.end = std::move(l.active);
  l.active.clear();
  if (!l.plan.end.empty() || !l.terminating.empty()) return;
  set(l, "Failed", true, why.reason, why.message);
  l.plan.notes.push_back({"Warning", why.reason, why.message});
}

bool is_complete(const Look& l) {
  if (!l.active.empty()) return false;
  return l.completions ? l.succeeded >= *l.completions : l.succeeded > 0;
}

void complete(Look& l) {
  const char *reason = "CompletionsReached", *message = "Reached expected number of succeeded pods";
  set(l, "SuccessCriteriaMet", true, reason, message);
  if (!l.terminating.empty()) return;
  set(l, "Complete", true, reason, message);
  l.status()["completionTime"] = base::format_seconds(l.now);
  l.plan.notes.push_back({"Normal", "Completed", "Job completed"});
}

// When the next pod may be made: failures since the last success, each doubling the wait.
Time allowed_from(const Look& l) {
  Time success;
  for (const auto& pod : l.mine)
    if (phase_of(*pod) == "Succeeded") success = std::max(success, finished_at(*pod));
  std::int64_t failures = 0;
  Time last;
  for (const auto& pod : l.mine) {
    // One that was told to go says nothing about the next one.
    if (phase_of(*pod) != "Failed" || is_terminating(pod->body)) continue;
    auto when = finished_at(*pod);
    if (when <= success) continue;
    ++failures;
    last = std::max(last, when);
  }
  if (failures == 0) return Time();
  auto delay = l.options.backoff_lowest;
  for (std::int64_t i = 1; i < failures && delay < l.options.backoff_highest; ++i) delay *= 2;
  return last + std::min(delay, l.options.backoff_highest);
}

// Least valuable first; of an Indexed Job those that are twice there or beyond the last index come before all others.
Pods removal_order(const Look& l, std::size_t& at_least) {
  auto ranked = deletion_order(l.active);
  if (!l.indexed) return ranked;
  Pods surplus, rest;
  std::set<std::int64_t> kept;
  for (auto it = ranked.rbegin(); it != ranked.rend(); ++it) {
    auto i = index_of(**it);
    bool good = i >= 0 && i < l.completions.value_or(0) && !l.done.contains(i) && kept.insert(i).second;
    auto& list = good ? rest : surplus;
    list.insert(list.begin(), *it);
  }
  at_least = std::max(at_least, surplus.size());
  surplus.insert(surplus.end(), rest.begin(), rest.end());
  return surplus;
}

void remove_active(Look& l, std::size_t n) {
  auto order = removal_order(l, n);
  n = std::min({n, order.size(), kPodBurst});
  l.plan.remove.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n));
  std::erase_if(l.active, [&](const auto& pod) {
    return std::find(l.plan.remove.begin(), l.plan.remove.end(), pod) != l.plan.remove.end();
  });
}

void create_missing(Look& l, std::size_t wanted) {
  auto there = l.active.size() + (l.only_failed ? l.terminating.size() : 0);
  if (there >= wanted) return;
  if (auto from = allowed_from(l); from > l.now) return l.look_at(from);
  auto n = std::min(wanted - there, kPodBurst);
  if (!l.indexed) {
    l.plan.create.resize(n);
    return;
  }
  std::set<std::int64_t> taken;
  for (const auto& pod : l.active) taken.insert(index_of(*pod));
  if (l.only_failed)
    for (const auto& pod : l.terminating) taken.insert(index_of(*pod));
  for (auto i : l.done.pending(n, l.completions.value_or(0), taken)) l.plan.create.emplace_back(i);
}

void manage(Look& l) {
  auto active = static_cast<std::int64_t>(l.active.size());
  std::int64_t wanted = 0;
  if (!l.completions)
    wanted = l.succeeded > 0 ? active : l.parallelism;  // a queue of work: once one succeeds no new ones begin
  else
    wanted = std::min(l.parallelism, std::max<std::int64_t>(0, *l.completions - l.succeeded));
  remove_active(l, static_cast<std::size_t>(std::max<std::int64_t>(0, active - wanted)));
  if (l.plan.remove.empty()) create_missing(l, static_cast<std::size_t>(wanted));
}

void suspend(Look& l) {
  l.plan.remove = l.active;
  if (l.plan.remove.size() > kPodBurst) l.plan.remove.resize(kPodBurst);
  std::erase_if(l.active, [&](const auto& pod) {
    return std::find(l.plan.remove.begin(), l.plan.remove.end(), pod) != l.plan.remove.end();
  });
  bool flips = !l.has("Suspended");
  set(l, "Suspended", true, "JobSuspended", "Job suspended");
  l.status().erase("startTime");
  if (flips) l.plan.notes.push_back({"Normal", "Suspended", "Job suspended"});
}

void start(Look& l) {
  if (l.has("Suspended")) {
    set(l, "Suspended", false, "JobResumed", "Job resumed");
    l.plan.notes.push_back({"Normal", "Resumed", "Job resumed"});
  }
  if (api::text_at(l.body, "status.startTime").empty()) l.status()["startTime"] = base::format_seconds(l.now);
}

void put_counts(Look& l) {
  auto ready = std::count_if(l.active.begin(), l.active.end(), [](const auto& pod) { return is_pod_ready(pod->body); });
  auto optional = [&](const char* field, std::int64_t n) {
    if (n == 0)
      l.status().erase(field);
    else
      l.status()[field] = n;
  };
  optional("active", static_cast<std::int64_t>(l.active.size() + l.plan.create.size()));
  l.status()["ready"] = static_cast<std::int64_t>(ready);
  l.status()["terminating"] = static_cast<std::int64_t>(l.terminating.size());
  optional("succeeded", l.succeeded);
  optional("failed", l.failed);
  if (auto text = l.done.to_string(); !text.empty())
    l.status()["completedIndexes"] = text;
  else
    l.status().erase("completedIndexes");
}

// A Job that is over only lets go of pods, and of itself.
void retire(Look& l) {
  for (const auto& pod : l.mine)
    if (has_finalizer(pod->body, kJobTracking)) l.plan.count.push_back(pod);
  if (is_terminating(l.job.body) || api::at(l.job.body, "spec.ttlSecondsAfterFinished") == nullptr) return;
  const auto* end = condition(l.job.body, condition_status(l.job.body, "Complete") == "True" ? "Complete" : "Failed");
  auto since = base::parse_timestamp(api::text_at(*end, "lastTransitionTime"));
  if (!since) return;
  auto until = *since + std::chrono::seconds(api::int_at(l.job.body, "spec.ttlSecondsAfterFinished"));
  l.plan.expired = l.now >= until;
  if (!l.plan.expired) l.look_at(until);
}

}  // namespace

bool is_job_finished(const json::object& job) {
  return condition_status(job, "Complete") == "True" || condition_status(job, "Failed") == "True";
}

JobPlan plan_job(const api::Object& job, const Pods& pods, const JobOptions& options, Time now) {
  JobPlan plan;
  Look l{job, options, now, plan};
  if (const auto* n = api::at(job.body, "spec.completions"); n != nullptr && n->is_int64())
    l.completions = n->get_int64();
  claim(l, pods);
  if (is_job_finished(job.body)) {
    plan.adopt.clear();
    retire(l);
    plan.status = api::object_at(job.body, "status");
    return plan;
  }
  sort_out(l);
  count(l);
  bool suspended = api::bool_at(job.body, "spec.suspend");
  if (!is_terminating(job.body)) {
    if (!suspended) start(l);
    if (auto why = failure_of(l))
      fail(l, *why);
    else if (l.has("SuccessCriteriaMet") || is_complete(l))
      complete(l);
    else if (suspended)
      suspend(l);
    else if (plan.adopt.empty())
      manage(l);
  }
  put_counts(l);
  plan.status = l.status();
  return plan;
}

std::string job_pod_prefix(const api::Object& job, std::optional<std::int64_t> index) {
  return index ? fmt::format("{}-{}-", job.key.name, *index) : job.key.name + "-";
}

json::object job_pod(const api::Object& job, std::optional<std::int64_t> index) {
  auto body = pod_from_template(job);
  auto& metadata = body["metadata"].as_object();
  json::array finalizers = api::array_at(metadata, "finalizers");
  finalizers.emplace_back(kJobTracking);
  metadata["finalizers"] = std::move(finalizers);
  if (!index) return body;
  auto text = std::to_string(*index);
  api::make_object_at(metadata, "annotations")[kCompletionIndex] = text;
  api::make_object_at(metadata, "labels")[kCompletionIndex] = text;
  auto& spec = body["spec"].as_object();
  spec["hostname"] = fmt::format("{}-{}", job.key.name, *index);
  for (const char* list : {"initContainers", "containers"}) {
    auto* containers = spec.if_contains(list);
    if (containers == nullptr || !containers->is_array()) continue;
    for (auto& c : containers->get_array()) {
      if (!c.is_object()) continue;
      json::array env = api::array_at(c.get_object(), "env");
      bool given = std::any_of(env.begin(), env.end(), [](const json::value& v) {
        return v.is_object() && api::text_at(v.get_object(), "name") == "JOB_COMPLETION_INDEX";
      });
      if (given) continue;
      json::object variable;
      variable["name"] = "JOB_COMPLETION_INDEX";
      api::make_object_at(variable, "valueFrom.fieldRef")["fieldPath"] =
          fmt::format("metadata.annotations['{}']", kCompletionIndex);
      env.push_back(std::move(variable));
      c.get_object()["env"] = std::move(env);
    }
  }
  return body;
}

}  // namespace trama::control
