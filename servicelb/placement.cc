// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/placement.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

namespace trama::servicelb {
namespace {

std::string slot_comment(const std::string& label, const Backend& b) {
  return b.pod.empty() ? label : fmt::format("{} -> {}", label, b.pod);
}

// The front ends, by protocol and port, through which connections come to a pool with affinity.
std::vector<Front> ways_into(const Placement& placement, std::size_t pool, Family family) {
  std::vector<Front> out;
  for (const auto& d : placement.doors) {
    if (d.port != pool || d.fixed != 0 || d.front.family != family) continue;
    Front f = d.front;
    f.kind = Front::Kind::node, f.ip = Ip();
    out.push_back(f);
  }
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}
}  // namespace

bool can_be_front(const Ip& ip) {
  return !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_link_local());
}

std::vector<Member> members_of(const std::vector<Backend>& backends) {
  std::vector<Member> out;
  for (const auto& b : backends) {
    bool again = !out.empty() && out.back().first == b.ip;
    out.emplace_back(b.ip, again ? static_cast<std::uint16_t>(out.back().second + 1) : std::uint16_t{0});
  }
  return out;
}

std::string label_of(const ServiceKey& key, const std::string& port) {
  return port.empty() ? key.to_string() : fmt::format("{}:{}", key.to_string(), port);
}

Draw Pool::draw(Family family) const {
  Draw d;
  d.how = how, d.slots = static_cast<std::uint32_t>(sides[index_of(family)].slots.size());
  d.counted = counted && how != Draw::How::affinity;  // `sticky` counts anyway
  if (how == Draw::How::round_robin) d.owner = id;
  if (how == Draw::How::affinity) d.timeout = timeout;
  return d;
}

std::uint32_t mark_of(const Placement& placement, const Door& door) {
  if (door.fixed != 0) return mark_of(0, door.fixed);
  const Pool& pool = placement.pools.at(door.port);
  std::uint32_t mark = mark_of(pool.id, pool.sides[index_of(door.front.family)].cls);
  return door.masquerade ? mark | kMasquerade : mark;
}

void render(const ServiceKey& key, const Placement& p, Family family, const std::function<void(Item)>& fn) {
  std::size_t i = index_of(family);
  for (std::size_t n = 0; n < p.pools.size(); ++n) {
    const Pool& pool = p.pools[n];
    const auto& side = pool.sides[i];
    if (side.slots.empty()) continue;
    std::string label = label_of(key, pool.name);
    if (pool.how != Draw::How::affinity) {
      Home home = pool.counted ? Home::counted : Home::slots;
      for (std::size_t s = 0; s < side.slots.size(); ++s) {
        const Backend& b = side.backends[side.slots[s]];
        fn({home, slot_element(pool.id, static_cast<std::uint32_t>(s), b.ip, b.port, slot_comment(label, b))});
      }
      continue;
    }
    auto members = members_of(side.backends);
    for (const auto& way : ways_into(p, n, family)) {
      for (std::size_t b = 0; b < members.size(); ++b) {
        const Backend& to = side.backends[b];
        fn({Home::sticky,
            sticky_element(pool.id, way, p.numbers[i].at(members[b]), to.ip, to.port, slot_comment(label, to))});
      }
      for (std::size_t s = 0; s < side.slots.size(); ++s)
        fn({Home::picks,
            pick_element(pool.id, way, static_cast<std::uint32_t>(s), p.numbers[i].at(members[side.slots[s]]))});
    }
  }
  for (const auto& d : p.doors) {
    if (d.front.family != family) continue;
    const Pool& pool = p.pools.at(d.port);
    std::size_t slots = d.fixed != 0 ? 0 : pool.sides[i].slots.size();
    fn({d.home, mark_element(d.front, mark_of(p, d), label_of(key, pool.name)), d.fixed != 0 ? 0 : pool.id, slots});
  }
  for (const auto& [front, sources] : p.allowed)
    if (front.family == family) fn({Home::allowed, allowed_element(front, sources, key.to_string())});
  for (const auto& ip : p.vips)
    if (ip.family() == family) fn({Home::vips, vip_element(ip, key.to_string())});
  for (const auto& [ip, answers] : p.pings)
    if (ip.family() == family) fn({Home::ping, ping_element(ip, answers, key.to_string())});
}

