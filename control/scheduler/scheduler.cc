// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/scheduler.h"

#include <algorithm>

#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

using Type = store::Event::Type;
using std::chrono::milliseconds;

namespace {

const char* kComponent = "default-scheduler";

bool is_finished(const json::object& pod) {
  auto phase = api::text_at(pod, "status.phase");
  return phase == "Succeeded" || phase == "Failed";
}

bool is_for_us(const json::object& pod) {
  return api::text_at(pod, "spec.schedulerName", kComponent) == kComponent &&
         api::array_at(pod, "spec.schedulingGates").empty() && !is_terminating(pod);
}

}  // namespace

Scheduler::Scheduler(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                     SchedulerOptions options)
    : store_(store),
      events_(events),
      options_(options),
      log_(base::logger("scheduler")),
      random_(options.seed.value_or(std::random_device{}())),
      wake_(std::move(ex)) {}

void Scheduler::start(async::TaskGroup& group) {
  auto nodes = load_nodes();
  auto pods = load_pods();
  group.spawn("scheduler watch nodes", follow_nodes(nodes));
  group.spawn("scheduler watch pods", follow_pods(pods));
  group.spawn("scheduler", run());
}

std::uint64_t Scheduler::load_nodes() {
  nodes_.clear();
  for (const auto& node : store_.list("nodes")) nodes_[node->key.name] = state_of(*node);
  for (auto& [key, known] : pods_) {
    auto it = nodes_.find(known.needs.node);
    known.placed = it != nodes_.end();
    if (known.placed) it->second.place(known.needs);
  }
  flush();
  return store_.revision();
}

std::uint64_t Scheduler::load_pods() {
  std::vector<api::Key> gone;
  for (const auto& [key, known] : pods_) gone.push_back(key);
  for (const auto& key : gone) forget_pod(key);
  for (const auto& pod : store_.list("pods")) pod_seen({Type::added, pod->revision, pod, nullptr});
  return store_.revision();
}

awaitable<void> Scheduler::follow_nodes(std::uint64_t after) {
  for (;;) {
    auto watch = store_.watch("nodes", after);
    while (watch) {
      auto events = co_await (*watch)->next(std::chrono::minutes(1));
      if (!events) break;
      for (const auto& e : *events) node_seen(e);
    }
    co_await async::sleep_for(milliseconds(10));
    after = load_nodes();
  }
}

awaitable<void> Scheduler::follow_pods(std::uint64_t after) {
  for (;;) {
    auto watch = store_.watch("pods", after);
    while (watch) {
      auto events = co_await (*watch)->next(std::chrono::minutes(1));
      if (!events) break;
      for (const auto& e : *events) pod_seen(e);
    }
    co_await async::sleep_for(milliseconds(10));
    after = load_pods();
  }
}

void Scheduler::node_seen(const store::Event& e) {
  const auto& name = e.object->key.name;
  if (e.type == Type::deleted) {
    nodes_.erase(name);
    for (auto& [key, known] : pods_)
      if (known.needs.node == name) known.placed = false;
    return;
  }
  auto fresh = state_of(*e.object);
  auto it = nodes_.find(name);
  if (it == nodes_.end()) {
    for (auto& [key, known] : pods_) {
      if (known.needs.node != name) continue;
      fresh.place(known.needs);
      known.placed = true;
    }
    nodes_.emplace(name, std::move(fresh));
    flush();
    return;
  }
  auto& old = it->second;
  // Heartbeats change nothing that a pod could be waiting for.
  auto same_taints = std::equal(old.taints.begin(), old.taints.end(), fresh.taints.begin(), fresh.taints.end(),
                                [](const api::Taint& a, const api::Taint& b) {
                                  return a.key == b.key && a.value == b.value && a.effect == b.effect;
                                });
  bool better = !same_taints || old.unschedulable != fresh.unschedulable || old.labels != fresh.labels ||
                old.allocatable.cpu_milli != fresh.allocatable.cpu_milli ||
                old.allocatable.memory_bytes != fresh.allocatable.memory_bytes ||
                old.allocatable.pods != fresh.allocatable.pods;
  old.labels = std::move(fresh.labels);
  old.unschedulable = fresh.unschedulable;
  old.taints = std::move(fresh.taints);
  old.allocatable = fresh.allocatable;
  if (better) flush();
}

void Scheduler::pod_seen(const store::Event& e) {
  const auto& pod = *e.object;
  auto node = api::text_at(pod.body, "spec.nodeName");
  bool gone = e.type == Type::deleted || is_finished(pod.body);
  if (!gone && !node.empty()) {
    // The common event: a placed pod reports its status.
    auto it = pods_.find(pod.key);
    if (it != pods_.end() && it->second.needs.uid == pod.uid && it->second.needs.node == node) return;
  }
  auto had = pods_.find(pod.key);
  bool freed = gone && had != pods_.end() && had->second.placed;
  auto first = first_seen_.find(pod.key);
  auto first_seen = first == first_seen_.end() ? pod.revision : first->second;
  bool parked = !gone && node.empty() && parked_.contains(pod.key);
  if (parked && e.previous && api::object_at(e.previous->body, "spec") == api::object_at(pod.body, "spec")) {
    return;  // our own note about why it does not fit
  }
  forget_pod(pod.key);
  if (freed) flush();
  if (gone) return;
  Known known;
  known.needs = needs_of(pod);
  if (!node.empty()) {
    auto it = nodes_.find(node);
    known.placed = it != nodes_.end();
    if (known.placed) it->second.place(known.needs);
    pods_[pod.key] = std::move(known);
    return;
  }
  if (!is_for_us(pod.body)) return;
  first_seen_[pod.key] = first_seen;
  queue(known.needs);
  pods_[pod.key] = std::move(known);
}

