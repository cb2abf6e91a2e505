// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/fake_kernel.h"

#include <algorithm>

namespace trama::overlay {
namespace {
using base::Error;
using base::Result;

// What a new device starts with.
constexpr std::pair<const char*, const char*> kDeviceDefaults[] = {
    {"net/ipv4/conf/trama0/rp_filter", "0"},  {"net/ipv4/conf/trama0/send_redirects", "1"},
    {"net/ipv4/conf/trama0/forwarding", "0"}, {"net/ipv6/conf/trama0/addr_gen_mode", "0"},
    {"net/ipv6/conf/trama0/accept_ra", "1"},  {"net/ipv6/conf/trama0/disable_ipv6", "0"},
    {"net/ipv6/conf/trama0/forwarding", "0"},
};

}  // namespace

// One step on the world.
struct FakeKernel::Step {
  FakeKernel& k;
  Observed& world;

  Result<> operator()(const LoadGuards& o) const {
    SeenGuards seen{rules_text(o.guards.frame), {}, {}, {}, {}};
    for (const auto& [p, node] : o.guards.direct) seen.direct[p] = {element_comment(node), false};
    for (const auto& [ip, node] : o.guards.peers) seen.peers[ip] = {element_comment(node), false};
    for (const auto& [b, node] : o.guards.pods) seen.pods[b] = {element_comment(node), false};
    for (const auto& [ip, node] : o.guards.clear) seen.clear[ip] = {element_comment(node), false};
    world.guards = std::move(seen);
    return {};
  }
  Result<> operator()(const ChangeGuards& o) const {
    if (!world.guards) return Error::from_errno(ENOENT, kGuardTable);
    auto& [rules, peers, pods, clear, direct] = *world.guards;
    for (const auto& p : o.change.remove_direct) direct.erase(p);
    for (const auto& [p, node] : o.change.put_direct) direct[p] = {element_comment(node), false};
    for (const auto& ip : o.change.remove_peers) peers.erase(ip);
    for (const auto& ip : o.change.remove_clear) clear.erase(ip);
    for (const auto& b : o.change.remove_pods) pods.erase(b);
    for (const auto& [ip, node] : o.change.retire_peers) peers[ip].expiring = true;
    for (const auto& [b, node] : o.change.retire_pods) pods[b].expiring = true;
    for (const auto& [ip, node] : o.change.put_peers) peers[ip] = {element_comment(node), false};
    for (const auto& [b, node] : o.change.put_pods) pods[b] = {element_comment(node), false};
    for (const auto& [ip, node] : o.change.put_clear) clear[ip] = {element_comment(node), false};
    return {};
  }
  Result<> operator()(const RemoveGuards&) const {
    if (!world.guards) return Error::from_errno(ENOENT, kGuardTable);
    world.guards.reset();
    return {};
  }
  Result<> operator()(const SetSysctl& o) const {
    if (o.key.find("/trama0/") != std::string::npos && !world.device) return Error::from_errno(ENOENT, o.key);
    if (o.key.find("/trama1/") != std::string::npos && !world.tunnel) return Error::from_errno(ENOENT, o.key);
    if (o.key.find("/trama2/") != std::string::npos && !world.wireguard) return Error::from_errno(ENOENT, o.key);
    world.sysctls[o.key] = o.value;
    return {};
  }
  Result<> operator()(const CreateDevice& o) const {
    if (world.device) return Error::from_errno(EEXIST, kDevice);
    world.device = Device{{}, "vxlan", kAlias, o.vxlan, o.mac, o.mtu, false};
    for (auto& [key, value] : kDeviceDefaults) world.sysctls[key] = value;
    return {};
  }
  Result<> operator()(const DeleteDevice&) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    k.delete_device();
    return {};
  }
  Result<> operator()(const SetAlias&) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    world.device->alias = kAlias;
    return {};
  }
  Result<> operator()(const SetLocal& o) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    world.device->vxlan.local = o.local;
    return {};
  }
  Result<> operator()(const SetMtu& o) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    world.device->mtu = o.mtu;
    return {};
  }
  Result<> operator()(const SetUp&) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    if (k.port_taken) return Error::from_errno(EADDRINUSE, kDevice);
    world.device->up = true;
    return {};
  }
  Result<> operator()(const CreateTunnel&) const {
    if (world.tunnel) return Error::from_errno(EBUSY, kTunnelDevice);
    world.tunnel = TunnelDevice{{}, "tun", kAlias, 1500, false, true};
    return {};
  }
  Result<> operator()(const HoldTunnel&) const {
    if (auto ok = k.need_tunnel(false); !ok) return ok;
    world.tunnel->carrier = true;
    return {};
  }
  Result<> operator()(const DeleteTunnel&) const {
    if (auto ok = k.need_tunnel(false); !ok) return ok;
    k.delete_tunnel();
    return {};
  }
  Result<> operator()(const SetTunnelAlias&) const {
    if (auto ok = k.need_tunnel(false); !ok) return ok;
    world.tunnel->alias = kAlias;
    return {};
  }
  Result<> operator()(const SetTunnelMtu& o) const {
    if (auto ok = k.need_tunnel(false); !ok) return ok;
    world.tunnel->mtu = o.mtu;
    return {};
  }
  Result<> operator()(const SetTunnelUp&) const {
    if (auto ok = k.need_tunnel(false); !ok) return ok;
    world.tunnel->up = true;
    return {};
  }
  Result<> operator()(const CreateWireguard& o) const {
    if (!world.no_wireguard.empty()) return Error::from_errno(EOPNOTSUPP, kWireguardDevice);
    if (world.wireguard) return Error::from_errno(EEXIST, kWireguardDevice);
    if (k.wireguard_key.is_zero()) k.wireguard_key = base::WireguardKey::random();
    world.wireguard = WireguardDevice{{}, "wireguard", kAlias, o.mtu, false, k.wireguard_key, true, o.port, 0, {}};
    return {};
  }
  Result<> operator()(const DeleteWireguard&) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    k.delete_wireguard();
    return {};
  }
  Result<> operator()(const SetWireguard& o) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    world.wireguard->key = k.wireguard_key;
    world.wireguard->own_key = true;
    world.wireguard->port = o.port;
    world.wireguard->mark = 0;
    world.wireguard->peers.erase(k.wireguard_key);
    return {};
  }
  Result<> operator()(const SetWireguardAlias&) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    world.wireguard->alias = kAlias;
    return {};
  }
  Result<> operator()(const SetWireguardMtu& o) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    world.wireguard->mtu = o.mtu;
    return {};
  }
  Result<> operator()(const SetWireguardUp&) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    if (k.port_taken) return Error::from_errno(EADDRINUSE, kWireguardDevice);
    world.wireguard->up = true;
    return {};
  }
  // As the kernel: a prefix has one owner, the last one that has named it; and a device is no peer of itself.
  Result<> operator()(const PutWireguardPeer& o) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    auto& peers = world.wireguard->peers;
    if (o.peer.key == world.wireguard->key) return {};
    for (auto& [key, peer] : peers)
      std::erase_if(peer.allowed,
                    [&](const Cidr& c) { return std::count(o.peer.allowed.begin(), o.peer.allowed.end(), c) > 0; });
    peers[o.peer.key] = o.peer;
    peers[o.peer.key].preshared = false;
    return {};
  }
  Result<> operator()(const DeleteWireguardPeer& o) const {
    if (auto ok = k.need_wireguard(false); !ok) return ok;
    world.wireguard->peers.erase(o.key);  // as the kernel: gone is gone
    return {};
  }
  Result<> operator()(const PutAddress& o) const {
    if (auto ok = k.need(o.on, false); !ok) return ok;
    on(o.on)[o.ip] = o.ip.bits();
    return {};
  }
  Result<> operator()(const DeleteAddress& o) const {
    if (on(o.on).erase(o.ip) == 0) return Error::from_errno(EADDRNOTAVAIL, o.ip.to_string());
    return {};
  }
  Result<> operator()(const PutNeighbour& o) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    world.neighbours[o.ip] = o.mac;
    return {};
  }
  Result<> operator()(const DeleteNeighbour& o) const {
    if (world.neighbours.erase(o.ip) == 0) return Error::from_errno(ENOENT, o.ip.to_string());
    return {};
  }
  Result<> operator()(const PutForward& o) const {
    if (auto ok = k.need_device(false); !ok) return ok;
    world.forwards[o.mac] = {o.to};
    return {};
  }
  Result<> operator()(const DeleteForward& o) const {
    auto found = world.forwards.find(o.mac);
    if (found == world.forwards.end() || found->second.erase(o.to) == 0)
      return Error::from_errno(ENOENT, o.mac.to_string());
    if (found->second.empty()) world.forwards.erase(found);
    return {};
  }
  Result<> operator()(const PutNexthop& o) const {
    if (world.mode != Mode::nexthop) return Error::from_errno(EOPNOTSUPP, "nexthop");
    if (!o.nexthop.direct())
      if (auto ok = k.need(o.nexthop.through(), true); !ok) return ok;
    bool link_there = std::any_of(world.uplinks.begin(), world.uplinks.end(),
                                  [&](const auto& u) { return u.second.index == o.nexthop.link; });
    if (o.nexthop.direct() && !link_there) return Error::from_errno(ENODEV, "nexthop");
    if (world.foreign_nexthops.count(o.nexthop.id)) return Error::from_errno(EEXIST, "nexthop");
    world.nexthops[o.nexthop.id] = o.nexthop;
    return {};
  }
  Result<> operator()(const DeleteNexthop& o) const {
    if (world.nexthops.erase(o.id) == 0) return Error::from_errno(ENOENT, "nexthop");
    std::erase_if(world.routes, [&](const auto& r) { return r.second.nexthop == o.id; });
    return {};
  }
  Result<> operator()(const AddRoute& o) const {
    if (world.routes.count({o.route.to, o.route.metric}) || k.foreign_routes.count(o.route.to))
      return Error::from_errno(EEXIST, o.route.to.to_string());
    return put(o.route);
  }
  Result<> operator()(const ReplaceRoute& o) const { return put(o.route); }
  Result<> operator()(const DeleteRoute& o) const {
    if (world.routes.erase({o.route.to, o.route.metric}) == 0) return Error::from_errno(ESRCH, o.route.to.to_string());
    return {};
  }

 private:
  std::map<Ip, unsigned>& on(Through device) const {
    return device == Through::tunnel      ? world.tunnel_addresses
           : device == Through::wireguard ? world.wireguard_addresses
                                          : world.addresses;
  }
  Result<> put(const Route& route) const {
    if (!route.unreachable) {
      auto through = world.nexthops.find(route.nexthop);
      auto device = through != world.nexthops.end() ? through->second.through() : Through::vxlan;
      if (auto ok = k.need(device, true); !ok) return ok;
      if (route.nexthop && !world.nexthops.count(route.nexthop)) return Error::from_errno(EINVAL, "no such nexthop");
      if (route.source && !world.addresses.count(*route.source)) return Error::from_errno(EINVAL, "no such source");
    }
    world.routes[{route.to, route.metric}] = route;
    return {};
  }
};

