// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/replica_set_loop.h"

#include "control/loops/deletion.h"
#include "control/store/writes.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

const char* kComponent = "replicaset-controller";

std::string owner_uid(const json::object& body) {
  const auto* owner = controller_of(body);
  return owner == nullptr ? "" : api::text_at(*owner, "uid");
}

}  // namespace

ReplicaSetLoop::ReplicaSetLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                               std::uint64_t seed)
    : store_(store),
      events_(events),
      random_(seed),
      loop_(std::move(ex), store, {.name = "replicaset"},
            {{"pods", [this](const store::Event& e) { pod_seen(e); }, [this] { pods_.clear(), owned_.clear(); }},
             {"replicasets", [this](const store::Event& e) { set_seen(e); }, [this] { sets_.clear(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void ReplicaSetLoop::set_seen(const store::Event& e) {
  const auto& key = e.object->key;
  auto anchor = LabelSelector::of(api::object_at(e.object->body, "spec.selector")).anchor();
  if (e.type == Type::deleted || !anchor)
    sets_.remove(key.ns, key.name);
  else
    sets_.put(key.ns, key.name, {*anchor});
  if (e.type != Type::deleted) loop_.enqueue(queue_key(key));
}

void ReplicaSetLoop::pod_seen(const store::Event& e) {
  const auto& pod = *e.object;
  auto name = queue_key(pod.key);
  if (e.previous) {
    if (auto was = owner_uid(e.previous->body); !was.empty()) {
      owned_[was].erase(name);
      if (owned_[was].empty()) owned_.erase(was);
    }
  }
  const auto* owner = controller_of(pod.body);
  if (owner != nullptr && api::text_at(*owner, "kind") == "ReplicaSet") {
    if (e.type != Type::deleted) owned_[api::text_at(*owner, "uid")].insert(name);
    loop_.enqueue(pod.key.ns + "/" + api::text_at(*owner, "name"));
  }
  if (e.type == Type::deleted)
    pods_.remove(pod.key.ns, pod.key.name);
  else
    pods_.put(pod.key.ns, pod.key.name, pod.labels);
  // An orphan, or one that was just released: whoever may want it.
  if (owner == nullptr)
    for (const auto& label : pod.labels)
      for (const auto& set : sets_.with(pod.key.ns, label)) loop_.enqueue(pod.key.ns + "/" + set);
}

std::vector<api::ObjectPtr> ReplicaSetLoop::pods_of(const api::Object& rs) const {
  std::set<std::string> names;
  if (auto it = owned_.find(rs.uid); it != owned_.end()) names = it->second;
  auto anchor = LabelSelector::of(api::object_at(rs.body, "spec.selector")).anchor();
  if (anchor)
    for (const auto& n : pods_.with(rs.key.ns, *anchor)) names.insert(rs.key.ns + "/" + n);
  std::vector<api::ObjectPtr> pods;
  for (const auto& n : names)
    if (auto pod = store_.get(from_queue_key("pods", n))) pods.push_back(std::move(pod));
  return pods;
}

awaitable<Result<>> ReplicaSetLoop::handle(std::string key) {
  auto where = from_queue_key("replicasets", key);
  auto rs = store_.get(where);
  if (!rs) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  auto plan = plan_replica_set(*rs, pods_of(*rs), now);
  if (plan.look_again)
    loop_.enqueue_after(key, std::chrono::duration_cast<milliseconds>(*plan.look_again - now) + milliseconds(5));
  bool status_differs = json::value(plan.status) != json::value(api::object_at(rs->body, "status"));
  if (!status_differs && plan.create == 0 && plan.adopt.empty() && plan.release.empty() && plan.remove.empty())
    co_return Result<>();
  std::vector<api::ObjectPtr> created;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    if (!unchanged(tx, where, rs->revision)) return api::Status::conflict(where, "it has changed");
    auto ref = owner_reference(*rs);
    for (const auto& pod : plan.adopt) {
      if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
      auto body = pod->body;
      auto& metadata = api::make_object_at(body, "metadata");
      json::array owners = api::array_at(body, "metadata.ownerReferences");
      owners.push_back(ref);
      metadata["ownerReferences"] = std::move(owners);
      tx.put(pod->key, std::move(body));
    }
    for (const auto& pod : plan.release) {
      if (!unchanged(tx, pod->key, pod->revision)) return api::Status::conflict(pod->key, "it has changed");
      auto body = pod->body;
      json::array owners;
      for (const auto& o : api::array_at(body, "metadata.ownerReferences"))
        if (api::text_at(o.as_object(), "uid") != rs->uid) owners.push_back(o);
      api::make_object_at(body, "metadata")["ownerReferences"] = std::move(owners);
      tx.put(pod->key, std::move(body));
    }
    for (std::size_t i = 0; i < plan.create; ++i) {
      api::Key pod_key;
      pod_key.resource = "pods";
      pod_key.ns = where.ns;
      do pod_key.name = generated_name(where.name + "-", random_());
      while (tx.get(pod_key));
      auto pod = store::create(tx, *api::kind_of_resource("pods"), pod_key, pod_from_template(*rs), now);
      if (!pod) return pod.error();
      created.push_back(*pod);
    }
    for (const auto& pod : plan.remove) begin_delete(tx, pod->key, now);
    auto body = rs->body;
    body["status"] = plan.status;
    return tx.put(where, std::move(body));
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) {
    if (!done.error().is(std::errc::resource_unavailable_try_again))
      events_.record(*rs, "Warning", "FailedCreate", "Error creating: " + done.error().to_string(), kComponent);
    co_return std::move(done).error();
  }
  // The watch says so too, but the next pass may come before it: without these it would create the pods again.
  for (const auto& pod : created) {
    owned_[rs->uid].insert(queue_key(pod->key));
    events_.record(*rs, "Normal", "SuccessfulCreate", "Created pod: " + pod->key.name, kComponent);
  }
  for (const auto& pod : plan.remove)
    events_.record(*rs, "Normal", "SuccessfulDelete", "Deleted pod: " + pod->key.name, kComponent);
  co_return Result<>();
}

}  // namespace trama::control
