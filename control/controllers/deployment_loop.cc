// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/deployment_loop.h"

#include <set>

#include "control/loops/deletion.h"
#include "control/loops/label_selector.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {
const char* kComponent = "deployment-controller";
}

DeploymentLoop::DeploymentLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events)
    : store_(store),
      events_(events),
      loop_(std::move(ex), store, {.name = "deployment"},
            {{"deployments",
              [this](const store::Event& e) {
                if (e.type != Type::deleted) loop_.enqueue(queue_key(e.object->key));
              }},
             {"replicasets", [this](const store::Event& e) { set_seen(e); }},
             {"pods", [this](const store::Event& e) { pod_seen(e); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void DeploymentLoop::set_seen(const store::Event& e) {
  const auto* owner = controller_of(e.object->body);
  if (owner != nullptr) {
    if (api::text_at(*owner, "kind") == "Deployment")
      loop_.enqueue(e.object->key.ns + "/" + api::text_at(*owner, "name"));
    return;
  }
  for (const auto& d : store_.list("deployments", e.object->key.ns))
    if (LabelSelector::of(api::object_at(d->body, "spec.selector")).matches(e.object->labels))
      loop_.enqueue(queue_key(d->key));
}

// Only Recreate waits for pods themselves; everything else follows from the ReplicaSets' status.
void DeploymentLoop::pod_seen(const store::Event& e) {
  if (e.type != Type::deleted) return;
  const auto* owner = controller_of(e.object->body);
  if (owner == nullptr || api::text_at(*owner, "kind") != "ReplicaSet") return;
  auto rs = store_.get(from_queue_key("replicasets", e.object->key.ns + "/" + api::text_at(*owner, "name")));
  if (rs) set_seen({Type::modified, rs->revision, rs, nullptr});
}

std::size_t DeploymentLoop::old_pods_alive(const api::Object& d, const std::vector<api::ObjectPtr>& sets,
                                           const DeploymentPlan& first_look) const {
  if (api::text_at(d.body, "spec.strategy.type") != "Recreate") return 0;
  std::set<std::string> old;
  for (const auto& rs : sets)
    if (rs != first_look.current) old.insert(rs->uid);
  std::size_t alive = 0;
  for (const auto& pod : store_.list("pods", d.key.ns)) {
    const auto* owner = controller_of(pod->body);
    auto phase = api::text_at(pod->body, "status.phase");
    if (owner != nullptr && old.contains(api::text_at(*owner, "uid")) && phase != "Succeeded" && phase != "Failed")
      ++alive;
  }
  return alive;
}

awaitable<Result<>> DeploymentLoop::handle(std::string key) {
  auto where = from_queue_key("deployments", key);
  auto d = store_.get(where);
  if (!d) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  auto selector = LabelSelector::of(api::object_at(d->body, "spec.selector"));
  std::vector<api::ObjectPtr> sets;
  for (const auto& rs : store_.list("replicasets", where.ns))
    if (is_controlled_by(rs->body, d->uid) || selector.matches(rs->labels)) sets.push_back(rs);
  auto plan = plan_deployment(*d, sets, 0, now);
  if (auto alive = old_pods_alive(*d, sets, plan); alive > 0) plan = plan_deployment(*d, sets, alive, now);
  if (plan.look_again)
    loop_.enqueue_after(key, std::chrono::duration_cast<milliseconds>(*plan.look_again - now) + milliseconds(5));
  bool nothing =
      !plan.changed && !plan.create && !plan.revised && plan.adopt.empty() && plan.scale.empty() && plan.prune.empty();
  if (nothing) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) { return carry_out(tx, *d, plan, now); };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  for (const auto& note : plan.notes) events_.record(*d, "Normal", "ScalingReplicaSet", note, kComponent);
  co_return Result<>();
}

api::Answer<api::ObjectPtr> DeploymentLoop::carry_out(store::Transaction& tx, const api::Object& d,
                                                      const DeploymentPlan& plan, Time now) const {
  if (!unchanged(tx, d.key, d.revision)) return api::Status::conflict(d.key, "it has changed");
  std::map<api::Key, json::object> changed;
  auto body_of = [&](const api::ObjectPtr& rs) -> json::object& {
    return changed.try_emplace(rs->key, rs->body).first->second;
  };
  for (const auto* list : {&plan.adopt, &plan.prune})
    for (const auto& rs : *list)
      if (!unchanged(tx, rs->key, rs->revision)) return api::Status::conflict(rs->key, "it has changed");
  if (plan.revised && !unchanged(tx, plan.current->key, plan.current->revision))
    return api::Status::conflict(plan.current->key, "it has changed");
  if (plan.revised) body_of(plan.current) = *plan.revised;
  for (const auto& rs : plan.adopt) {
    auto& body = body_of(rs);
    json::array owners = api::array_at(body, "metadata.ownerReferences");
    owners.push_back(owner_reference(d));
    api::make_object_at(body, "metadata")["ownerReferences"] = std::move(owners);
  }
  for (const auto& s : plan.scale) {
    if (!unchanged(tx, s.rs->key, s.rs->revision)) return api::Status::conflict(s.rs->key, "it has changed");
    auto& body = body_of(s.rs);
    api::make_object_at(body, "spec")["replicas"] = s.replicas;
    auto& annotations = api::make_object_at(body, "metadata.annotations");
    auto desired = api::int_at(d.body, "spec.replicas", 1);
    annotations[kDesiredReplicas] = std::to_string(desired);
    annotations[kMaxReplicas] = std::to_string(desired + rolling_bounds(d.body).surge);
    body["metadata"].as_object()["generation"] = api::int_at(body, "metadata.generation") + 1;
  }
  for (auto& [key, body] : changed) tx.put(key, std::move(body));
  auto body = plan.body;
  if (plan.create) {
    api::Key key;
    key.resource = "replicasets";
    key.ns = d.key.ns;
    key.name = api::text_at(*plan.create, "metadata.name");
    if (tx.get(key)) {
      // Another object has the name: the next pass hashes with a different number.
      body = d.body;
      api::make_object_at(body, "status")["collisionCount"] = api::int_at(body, "status.collisionCount") + 1;
      return tx.put(d.key, std::move(body));
    }
    tx.put(key, *plan.create);
  }
  for (const auto& rs : plan.prune) begin_delete(tx, rs->key, now);
  if (!plan.changed) return tx.get(d.key);
  return tx.put(d.key, std::move(body));
}

}  // namespace trama::control