Result<> FakeKernel::need_device(bool up) const {
  if (!world.device) return Error::from_errno(ENODEV, kDevice);
  if (up && !world.device->up) return Error::from_errno(ENETDOWN, kDevice);
  return {};
}

Result<> FakeKernel::need_tunnel(bool up) const {
  if (!world.tunnel) return Error::from_errno(ENODEV, kTunnelDevice);
  if (up && !(world.tunnel->up && world.tunnel->carrier)) return Error::from_errno(ENETDOWN, kTunnelDevice);
  return {};
}

Result<> FakeKernel::need_wireguard(bool up) const {
  if (!world.wireguard) return Error::from_errno(ENODEV, kWireguardDevice);
  if (up && !world.wireguard->up) return Error::from_errno(ENETDOWN, kWireguardDevice);
  return {};
}

// Plain routes lead over a link that is not ours.
Result<> FakeKernel::need(Through device, bool up) const {
  if (device == Through::tunnel) return need_tunnel(up);
  if (device == Through::wireguard) return need_wireguard(up);
  return need_device(up);
}

void FakeKernel::drop_pointers(Through device) {
  auto gone = [&](const Route& r) {
    auto through = world.nexthops.find(r.nexthop);
    return !r.unreachable && (through == world.nexthops.end() ? Through::vxlan : through->second.through()) == device;
  };
  std::erase_if(world.routes, [&](const auto& r) { return gone(r.second); });
  std::erase_if(world.nexthops, [&](const auto& n) { return n.second.through() == device; });
}

void FakeKernel::delete_wireguard() {
  drop_pointers(Through::wireguard);
  world.wireguard.reset();
  world.wireguard_addresses.clear();
  std::erase_if(world.sysctls, [](const auto& s) { return s.first.find("/trama2/") != std::string::npos; });
}

void FakeKernel::delete_tunnel() {
  drop_pointers(Through::tunnel);
  world.tunnel.reset();
  world.tunnel_addresses.clear();
  std::erase_if(world.sysctls, [](const auto& s) { return s.first.find("/trama1/") != std::string::npos; });
}

void FakeKernel::set_down() {
  if (!world.device) return;
  world.device->up = false;
  drop_pointers(Through::vxlan);
  std::erase_if(world.addresses, [](const auto& a) { return !a.first.is_v4(); });
  world.neighbours.clear();
}

void FakeKernel::delete_device() {
  set_down();
  world.device.reset();
  world.addresses.clear();
  world.forwards.clear();
  for (auto& [key, value] : kDeviceDefaults) world.sysctls.erase(key);
}

Result<Observed> FakeKernel::observe() { return world; }

Result<> FakeKernel::apply(const Op& op) { return std::visit(Step{*this, world}, op); }

}  // namespace trama::overlay
