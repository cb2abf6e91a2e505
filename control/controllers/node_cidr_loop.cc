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

}  // namespace

NodeCidrLoop::NodeCidrLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                           NodeCidrOptions options)
    : store_(store),
      events_(events),
      options_(std::move(options)),
      loop_(std::move(ex), store, {.name = "nodeipam", .workers = 1},
            {{"nodes", [this](const store::Event& e) { node_seen(e); }}}, [this](std::string) { return handle(); }) {}

void NodeCidrLoop::node_seen(const store::Event& e) {
  if (e.type == store::Event::Type::deleted) {
    for (const auto& c : pod_cidrs(e.object->body)) cooling_[c] = Clock::now() + options_.cool_down;
    loop_.enqueue("all");
    loop_.enqueue_after("all", options_.cool_down + milliseconds(10));  // somebody may be waiting for it
    return;
  }
  if (e.previous && pod_cidrs(e.previous->body) == pod_cidrs(e.object->body)) return;
  loop_.enqueue("all");
}

awaitable<Result<>> NodeCidrLoop::handle() {
  auto now = Clock::now();
  NodeCidrWorld world;
  world.clusters = options_.clusters;
  world.mask_v4 = options_.mask_v4;
  world.mask_v6 = options_.mask_v6;
  std::map<std::string, api::ObjectPtr> nodes;
  for (const auto& node : store_.list("nodes")) {
    world.nodes[node->key.name] = pod_cidrs(node->body);
    nodes[node->key.name] = node;
  }
  std::erase_if(cooling_, [now](const auto& entry) { return entry.second <= now; });
  for (const auto& [c, until] : cooling_) world.cooling.insert(c);

  auto plan = plan_node_cidrs(world);
  loop_.took("all", Clock::now() - now);
  for (const auto& name : plan.exhausted)
    events_.record(*nodes[name], "Warning", "CIDRNotAvailable",
                   fmt::format("Node {} status is now: CIDRNotAvailable", name), kComponent);
  for (const auto& [c, names] : plan.disputed)
    for (const auto& name : names)
      events_.record(*nodes[name], "Warning", "CIDRConflict",
                     fmt::format("pod CIDR {} is also the one of another node; delete one of the nodes and let it "
                                 "join again",
                                 c.to_string()),
                     kComponent);
  if (plan.assign.empty()) co_return Result<>();
  store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
    api::ObjectPtr last;
    for (const auto& [name, cidrs] : plan.assign) {
      const auto& key = nodes[name]->key;
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
  co_return Result<>();
}

}  // namespace trama::control