std::size_t count_elements(const Placement& p, Family family) {
  std::size_t i = index_of(family), n = 0;
  for (std::size_t at = 0; at < p.pools.size(); ++at) {
    const auto& side = p.pools[at].sides[i];
    if (p.pools[at].how != Draw::How::affinity)
      n += side.slots.size();
    else if (!side.slots.empty())
      n += ways_into(p, at, family).size() * (side.backends.size() + side.slots.size());
  }
  auto of_family = [&](const auto& ip) { return ip.family() == family; };
  n += static_cast<std::size_t>(
      std::count_if(p.doors.begin(), p.doors.end(), [&](const Door& d) { return d.front.family == family; }));
  n += static_cast<std::size_t>(
      std::count_if(p.allowed.begin(), p.allowed.end(), [&](const auto& a) { return a.first.family == family; }));
  n += static_cast<std::size_t>(std::count_if(p.vips.begin(), p.vips.end(), of_family));
  n += static_cast<std::size_t>(
      std::count_if(p.pings.begin(), p.pings.end(), [&](const auto& v) { return of_family(v.first); }));
  return n;
}

std::vector<Front> fronts_of(const Placement& p) {
  std::vector<Front> out;
  for (const auto& ip : p.vips) {
    Front f;
    f.kind = Front::Kind::vip, f.family = ip.family(), f.ip = ip;
    out.push_back(f);
  }
  for (const auto& d : p.doors)
    if (d.outer()) out.push_back(d.front);
  return out;
}

PortKey pool_key(const Service& service, std::size_t port, Scope scope) {
  const auto& p = service.ports.at(port);
  // What changes the meaning of slot elements changes the id, so that both can be in the kernel for a moment.
  enum Layout : std::uint8_t { plain, maglev, affinity };
  Layout kind = service.affinity.count() > 0 ? affinity : service.algorithm == Algorithm::maglev ? maglev : plain;
  auto variant = static_cast<std::uint8_t>(kind << 2 | (service.counters ? 2 : 0) | (scope == Scope::local ? 1 : 0));
  if (kind == affinity) return PortKey{service.key, Protocol::tcp, "", variant};
  return PortKey{service.key, p.protocol, p.name, variant};
}

std::vector<Door> doors_of(const Service& s, bool masquerade_all, const std::function<void(std::string)>& complain) {
  std::vector<Door> out;
  std::array<bool, 2> families{};
  for (const auto& ip : s.cluster_ips)
    families[index_of(ip.family())] = families[index_of(ip.family())] || can_be_front(ip);
  auto add = [&](Home home, const Front& front, std::size_t port, Scope scope, std::uint32_t fixed, bool masquerade) {
    Door d;
    d.home = home, d.front = front, d.port = port, d.scope = scope, d.fixed = fixed, d.masquerade = masquerade;
    out.push_back(std::move(d));
  };
  Scope inner = s.internal == Policy::local ? Scope::local : Scope::cluster;
  bool local = s.external == Policy::local;
  for (std::size_t n = 0; n < s.ports.size(); ++n) {
    const auto& port = s.ports[n];
    Front f;
    f.protocol = port.protocol, f.port = port.port;
    if (port.port == 0) {
      complain(fmt::format("{}: port 0 does not exist", label_of(s.key, port.name)));
      continue;
    }
    for (const auto& ip : s.cluster_ips) {
      if (!can_be_front(ip)) continue;
      f.family = ip.family(), f.ip = ip;
      add(Home::services, f, n, inner, 0, masquerade_all);
    }
    for (const auto& e : s.external_ips) {
      std::size_t i = index_of(e.ip.family());
      if (!families[i] || !can_be_front(e.ip)) {
        if (n == 0)
          complain(fmt::format("{}: {} cannot be an external address of it", s.key.to_string(), e.ip.to_string()));
        continue;
      }
      f.family = e.ip.family(), f.ip = e.ip;
      bool guarded = e.load_balancer && std::any_of(s.source_ranges.begin(), s.source_ranges.end(),
                                                    [&](const Cidr& c) { return c.family() == f.family; });
      if (guarded) add(Home::services, f, n, Scope::cluster, kGuardedClass, false);
      Home home = guarded ? Home::guarded : Home::services;
      if (!local) {
        add(home, f, n, Scope::cluster, 0, true);
        continue;
      }
      add(home, f, n, Scope::cluster, kLocalAddressClass, false);
      add(Home::inside, f, n, Scope::cluster, 0, false);
      add(Home::outside, f, n, Scope::local, 0, false);
    }
    if (port.node_port == 0) continue;
    for (Family family : kFamilies) {
      if (!families[index_of(family)]) continue;
      Front node;
      node.kind = Front::Kind::node, node.family = family, node.protocol = port.protocol, node.port = port.node_port;
      if (!local) {
        add(Home::nodeports, node, n, Scope::cluster, 0, true);
        continue;
      }
      add(Home::nodeports, node, n, Scope::cluster, kLocalPortClass, false);
      add(Home::inside_ports, node, n, Scope::cluster, 0, false);
      add(Home::outside_ports, node, n, Scope::local, 0, false);
    }
  }
  return out;
}

}  // namespace trama::servicelb
