// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/replica_set_loop.h"

#include "control/loops/deletion.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

const char* kComponent = "replicaset-controller";

}  // namespace

ReplicaSetLoop::ReplicaSetLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                               std::uint64_t seed)
    : store_(store),
      events_(events),
      random_(seed),
      loop_(std::move(ex), store, {.name = "replicaset"},
            {{"pods", [this](const store::Event& e) { pod_seen(e); }, [this] { pods_.forget_pods(); }},
             {"replicasets", [this](const store::Event& e) { set_seen(e); }, [this] { pods_.forget_owners(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void ReplicaSetLoop::set_seen(const store::Event& e) {
  pods_.owner_seen(e);
  if (e.type != Type::deleted) loop_.enqueue(queue_key(e.object->key));
}

void ReplicaSetLoop::pod_seen(const store::Event& e) {
  for (const auto& owner : pods_.pod_seen(e)) loop_.enqueue(owner);
}

awaitable<Result<>> ReplicaSetLoop::handle(std::string key) {
  auto where = from_queue_key("replicasets", key);
  auto rs = store_.get(where);
  if (!rs) co_return Result<>();
  auto begin = std::chrono::steady_clock::now();
  auto now = std::chrono::system_clock::now();
  auto plan = plan_replica_set(*rs, pods_.of(*rs, store_), now);
  loop_.took(key, std::chrono::steady_clock::now() - begin);
  if (plan.look_again)
    loop_.enqueue_after(key, std::chrono::duration_cast<milliseconds>(*plan.look_again - now) + milliseconds(5));
  bool status_differs = json::value(plan.status) != json::value(api::object_at(rs->body, "status"));
  if (!status_differs && plan.create == 0 && plan.adopt.empty() && plan.release.empty() && plan.remove.empty())
    co_return Result<>();
  std::vector<api::ObjectPtr> created;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    created.clear();
    if (!unchanged(tx, where, rs->revision)) return api::Status::conflict(where, "it has changed");
    if (auto refused = write_claims(tx, *rs, plan.adopt, plan.release)) return *refused;
    for (std::size_t i = 0; i < plan.create; ++i) {
      auto pod = create_pod(tx, where.ns, where.name + "-", random_, pod_from_template(*rs), now);
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
    PodEvents(events_, kComponent).failed(*rs, done.error());
    co_return std::move(done).error();
  }
  for (const auto& pod : created) pods_.created(*rs, pod->key);
  PodEvents said(events_, kComponent);
  said.created(*rs, created);
  said.deleted(*rs, plan.remove);
  co_return Result<>();
}

}  // namespace trama::control
