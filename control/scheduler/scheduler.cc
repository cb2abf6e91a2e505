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
  const auto* phase = api::at(pod, "status.phase");
  return phase != nullptr && phase->is_string() &&
         (phase->get_string() == "Succeeded" || phase->get_string() == "Failed");
}

bool is_for_us(const json::object& pod) {
  return api::text_at(pod, "spec.schedulerName", kComponent) == kComponent &&
         api::array_at(pod, "spec.schedulingGates").empty() && !is_terminating(pod);
}

// What a node's change could mean to a pod that waits. Heartbeats mean nothing.
Changes difference(const NodeState& old, const NodeState& fresh) {
  Changes what = 0;
  if (old.labels != fresh.labels) what |= node_labels;
  if (!same_taints(old.taints, fresh.taints)) what |= node_taints;
  if (old.unschedulable && !fresh.unschedulable) what |= node_uncordoned;
  if (old.allocatable.cpu_milli != fresh.allocatable.cpu_milli ||
      old.allocatable.memory_bytes != fresh.allocatable.memory_bytes || old.allocatable.pods != fresh.allocatable.pods)
    what |= node_size;
  return what;
}

}  // namespace

Scheduler::Scheduler(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                     SchedulerOptions options)
    : store_(store),
      events_(events),
      options_(options),
      log_(base::logger("scheduler")),
      waiting_(options.waiting),
      random_(options.seed.value_or(std::random_device{}())),
      wake_(std::move(ex)) {}

void Scheduler::start(async::TaskGroup& group) {
  follow_all(
      group, "namespaces", [] {}, [this](const store::Event& e) { namespace_seen(e); });
  follow_all(
      group, "services", [this] { replicas_.forget_services(); },
      [this](const store::Event& e) { replicas_.service_seen(e); });
  follow_all(
      group, "nodes", [this] { forget_nodes(); }, [this](const store::Event& e) { node_seen(e); });
  follow_all(
      group, "pods", [this] { forget_pods(); }, [this](const store::Event& e) { pod_seen(e); });
  group.spawn("scheduler", run());
}

// ---- what is there, and what changes

void Scheduler::follow_all(async::TaskGroup& group, const std::string& resource, Load forget, Seen seen) {
  auto after = load(resource, forget, seen);
  group.spawn("scheduler watch " + resource, follow(resource, after, std::move(forget), std::move(seen)));
}

std::uint64_t Scheduler::load(const std::string& resource, const Load& forget, const Seen& seen) {
  forget();
  for (const auto& object : store_.list(resource)) seen({Type::added, object->revision, object, nullptr});
  return store_.revision();
}

awaitable<void> Scheduler::follow(std::string resource, std::uint64_t after, Load forget, Seen seen) {
  for (;;) {
    auto watch = store_.watch(resource, after);
    while (watch) {
      auto events = co_await (*watch)->next(std::chrono::minutes(1));
      if (!events) break;
      for (const auto& e : *events) seen(e);
    }
    co_await async::sleep_for(milliseconds(10));
    after = load(resource, forget, seen);
  }
}

void Scheduler::changed(Changes what) {
  if (what == 0) return;
  waiting_.changed(what);
  if (waiting_.parked() > 0) wake_.set();
}

void Scheduler::forget_nodes() {
  cluster_.clear_nodes();
  for (auto& [key, known] : pods_) known.placed = false;
  changed(node_went);
}

void Scheduler::forget_pods() {
  std::vector<api::Key> gone;
  for (const auto& [key, known] : pods_) gone.push_back(key);
  for (const auto& key : gone) forget_pod(key);
}

void Scheduler::namespace_seen(const store::Event& e) {
  if (e.type == Type::deleted)
    cluster_.remove_namespace(e.object->key.name);
  else
    cluster_.put_namespace(e.object->key.name, e.object->labels);
  if (!e.previous || e.previous->labels != e.object->labels) changed(namespace_labels);
}

void Scheduler::node_seen(const store::Event& e) {
  const auto& name = e.object->key.name;
  if (e.type == Type::deleted) {
    cluster_.remove_node(name);
    for (auto& [key, known] : pods_)
      if (known.needs.node == name) known.placed = false;
    changed(node_went);
    return;
  }
  auto fresh = state_of(*e.object);
  if (const auto* old = cluster_.find(name)) {
    auto what = difference(*old, fresh);
    if (what == 0 && old->unschedulable == fresh.unschedulable) return;
    cluster_.put_node(std::move(fresh));
    changed(what);
    return;
  }
  cluster_.put_node(std::move(fresh));
  for (auto& [key, known] : pods_)
    if (known.needs.node == name) known.placed = cluster_.place(known.needs, name);
  changed(node_came);
}

