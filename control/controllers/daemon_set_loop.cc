// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/daemon_set_loop.h"

#include "control/loops/deletion.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

const char* kComponent = "daemonset-controller";
constexpr milliseconds kLowest{1'000}, kHighest{15 * 60'000};  // between two replacements of failed pods on a node

// False when the name of the new revision belongs to another object.
api::Answer<bool> write_history(store::Transaction& tx, const api::Object& set, const DaemonSetHistory& history,
                                Time now) {
  std::map<api::Key, json::object> changed;
  auto body_of = [&](const api::ObjectPtr& r) -> json::object& {
    return changed.try_emplace(r->key, r->body).first->second;
  };
  for (const auto& r : history.adopt) {
    auto owners = api::array_at(r->body, "metadata.ownerReferences");
    owners.push_back(owner_reference(set));
    api::make_object_at(body_of(r), "metadata")["ownerReferences"] = std::move(owners);
  }
  if (history.current && api::int_at(history.current->body, "revision") != history.number)
    body_of(history.current)["revision"] = history.number;
  for (const auto* list : {&history.adopt, &history.forget})
    for (const auto& r : *list)
      if (!unchanged(tx, r->key, r->revision)) return api::Status::conflict(r->key, "it has changed");
  if (history.current && !unchanged(tx, history.current->key, history.current->revision))
    return api::Status::conflict(history.current->key, "it has changed");
  if (history.create) {
    api::Key key{"controllerrevisions", set.key.ns, api::text_at(*history.create, "metadata.name")};
    if (tx.get(key)) return false;
    tx.put(key, *history.create);
  }
  for (auto& [key, body] : changed) tx.put(key, std::move(body));
  for (const auto& r : history.forget) begin_delete(tx, r->key, now);
  return true;
}

}  // namespace

