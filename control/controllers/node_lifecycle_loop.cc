// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/node_lifecycle_loop.h"

#include <algorithm>

#include "control/loops/deletion.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {
const char* kComponent = "node-controller";
}

NodeLifecycleLoop::NodeLifecycleLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                                     NodeLifecycleOptions options)
    : store_(store),
      events_(events),
      options_(options),
      loop_(std::move(ex), store, {.name = "nodelifecycle", .workers = 1},
            {{"nodes", [this](const store::Event& e) { node_seen(e); }},
             {"leases", [this](const store::Event& e) { lease_seen(e); }}},
            [this](std::string) { return handle(); }) {}

void NodeLifecycleLoop::heard_of(const std::string& node) { heard_[node] = Clock::now(); }

void NodeLifecycleLoop::lease_seen(const store::Event& e) {
  if (e.object->key.ns != "kube-node-lease" || e.type == Type::deleted) return;
  heard_of(e.object->key.name);
}

void NodeLifecycleLoop::node_seen(const store::Event& e) {
  const auto& name = e.object->key.name;
  if (e.type == Type::deleted) {
    heard_.erase(name);
    emptied_.erase(name);
  } else if (e.type == Type::added) {
    heard_.try_emplace(name, Clock::now());
  } else {
    // A status that the node wrote counts as a sign of life; what we wrote ourselves carries no heartbeat.
    auto beat = [](const api::Object& o) {
      const auto* ready = condition(o.body, "Ready");
      return ready == nullptr ? std::string() : api::text_at(*ready, "lastHeartbeatTime");
    };
    if (e.previous && beat(*e.previous) != beat(*e.object)) heard_of(name);
  }
  loop_.enqueue("all");
}

awaitable<Result<>> NodeLifecycleLoop::handle() {
  LifecycleWorld world;
  world.nodes = store_.list("nodes");
  world.now = std::chrono::system_clock::now();
  auto now = Clock::now();
  bool any_quiet = false;
  auto evicts = [](const json::value& taint) {
    return taint.is_object() && api::text_at(taint.get_object(), "effect") == "NoExecute";
  };
  for (const auto& node : world.nodes) {
    auto heard = heard_.try_emplace(node->key.name, started_).first->second;
    auto quiet = std::chrono::duration_cast<milliseconds>(now - heard);
    world.silence[node->key.name] = quiet;
    if (any_quiet) continue;
    const auto& taints = api::array_at(node->body, "spec.taints");
    any_quiet = quiet > options_.plan.grace || std::any_of(taints.begin(), taints.end(), evicts) ||
                condition_status(node->body, "Ready") != "True";
  }
  if (any_quiet) world.pods = store_.list("pods");  // healthy nodes need no look at their pods
  auto plan = plan_lifecycle(world, options_.plan);
  loop_.took("all", Clock::now() - now);
  auto written = co_await write_all(plan);
  auto evicted = co_await evict(plan);
  auto again = options_.monitor;
  if (plan.look_again.count() > 0) again = std::min(again, plan.look_again + milliseconds(5));
  loop_.enqueue_after("all", again);
  if (!written) co_return std::move(written).error();
  co_return evicted;
}

awaitable<Result<>> NodeLifecycleLoop::write_all(const LifecyclePlan& plan) {
  if (plan.nodes.empty() && plan.not_ready.empty()) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last;
    for (const auto* list : {&plan.nodes, &plan.not_ready}) {
      for (const auto& w : *list) {
        // What changed meanwhile is left for the next pass, the rest is written.
        if (!unchanged(tx, w.have->key, w.have->revision)) continue;
        last = tx.put(w.have->key, w.body);
      }
    }
    if (!last)
      return api::Status::conflict((plan.nodes.empty() ? plan.not_ready : plan.nodes).front().have->key, "raced");
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  auto log = base::logger("nodelifecycle");
  for (const auto& w : plan.nodes) {
    auto was = condition_status(w.have->body, "Ready");
    auto is = condition_status(w.body, "Ready");
    if (was == is && is != "True") continue;
    log->info("{}", w.why);
    if (is == "Unknown")
      events_.record(*w.have, "Normal", "NodeNotReady",
                     fmt::format("Node {} status is now: NodeNotReady", w.have->key.name), kComponent);
  }
  for (const auto& w : plan.not_ready)
    events_.record(*w.have, "Warning", "NodeNotReady", "Node is not ready", kComponent);
  co_return Result<>();
}

awaitable<Result<>> NodeLifecycleLoop::evict(const LifecyclePlan& plan) {
  if (plan.evictions_held != holding_) {
    holding_ = plan.evictions_held;
    auto log = base::logger("nodelifecycle");
    if (holding_)
      log->warn("most nodes are silent: the fault may be ours or the network's, so no pod is evicted");
    else
      log->info("enough nodes are back: evictions may go on");
  }
  auto now = Clock::now();
  std::vector<const LifecyclePlan::Eviction*> due;
  for (const auto& e : plan.evictions) {
    if (!emptied_.contains(e.node)) {
      if (options_.evictions_per_second <= 0 || now < next_eviction_) continue;
      emptied_[e.node] = now;
      next_eviction_ = now + std::chrono::duration_cast<Clock::duration>(
                                 std::chrono::duration<double>(1.0 / options_.evictions_per_second));
    }
    due.push_back(&e);
  }
  // A node that has recovered queues anew the next time.
  std::set<std::string> still;
  for (const auto& e : plan.evictions) still.insert(e.node);
  std::erase_if(emptied_, [&](const auto& entry) { return !still.contains(entry.first); });
  if (due.empty()) co_return Result<>();
  auto time = std::chrono::system_clock::now();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last = due.front()->pod;
    for (const auto* e : due) {
      auto have = tx.get(e->pod->key);
      if (!have || have->uid != e->pod->uid || is_terminating(have->body)) continue;
      auto body = have->body;
      set_condition(body, "DisruptionTarget", "True", "DeletionByTaintManager", e->why, time);
      tx.put(have->key, std::move(body));
      last = begin_delete(tx, have->key, time);
    }
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  for (const auto* e : due)
    events_.record(*e->pod, "Normal", "TaintManagerEviction",
                   fmt::format("Marking for deletion Pod {}/{}", e->pod->key.ns, e->pod->key.name), kComponent);
  co_return Result<>();
}

}  // namespace trama::control
