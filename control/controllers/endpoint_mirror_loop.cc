// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoint_mirror_loop.h"

#include "control/controllers/endpoint_mirror_plan.h"

namespace trama::control {

using base::Result;
using Type = store::Event::Type;

EndpointMirrorLoop::EndpointMirrorLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                                       std::uint64_t seed)
    : store_(store),
      events_(events),
      random_(seed),
      loop_(std::move(ex), store, {.name = "endpointslicemirroring"},
            {{"services", [this](const store::Event& e) { loop_.enqueue(queue_key(e.object->key)); }},
             {"endpoints", [this](const store::Event& e) { loop_.enqueue(queue_key(e.object->key)); }},
             {"endpointslices", [this](const store::Event& e) { slice_seen(e); }, [this] { slices_.clear(); }}},
            [this](std::string key) { return handle(std::move(key)); }) {}

void EndpointMirrorLoop::slice_seen(const store::Event& e) {
  const auto& labels = e.object->labels;
  auto manager = labels.find(std::string(kManagedByLabel)), service = labels.find(std::string(kServiceNameLabel));
  if (manager == labels.end() || manager->second != kMirrorManager || service == labels.end()) return;
  auto key = e.object->key.ns + "/" + service->second;
  if (e.type == Type::deleted)
    slices_[key].erase(e.object->key.name);
  else
    slices_[key].insert(e.object->key.name);
  if (slices_[key].empty()) slices_.erase(key);
  loop_.enqueue(key);
}

awaitable<Result<>> EndpointMirrorLoop::handle(std::string key) {
  auto where = from_queue_key("endpoints", key);
  auto endpoints = store_.get(where);
  auto service = store_.get(from_queue_key("services", key));
  std::vector<api::ObjectPtr> slices;
  if (auto it = slices_.find(key); it != slices_.end())
    for (const auto& name : it->second)
      if (auto slice = store_.get({"endpointslices", where.ns, name}); slice && !is_terminating(slice->body))
        slices.push_back(std::move(slice));
  MirrorPlan plan;
  bool mirrored = endpoints && is_mirrored(*endpoints, service.get());
  if (mirrored)
    plan = plan_mirror(*endpoints, slices);
  else
    plan.ops = plan_no_mirror(slices);
  if (plan.ops.empty()) co_return Result<>();
  auto now = std::chrono::system_clock::now();
  std::vector<std::string> created;
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    created.clear();
    if (!unchanged(tx, where, endpoints ? endpoints->revision : 0))
      return api::Status::conflict(where, "it has changed");
    api::ObjectPtr last = endpoints;
    for (const auto& op : plan.ops) {
      bool create = op.type == SliceOp::Type::create;
      api::Key slice{"endpointslices", where.ns, create ? generated_name(where.name + "-", random_()) : op.name};
      auto have = tx.get(slice);
      if ((have ? have->revision : 0) != op.revision) return api::Status::conflict(slice, "it has changed");
      if (op.type == SliceOp::Type::remove)
        tx.erase(slice);
      else
        last = tx.put(slice, slice_object(op, *endpoints, slice.name, have.get(), "", now));
      if (create) created.push_back(slice.name);
    }
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  // The watch will say so too, but the next pass may come first.
  for (const auto& name : created) slices_[key].insert(name);
  if (mirrored && plan.skipped > 0)
    events_.record(*endpoints, "Warning", "TooManyAddressesToMirror",
                   fmt::format("A max of {} addresses can be mirrored to EndpointSlices per Endpoints subset. {} "
                               "addresses were skipped",
                               kMirroredPerSubset, plan.skipped),
                   "endpoint-slice-mirroring-controller");
  co_return Result<>();
}

}  // namespace trama::control