DaemonSetLoop::DaemonSetLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                             std::uint64_t seed)
    : store_(store),
      events_(events),
      random_(seed),
      loop_(std::move(ex), store, {.name = "daemonset"},
            {{"nodes", [this](const store::Event& e) { node_seen(e); }, [this] { nodes_.clear(); }},
             {"pods", [this](const store::Event& e) { pod_seen(e); }, [this] { pods_.forget_pods(); }},
             {"controllerrevisions", [this](const store::Event& e) { revision_seen(e); }},
             {"daemonsets", [this](const store::Event& e) { set_seen(e); }, [this] { pods_.forget_owners(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void DaemonSetLoop::set_seen(const store::Event& e) {
  pods_.owner_seen(e);
  if (e.type == Type::deleted)
    attempts_.erase(e.object->uid);
  else
    loop_.enqueue(queue_key(e.object->key));
}

void DaemonSetLoop::revision_seen(const store::Event& e) {
  const auto* owner = controller_of(e.object->body);
  if (owner != nullptr && api::text_at(*owner, "kind") == "DaemonSet")
    return loop_.enqueue(e.object->key.ns + "/" + api::text_at(*owner, "name"));
  if (owner != nullptr) return;
  for (const auto& set : store_.list("daemonsets", e.object->key.ns))
    if (LabelSelector::of(api::object_at(set->body, "spec.selector")).matches(e.object->labels))
      loop_.enqueue(queue_key(set->key));
}

void DaemonSetLoop::pod_seen(const store::Event& e) {
  for (const auto& owner : pods_.pod_seen(e)) loop_.enqueue(owner);
}

// A node reports its status all the time: only what decides about daemons is worth a look.
void DaemonSetLoop::node_seen(const store::Event& e) {
  const auto& name = e.object->key.name;
  auto had = nodes_.find(name);
  if (e.type == Type::deleted) {
    if (had == nodes_.end()) return;
    nodes_.erase(had);
  } else {
    auto node = daemon_node_of(*e.object);
    if (had != nodes_.end() && had->second.labels == node.labels && same_taints(had->second.taints, node.taints))
      return;
    nodes_[name] = std::move(node);
  }
  for (const auto& set : store_.list("daemonsets")) loop_.enqueue(queue_key(set->key));
}

std::map<std::string, Time> DaemonSetLoop::held(const std::string& uid) const {
  std::map<std::string, Time> out;
  if (auto it = attempts_.find(uid); it != attempts_.end())
    for (const auto& [node, attempt] : it->second) out[node] = attempt.last + attempt.delay;
  return out;
}

void DaemonSetLoop::failed_on(const std::string& uid, const std::string& node, Time now) {
  auto& attempt = attempts_[uid][node];
  bool forgotten = now - attempt.last > 2 * kHighest;
  attempt.delay = forgotten || attempt.delay < kLowest ? kLowest : std::min(2 * attempt.delay, kHighest);
  attempt.last = now;
}

awaitable<Result<>> DaemonSetLoop::handle(std::string key) {
  auto where = from_queue_key("daemonsets", key);
  auto set = store_.get(where);
  if (!set) co_return Result<>();
  auto begin = std::chrono::steady_clock::now();
  auto now = std::chrono::system_clock::now();
  std::vector<DaemonNode> nodes;
  for (const auto& [name, node] : nodes_) nodes.push_back(node);
  auto pods = pods_.of(*set, store_);
  auto history = plan_history(*set, store_.list("controllerrevisions", where.ns), pods, now);
  auto plan = plan_daemon_set(*set, history.hash, nodes, pods, held(set->uid), now);
  loop_.took(key, std::chrono::steady_clock::now() - begin);
  if (plan.look_again)
    loop_.enqueue_after(key, std::chrono::duration_cast<milliseconds>(*plan.look_again - now) + milliseconds(5));
  bool status_differs = json::value(plan.status) != json::value(api::object_at(set->body, "status"));
  if (!status_differs && !history.changes() && plan.create.empty() && plan.adopt.empty() && plan.release.empty() &&
      plan.remove.empty())
    co_return Result<>();
  std::vector<api::ObjectPtr> created;
  bool collided = false;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    created.clear();
    if (!unchanged(tx, where, set->revision)) return api::Status::conflict(where, "it has changed");
    auto remembered = write_history(tx, *set, history, now);
    if (!remembered) return remembered.error();
    collided = !*remembered;
    if (collided) {
      // Another object has the name: the next pass hashes with a different number.
      auto body = set->body;
      api::make_object_at(body, "status")["collisionCount"] = api::int_at(body, "status.collisionCount") + 1;
      return tx.put(where, std::move(body));
    }
    if (auto refused = write_claims(tx, *set, plan.adopt, plan.release)) return *refused;
    for (const auto& node : plan.create) {
      auto pod = create_pod(tx, where.ns, where.name + "-", random_, daemon_pod(*set, node, history.hash), now);
      if (!pod) return pod.error();
      created.push_back(*pod);
    }
    for (const auto& pod : plan.remove) begin_delete(tx, pod->key, now);
    if (!status_differs) return set;
    auto body = set->body;
    body["status"] = plan.status;
    return tx.put(where, std::move(body));
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) {
    PodEvents(events_, kComponent).failed(*set, done.error());
    co_return std::move(done).error();
  }
  if (collided) co_return Result<>();
  for (const auto& pod : created) pods_.created(*set, pod->key);
  for (const auto& e : plan.ended)
    if (e.failed) failed_on(set->uid, e.node, now);
  tell(*set, plan, created);
  co_return Result<>();
}

void DaemonSetLoop::tell(const api::Object& set, const DaemonSetPlan& plan,
                         const std::vector<api::ObjectPtr>& created) {
  for (const auto& e : plan.ended) {
    auto found =
        fmt::format("Found {} daemon pod {}/{} on node {}, will try to {} it", e.failed ? "failed" : "succeeded",
                    e.pod->key.ns, e.pod->key.name, e.node, e.failed ? "kill" : "delete");
    events_.record(set, e.failed ? "Warning" : "Normal", e.failed ? "FailedDaemonPod" : "SucceededDaemonPod", found,
                   kComponent);
  }
  PodEvents said(events_, kComponent);
  said.created(set, created);
  said.deleted(set, plan.remove);
}

}  // namespace trama::control
