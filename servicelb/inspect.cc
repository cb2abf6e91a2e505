// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/inspect.h"

#include <algorithm>

#include <fmt/format.h>

#include "servicelb/engine.h"

namespace trama::servicelb {
namespace {

ServiceView::Front front_view(const Service& service, const Placement& placed, const Door& door) {
  ServiceView::Front out;
  const Front& f = door.front;
  out.port = f.port;
  if (f.kind == Front::Kind::node) {
    out.kind = ServiceView::Front::Kind::node_port;
  } else {
    out.address = f.ip;
    bool own = std::find(service.cluster_ips.begin(), service.cluster_ips.end(), f.ip) != service.cluster_ips.end();
    bool balancer = std::any_of(service.external_ips.begin(), service.external_ips.end(),
                                [&](const ExternalIp& e) { return e.ip == f.ip && e.load_balancer; });
    out.kind = own        ? ServiceView::Front::Kind::cluster_ip
               : balancer ? ServiceView::Front::Kind::load_balancer
                          : ServiceView::Front::Kind::external_ip;
  }
  const nft::Set& set = set_of(f.family, door.home);
  out.mark = mark_of(placed, door);
  out.table = table_of(f.family).to_string(), out.map = set.name;
  nft::Element key = mark_element(f, 0, {});
  key.data = {};
  out.key = nft::to_text(set, key);
  return out;
}

// Connections by service id and endpoint, of the homes whose elements count.
using Connections = std::map<std::pair<std::uint32_t, base::IpPort>, std::uint64_t>;

Result<Connections> read_connections(Kernel& kernel) {
  Connections out;
  for (Family f : kFamilies)
    for (Home home : {Home::counted, Home::sticky}) {
      auto elements = kernel.elements(table_of(f), set_of(f, home));
      if (!elements) return std::move(elements).error();
      for (const auto& e : *elements) {
        if (home == Home::counted) {
          if (auto s = slot_in(f, e)) out[{s->id, {s->ip, s->port}}] += e.packets.value_or(0);
        } else if (auto s = sticky_in(f, e)) {
          out[{s->id, {s->ip, s->port}}] += e.packets.value_or(0);
        }
      }
    }
  return out;
}

Result<std::map<std::uint32_t, std::size_t>> read_clients(Kernel& kernel) {
  std::map<std::uint32_t, std::size_t> out;
  for (Family f : kFamilies) {
    auto elements = kernel.elements(table_of(f), set_of(f, Home::affinity));
    if (!elements) return std::move(elements).error();
    for (const auto& e : *elements)
      if (e.key.size() >= 4) {
        auto mark = mark_in(nft::Value::of(e.key.bytes().first(4)));
        if (mark) ++out[id_of(*mark)];
      }
  }
  return out;
}
}  // namespace

ServiceView view_of(const Service& service, const Placement& placed, const std::string& node) {
  ServiceView out;
  out.key = service.key;
  out.algorithm = service.algorithm, out.affinity = service.affinity;
  out.internal = service.internal, out.external = service.external;
  for (const auto& wanted : service.ports) {
    ServiceView::Port port;
    port.name = wanted.name, port.protocol = wanted.protocol, port.port = wanted.port;
    // What pods meet at the ClusterIP.
    Scope scope = service.internal == Policy::local ? Scope::local : Scope::cluster;
    std::map<base::IpPort, std::uint32_t> slots;
    for (std::size_t n = 0; n < placed.pools.size(); ++n) {
      const Pool& pool = placed.pools[n];
      if (pool.name != wanted.name || pool.protocol != wanted.protocol) continue;
      for (const auto& door : placed.doors)
        if (door.port == n && door.outer()) port.fronts.push_back(front_view(service, placed, door));
      if (pool.scope != scope) continue;
      port.id = pool.id;
      port.endpoints_map = set_of(Family::v4, pool.how == Draw::How::affinity ? Home::sticky
                                              : pool.counted                  ? Home::counted
                                                                              : Home::slots)
                               .name;
      for (Family f : kFamilies) {
        const auto& side = pool.sides[index_of(f)];
        if (!side.slots.empty() && port.chain.empty()) port.chain = pool.draw(f).chain();
        for (auto s : side.slots) ++slots[side.backends[s].at()];
      }
    }
    for (const auto& e : wanted.endpoints) {
      ServiceView::Backend b;
      b.endpoint = e, b.local = !node.empty() && e.node == node;
      if (auto it = slots.find({e.ip, e.port}); it != slots.end()) b.slots = it->second;
      port.backends.push_back(std::move(b));
    }
    out.ports.push_back(std::move(port));
  }
  for (Family f : kFamilies)
    render(service.key, placed, f, [&](Item item) {
      const nft::Set& set = set_of(f, item.home);
      out.elements.push_back(fmt::format("add element {} {} {{ {} }}", table_of(f).to_string(), set.name,
                                         nft::to_text(set, item.element)));
    });
  return out;
}

Result<std::optional<ServiceView>> Engine::describe(const ServiceKey& key) {
  auto known = planner_.find(key);
  if (!known) return std::optional<ServiceView>();
  ServiceView out = view_of(known->wanted, known->placed, planner_.node().name);
  auto dirty = planner_.dirty_services();
  out.programmed = started_ && !must_verify_ && std::find(dirty.begin(), dirty.end(), key) == dirty.end();
  if (auto it = planner_.failures().find(key); it != planner_.failures().end()) out.failures = it->second;
  if (auto it = refused_.find(key); it != refused_.end()) out.failures.push_back(it->second);
  bool sticky = known->wanted.affinity.count() > 0;
  if (known->wanted.counters || sticky) {
    auto connections = read_connections(kernel_);
    if (!connections) return std::move(connections).error();
    for (auto& port : out.ports)
      for (auto& b : port.backends) {
        // With policy Local a port has a second id; both are connections of the endpoint.
        std::uint64_t n = 0;
        std::set<std::uint32_t> ids;
        for (const auto& pool : known->placed.pools)
          if (pool.name == port.name && pool.protocol == port.protocol) ids.insert(pool.id);
        for (auto id : ids)
          if (auto it = connections->find({id, {b.endpoint.ip, b.endpoint.port}}); it != connections->end())
            n += it->second;
        b.connections = n;
      }
  }
  if (sticky) {
    auto clients = read_clients(kernel_);
    if (!clients) return std::move(clients).error();
    for (auto& port : out.ports) port.affinity_entries = (*clients)[port.id];
  }
  return std::optional<ServiceView>(std::move(out));
}

Result<std::vector<ConnectionCount>> Engine::connections() {
  std::vector<ConnectionCount> out;
  Connections seen;
  bool read = false;
  auto failure = Result<>();
  planner_.for_each([&](const Service& service, const Placement& placed) {
    if (!failure || (!service.counters && service.affinity.count() == 0)) return;
    if (!std::exchange(read, true)) {
      auto found = read_connections(kernel_);
      if (!found) {
        failure = std::move(found).error();
        return;
      }
      seen = std::move(*found);
    }
    for (const auto& pool : placed.pools)
      for (const auto& side : pool.sides)
        for (const auto& b : side.backends)
          if (auto it = seen.find({pool.id, b.at()}); it != seen.end())
            out.push_back({service.key, pool.name, pool.protocol, b.at(), b.pod, it->second});
  });
  if (!failure) return std::move(failure).error();
  return out;
}

}  // namespace trama::servicelb
