// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoints_loop.h"

#include "control/controllers/endpoint_slice_plan.h"
#include "control/controllers/endpoints_plan.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

EndpointsLoop::EndpointsLoop(async::asio::any_io_executor ex, store::Store& store, const ServicePods& pods)
    : store_(store),
      pods_(pods),
      loop_(std::move(ex), store, {.name = "endpoints"},
            {{"services", [this](const store::Event& e) { service_seen(e); },
              // Deletions may have been missed: whose Service is gone is found out one by one.
              [this] {
                for (const auto& e : store_.list("endpoints")) loop_.enqueue(queue_key(e->key));
              }},
             {"endpoints", [this](const store::Event& e) { loop_.enqueue(queue_key(e.object->key)); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void EndpointsLoop::service_seen(const store::Event& e) {
  auto key = queue_key(e.object->key);
  if (e.type == Type::deleted) {
    gone_.insert(key);
    triggers_.erase(key);
    loop_.enqueue(key);
    return;
  }
  gone_.erase(key);
  touch(key, api::text_at(e.object->body, "metadata.creationTimestamp"));
}

void EndpointsLoop::touch(const std::string& key, const std::string& trigger) {
  auto [it, fresh] = triggers_.try_emplace(key, trigger);
  if (!fresh && !trigger.empty() && trigger < it->second) it->second = trigger;
  loop_.enqueue(key);
}

awaitable<Result<>> EndpointsLoop::handle(std::string key) {
  auto begin = std::chrono::steady_clock::now();
  auto where = from_queue_key("endpoints", key);
  auto trigger_node = triggers_.extract(key);
  auto trigger = trigger_node.empty() ? std::string() : trigger_node.mapped();
  auto service = store_.get(from_queue_key("services", key));
  auto have = store_.get(where);
  if (!service) {
    if (have && (has_endpoints_manager(*have) || gone_.contains(key))) co_return co_await remove(key);
    gone_.erase(key);
    co_return Result<>();
  }
  if (is_terminating(service->body)) co_return Result<>();
  if (!has_managed_slices(service->body)) co_return co_await release(key);
  auto now = std::chrono::system_clock::now();
  auto wanted = plan_endpoints(*service, pods_.of(*service, store_), have.get(), trigger, now);
  loop_.took(key, std::chrono::steady_clock::now() - begin);
  if (!wanted) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto owner = tx.get(service->key);
    if (!owner || owner->uid != service->uid) return api::Status::conflict(service->key, "the service has gone");
    if (!unchanged(tx, where, have ? have->revision : 0)) return api::Status::conflict(where, "it has changed");
    return tx.put(where, *wanted);
  };
  auto done = co_await write(store_, std::move(decide));
  if (done) co_return Result<>();
  if (!trigger.empty()) triggers_.try_emplace(key, trigger);
  co_return std::move(done).error();
}

// A Service that has lost its selector: what its Endpoints say stays, and is somebody else's to change.
awaitable<Result<>> EndpointsLoop::release(std::string key) {
  auto where = from_queue_key("endpoints", key), service = from_queue_key("services", key);
  auto have = store_.get(where);
  if (!have || !has_endpoints_manager(*have)) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto owner = tx.get(service);
    if (!owner || has_managed_slices(owner->body)) return api::Status::conflict(service, "it has changed");
    if (!unchanged(tx, where, have->revision)) return api::Status::conflict(where, "it has changed");
    auto body = have->body;
    api::make_object_at(body, "metadata.labels").erase(kEndpointsManagedBy);
    return tx.put(where, std::move(body));
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  co_return Result<>();
}

awaitable<Result<>> EndpointsLoop::remove(std::string key) {
  auto where = from_queue_key("endpoints", key), service = from_queue_key("services", key);
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    auto have = tx.get(where);
    if (have && !tx.get(service)) tx.erase(where);
    return have;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  gone_.erase(key);
  co_return Result<>();
}

}  // namespace trama::control