void Scheduler::forget_pod(const api::Key& key) {
  auto it = pods_.find(key);
  if (it != pods_.end()) {
    auto node = nodes_.find(it->second.needs.node);
    if (it->second.placed && node != nodes_.end()) node->second.remove(it->second.needs);
    active_.erase({-it->second.needs.priority, first_seen_[key], key});
    pods_.erase(it);
  }
  parked_.erase(key);
  backoff_.erase(key);
  first_seen_.erase(key);
}

void Scheduler::queue(const PodNeeds& needs) {
  active_.insert({-needs.priority, first_seen_[needs.key], needs.key});
  wake_.set();
}

void Scheduler::flush() {
  for (const auto& [key, parked] : parked_) {
    auto it = pods_.find(key);
    if (it != pods_.end()) active_.insert({-it->second.needs.priority, first_seen_[key], key});
  }
  parked_.clear();
  if (!active_.empty()) wake_.set();
}

void Scheduler::unpark_due() {
  auto now = Clock::now();
  for (auto it = parked_.begin(); it != parked_.end();) {
    if (it->second.until > now) {
      ++it;
      continue;
    }
    auto pod = pods_.find(it->first);
    if (pod != pods_.end()) active_.insert({-pod->second.needs.priority, first_seen_[it->first], it->first});
    it = parked_.erase(it);
  }
}

void Scheduler::park(const PodNeeds& needs) {
  auto& b = backoff_.try_emplace(needs.key, options_.backoff_lowest, options_.backoff_highest).first->second;
  b.failed();
  parked_[needs.key] = {Clock::now() + b.delay(), first_seen_[needs.key]};
}

awaitable<void> Scheduler::run() {
  for (;;) {
    unpark_due();
    if (!active_.empty()) {
      co_await place_batch();
      continue;
    }
    auto pause = milliseconds(60'000);
    auto now = Clock::now();
    for (const auto& [key, p] : parked_)
      pause = std::min(pause, std::chrono::duration_cast<milliseconds>(p.until - now) + milliseconds(1));
    co_await wake_.wait_for(std::max(pause, milliseconds(1)));
  }
}

awaitable<void> Scheduler::place_batch() {
  struct Try {
    PodNeeds needs;
    std::optional<std::string> node;
    std::string message;
    api::ObjectPtr result;
  };
  std::vector<Try> tries;
  auto end = Clock::now() + options_.slice;
  while (!active_.empty() && tries.size() < options_.batch && (tries.empty() || Clock::now() < end)) {
    auto key = std::get<2>(*active_.begin());
    active_.erase(active_.begin());
    auto it = pods_.find(key);
    if (it == pods_.end() || !it->second.needs.node.empty()) continue;
    Try t;
    t.needs = it->second.needs;
    auto choice = choose_node(t.needs, nodes_, random_(), next_node_);
    next_node_ = choice.next;
    t.node = choice.node;
    t.message = std::move(choice.message);
    if (t.node) {  // counts from now on, so that the next pod sees it
      it->second.needs.node = *t.node;
      it->second.placed = true;
      nodes_[*t.node].place(it->second.needs);
    } else {
      ++failed_;
      park(t.needs);
    }
    tries.push_back(std::move(t));
  }
  if (tries.empty()) co_return;
  auto now = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last;
    for (auto& t : tries) {
      t.result = nullptr;
      auto pod = tx.get(t.needs.key);
      if (!pod || pod->uid != t.needs.uid || !api::text_at(pod->body, "spec.nodeName").empty() ||
          is_terminating(pod->body))
        continue;
      auto body = pod->body;
      bool changed = true;
      if (t.node) {
        api::make_object_at(body, "spec")["nodeName"] = *t.node;
        set_condition(body, "PodScheduled", "True", "", "", now);
      } else {
        changed = set_condition(body, "PodScheduled", "False", "Unschedulable", t.message, now);
      }
      t.result = changed ? tx.put(pod->key, std::move(body)) : pod;
      last = t.result;
    }
    if (!last) return api::Status::not_found(tries.front().needs.key);
    return last;
  };
  auto done = co_await store_.write(std::move(decide));
  if (!done && done.error().code != 404) log_->warn("binding failed: {}; trying again", done.error().message);
  for (auto& t : tries) {
    if (t.result && done) {
      if (t.node) {
        ++bound_;
        backoff_.erase(t.needs.key);
        events_.record(*t.result, "Normal", "Scheduled",
                       fmt::format("Successfully assigned {}/{} to {}", t.needs.key.ns, t.needs.key.name, *t.node),
                       kComponent);
      } else {
        events_.record(*t.result, "Warning", "FailedScheduling", t.message, kComponent);
      }
      continue;
    }
    // Not written: what was assumed is taken back; the pod is looked at again as the store has it.
    auto it = pods_.find(t.needs.key);
    if (it == pods_.end() || it->second.needs.uid != t.needs.uid) continue;
    auto stored = store_.get(t.needs.key);
    auto first = first_seen_[t.needs.key];
    forget_pod(t.needs.key);
    if (!stored) continue;
    first_seen_[t.needs.key] = first;
    pod_seen({Type::added, stored->revision, stored, nullptr});
  }
  if (!done && done.error().code == 503) co_await async::sleep_for(milliseconds(200));
}

}  // namespace trama::control
