// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoint_slice_loop.h"

#include "control/controllers/endpoint_slice_plan.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

namespace {

api::Key slice_key(const std::string& ns, const std::string& name) {
  api::Key key;
  key.resource = "endpointslices";
  key.ns = ns;
  key.name = name;
  return key;
}

}  // namespace

EndpointSliceLoop::EndpointSliceLoop(async::asio::any_io_executor ex, store::Store& store, std::uint64_t seed)
    : store_(store),
      random_(seed),
      loop_(std::move(ex), store, {.name = "endpointslice"},
            {{"pods", [this](const store::Event& e) { pod_seen(e); }, [this] { pods_.forget_pods(); }},
             {"services", [this](const store::Event& e) { service_seen(e); }, [this] { pods_.forget_services(); }},
             {"endpointslices", [this](const store::Event& e) { slice_seen(e); }, [this] { slices_.clear(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void EndpointSliceLoop::service_seen(const store::Event& e) {
  pods_.service_seen(e);
  touch(queue_key(e.object->key), api::text_at(e.object->body, "metadata.creationTimestamp"));
}

void EndpointSliceLoop::pod_seen(const store::Event& e) {
  auto trigger = trigger_of(e.object->body);
  for (const auto& service : pods_.pod_seen(e)) {
    touch(service, trigger);
    if (pods_changed_) pods_changed_(service, trigger);
  }
}

void EndpointSliceLoop::slice_seen(const store::Event& e) {
  auto manager = e.object->labels.find(std::string(kManagedByLabel));
  auto service = e.object->labels.find(std::string(kServiceNameLabel));
  if (manager == e.object->labels.end() || service == e.object->labels.end()) return;
  auto key = e.object->key.ns + "/" + service->second;
  if (manager->second == kMirrorManager && slices_.contains(key)) loop_.enqueue(key);
  if (manager->second != kSliceManager) return;
  if (e.type == Type::deleted)
    slices_[key].erase(e.object->key.name);
  else
    slices_[key].insert(e.object->key.name);
  if (slices_[key].empty()) slices_.erase(key);
  loop_.enqueue(key);
}

void EndpointSliceLoop::touch(const std::string& key, const std::string& trigger) {
  auto [it, fresh] = triggers_.try_emplace(key, trigger);
  if (!fresh && !trigger.empty() && trigger < it->second) it->second = trigger;
  loop_.enqueue(key);
}

// A Service that has lost its selector keeps our slices until what its Endpoints say is there as slices of the mirror.
bool EndpointSliceLoop::is_handed_over(const api::Key& service) const {
  if (!slices_.contains(queue_key(service))) return false;
  auto endpoints = store_.get({"endpoints", service.ns, service.name});
  if (!endpoints || api::array_at(endpoints->body, "subsets").empty()) return true;
  for (const auto& slice : store_.list("endpointslices", service.ns)) {
    auto labels = api::strings_at(slice->body, "metadata.labels");
    if (labels[std::string(kServiceNameLabel)] == service.name &&
        labels[std::string(kManagedByLabel)] == kMirrorManager)
      return true;
  }
  return false;
}

awaitable<Result<>> EndpointSliceLoop::handle(std::string key) {
  auto begin = std::chrono::steady_clock::now();
  auto where = from_queue_key("services", key);
  auto trigger_node = triggers_.extract(key);
  auto trigger = trigger_node.empty() ? std::string() : trigger_node.mapped();
  auto service = store_.get(where);
  if (!service || is_terminating(service->body)) co_return Result<>();  // slices go with their owner
  SliceWorld world;
  world.service = service;
  bool managed = has_managed_slices(service->body);
  bool external = api::text_at(service->body, "spec.type") == "ExternalName";
  if (!managed && !external && !is_handed_over(where)) co_return Result<>();
  for (const auto& name : slices_[key]) {
    auto slice = store_.get(slice_key(where.ns, name));
    if (slice && !is_terminating(slice->body)) world.slices.push_back(std::move(slice));
  }
  std::vector<SliceOp> ops;
  if (managed) {
    world.pods = pods_.of(*service, store_);
    for (const auto& pod : world.pods) {
      auto name = api::text_at(pod->body, "spec.nodeName");
      if (name.empty() || world.zone_of_node.contains(name)) continue;
      auto node = store_.get({"nodes", "", name});
      if (node && node->labels.contains("topology.kubernetes.io/zone"))
        world.zone_of_node[name] = node->labels.at("topology.kubernetes.io/zone");
    }
    ops = plan_slices(world);
  } else {
    for (const auto& slice : world.slices) {
      SliceOp op;
      op.type = SliceOp::Type::remove;
      op.name = slice->key.name;
      op.revision = slice->revision;
      ops.push_back(std::move(op));
    }
  }
  loop_.took(key, std::chrono::steady_clock::now() - begin);
  if (ops.empty()) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  std::vector<std::string> created;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    created.clear();
    auto owner = tx.get(where);
    if (!owner || owner->uid != service->uid) return api::Status::conflict(where, "the service has gone");
    api::ObjectPtr last = owner;
    for (const auto& op : ops) {
      bool create = op.type == SliceOp::Type::create;
      auto slice = slice_key(where.ns, create ? generated_name(where.name + "-", random_()) : op.name);
      auto have = tx.get(slice);
      if ((have ? have->revision : 0) != op.revision) return api::Status::conflict(slice, "it has changed");
      if (op.type == SliceOp::Type::remove)
        tx.erase(slice);
      else
        last = tx.put(slice, slice_object(op, *service, slice.name, have.get(), trigger, now));
      if (create) created.push_back(slice.name);
    }
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) {
    if (!trigger.empty()) triggers_.try_emplace(key, trigger);
    co_return std::move(done).error();
  }
  // The watch will say so too, but the next pass may come first.
  for (const auto& name : created) slices_[key].insert(name);
  co_return Result<>();
}

}  // namespace trama::control
