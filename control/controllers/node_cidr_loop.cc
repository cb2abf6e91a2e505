// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/node_cidr_loop.h"

#include "control/loops/meta.h"

namespace trama::control {

using base::Result;
using Clock = std::chrono::steady_clock;

namespace {

const char* kComponent = "cidrAllocator";

std::vector<base::Cidr> pod_cidrs(const json::object& node) {
  std::vector<base::Cidr> out;
  for (const auto& v : api::array_at(node, "spec.podCIDRs"))
    if (v.is_string())
      if (auto c = base::Cidr::parse(v.get_string())) out.push_back(*c);
  if (out.empty())
    if (auto c = base::Cidr::parse(api::text_at(node, "spec.podCIDR"))) out.push_back(*c);
  return out;
}

api::Key node_key(const std::string& name) {
  api::Key key;
  key.resource = "nodes";
  key.name = name;
  return key;
}

}  // namespace

NodeCidrLoop::NodeCidrLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                           NodeCidrOptions options)
    : store_(store),
      events_(events),
      options_(std::move(options)),
      loop_(std::move(ex), store, {.name = "nodeipam", .workers = 1},
            {{"nodes", [this](const store::Event& e) { node_seen(e); }, [this] { nodes_.clear(); }}},
            [this](std::string) { return handle(); }) {}

void NodeCidrLoop::node_seen(const store::Event& e) {
  if (e.type == store::Event::Type::deleted) {
    nodes_.erase(e.object->key.name);
    for (const auto& c : pod_cidrs(e.object->body)) cooling_[c] = Clock::now() + options_.cool_down;
    loop_.enqueue("all");
    loop_.enqueue_after("all", options_.cool_down + milliseconds(10));  // somebody may be waiting for it
    return;
  }
  auto has = pod_cidrs(e.object->body);
  auto [it, fresh] = nodes_.try_emplace(e.object->key.name);
  if (!fresh && it->second == has) return;
  it->second = std::move(has);
  loop_.enqueue("all");
}

void NodeCidrLoop::tell(const std::string& name, const char* reason, const std::string& message) {
  if (auto node = store_.get(node_key(name))) events_.record(*node, "Warning", reason, message, kComponent);
}

awaitable<Result<>> NodeCidrLoop::handle() {
  auto now = Clock::now();
  NodeCidrWorld world;
  world.clusters = options_.clusters;
  world.mask_v4 = options_.mask_v4;
  world.mask_v6 = options_.mask_v6;
  world.nodes = nodes_;
  std::erase_if(cooling_, [now](const auto& entry) { return entry.second <= now; });
  for (const auto& [c, until] : cooling_) world.cooling.insert(c);

  auto plan = plan_node_cidrs(world);
  loop_.took("all", Clock::now() - now);
  for (const auto& name : plan.exhausted)
    tell(name, "CIDRNotAvailable", fmt::format("Node {} status is now: CIDRNotAvailable", name));
  for (const auto& [c, names] : plan.disputed)
    for (const auto& name : names)
      tell(name, "CIDRConflict",
           fmt::format("pod CIDR {} is also the one of another node; delete one of the nodes and let it join again",
                       c.to_string()));
  if (plan.assign.empty()) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last;
    for (const auto& [name, cidrs] : plan.assign) {
      auto key = node_key(name);
      auto have = tx.get(key);
      if (!have || !pod_cidrs(have->body).empty()) return api::Status::conflict(key, "it has changed");
      auto body = have->body;
      auto& spec = api::make_object_at(body, "spec");
      json::array list;
      for (const auto& c : cidrs) list.emplace_back(c.to_string());
      spec["podCIDR"] = cidrs.front().to_string();
      spec["podCIDRs"] = std::move(list);
      last = tx.put(key, std::move(body));
    }
    return last;
  };
  auto done = co_await write(store_, std::move(decide));
  if (!done) co_return std::move(done).error();
  // The watch will say so too, but the next pass may come first.
  for (auto& [name, cidrs] : plan.assign)
    if (auto it = nodes_.find(name); it != nodes_.end()) it->second = cidrs;
  co_return Result<>();
}

}  // namespace trama::control