void Scheduler::pod_seen(const store::Event& e) {
  const auto& pod = *e.object;
  auto known = pods_.find(pod.key);
  if (e.type == Type::deleted || is_finished(pod.body)) {
    forget_pod(pod.key);
    return;
  }
  const auto* node = api::at(pod.body, "spec.nodeName");
  bool assigned = node != nullptr && node->is_string() && !node->get_string().empty();
  if (known != pods_.end() && known->second.needs.uid == pod.uid) {
    auto& needs = known->second.needs;
    if (assigned && node->get_string() == needs.node) return placed_pod_seen(known->second, pod);
    // Our own note about why it does not fit.
    if (!assigned && waiting_.is_parked(pod.key) && e.previous && e.previous->labels == pod.labels &&
        api::object_at(e.previous->body, "spec") == api::object_at(pod.body, "spec") && is_for_us(pod.body))
      return;
    if (needs.node.empty() && !assigned && is_for_us(pod.body)) {  // its spec has changed: its age stays
      needs = needs_of(pod);
      waiting_.add(pod.key, needs.priority, pod.revision);
      wake_.set();
      return;
    }
  }
  forget_pod(pod.key);
  if (!assigned && !is_for_us(pod.body)) return;
  auto& fresh = pods_[pod.key];
  fresh.needs = needs_of(pod);
  if (assigned) {
    fresh.placed = cluster_.place(fresh.needs, fresh.needs.node);
    changed(pod_placed);
    return;
  }
  waiting_.add(pod.key, fresh.needs.priority, pod.revision);
  wake_.set();
}

// The common event: a placed pod reports its status. What counts is whether its labels have changed, or it leaves.
void Scheduler::placed_pod_seen(Known& known, const api::Object& pod) {
  auto& needs = known.needs;
  bool leaves = is_terminating(pod.body);
  if (needs.terminating == leaves && needs.labels == pod.labels) return;
  if (known.placed) cluster_.remove(needs, needs.node);
  needs = needs_of(pod);
  if (known.placed) known.placed = cluster_.place(needs, needs.node);
  changed(pod_went);
}

void Scheduler::forget_pod(const api::Key& key) {
  waiting_.forget(key);
  auto it = pods_.find(key);
  if (it == pods_.end()) return;
  if (it->second.placed) {
    cluster_.remove(it->second.needs, it->second.needs.node);
    changed(pod_went);
  }
  pods_.erase(it);
}

// ---- choosing and binding

awaitable<void> Scheduler::run() {
  for (;;) {
    auto now = Clock::now();
    waiting_.look(now);
    if (waiting_.in_turn() > 0) {
      co_await place_batch();
      continue;
    }
    auto until = std::min(waiting_.next_look(), now + std::chrono::minutes(1));
    auto pause = std::chrono::duration_cast<milliseconds>(until - now) + milliseconds(1);
    co_await wake_.wait_for(std::max(pause, milliseconds(1)));
  }
}

std::vector<Scheduler::Try> Scheduler::choose_batch() {
  std::vector<Try> tries;
  auto begin = Clock::now();
  while (tries.size() < options_.batch && (tries.empty() || Clock::now() < begin + options_.slice)) {
    auto key = waiting_.take();
    if (!key) break;
    auto it = pods_.find(*key);
    auto stored = store_.get(*key);
    if (it == pods_.end() || !it->second.needs.node.empty() || !stored) continue;
    auto& known = it->second;
    Try t;
    t.needs = known.needs;
    auto replicas = replicas_.of(*stored, store_);
    t.choice = choose_node(t.needs, cluster_, random_(), next_slot_, replicas ? &*replicas : nullptr);
    next_slot_ = t.choice.next;
    if (t.choice.node) {  // counts from now on, so that the next pod sees it
      known.needs.node = *t.choice.node;
      known.placed = cluster_.place(known.needs, known.needs.node);
    } else {
      ++failed_;
      waiting_.park(*key, t.choice.help, begin);
    }
    tries.push_back(std::move(t));
  }
  return tries;
}

awaitable<void> Scheduler::place_batch() {
  auto tries = choose_batch();
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
      if (t.choice.node) {
        api::make_object_at(body, "spec")["nodeName"] = *t.choice.node;
        set_condition(body, "PodScheduled", "True", "", "", now);
      } else {
        changed = set_condition(body, "PodScheduled", "False", "Unschedulable", t.choice.message, now);
      }
      t.result = changed ? tx.put(pod->key, std::move(body)) : pod;
      last = t.result;
    }
    if (!last) return api::Status::not_found(tries.front().needs.key);
    return last;
  };
  auto done = co_await store_.write(std::move(decide));
  if (!done && done.error().code != 404) log_->warn("binding failed: {}; trying again", done.error().message);
  bool any_bound = false;
  for (auto& t : tries) {
    if (!t.result || !done) {
      take_back(t);
      continue;
    }
    told(t);
    any_bound = any_bound || t.choice.node;
  }
  if (any_bound) changed(pod_placed);
  if (!done && done.error().code == 503) co_await async::sleep_for(milliseconds(200));
}

void Scheduler::told(const Try& t) {
  if (!t.choice.node) {
    events_.record(*t.result, "Warning", "FailedScheduling", t.choice.message, kComponent);
    return;
  }
  ++bound_;
  waiting_.forget(t.needs.key);
  events_.record(*t.result, "Normal", "Scheduled",
                 fmt::format("Successfully assigned {}/{} to {}", t.needs.key.ns, t.needs.key.name, *t.choice.node),
                 kComponent);
}

// Not written: what was assumed is forgotten; the pod is looked at again as the store has it.
void Scheduler::take_back(const Try& t) {
  auto it = pods_.find(t.needs.key);
  if (it == pods_.end() || it->second.needs.uid != t.needs.uid) return;
  auto& known = it->second;
  if (known.placed) {
    cluster_.remove(known.needs, known.needs.node);
    known.placed = false;
    changed(pod_went);
  }
  known.needs.node.clear();
  auto stored = store_.get(t.needs.key);
  if (!stored) return forget_pod(t.needs.key);
  pod_seen({Type::modified, stored->revision, stored, nullptr});
}

}  // namespace trama::control
