// SPDX-License-Identifier: GPL-2.0-or-later
// What KernelLinux does for each step of a plan.
#include <linux/if_addr.h>
#include <linux/neighbour.h>

#include "base/file.h"
#include "base/log.h"
#include "overlay/guards_table.h"
#include "overlay/kernel_linux.h"
#include "overlay/port_owner.h"
#include "overlay/tunnel/tun_device.h"

namespace trama::overlay {

using base::Error;
using base::IfIndex;
using base::Result;

namespace {

constexpr std::uint8_t kProtocolRa = 9;  // RTPROT_RA

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

Result<IfIndex> KernelLinux::device() const {
  if (device_failed_) return Error::from_errno(ECANCELED, fmt::format("waits for {}", kDevice));
  if (!device_) return Error::from_errno(ENODEV, kDevice);
  return *device_;
}

Result<IfIndex> KernelLinux::tunnel() const {
  if (tunnel_failed_) return Error::from_errno(ECANCELED, fmt::format("waits for {}", kTunnelDevice));
  if (!tunnel_) return Error::from_errno(ENODEV, kTunnelDevice);
  return *tunnel_;
}

Result<IfIndex> KernelLinux::wireguard() const {
  if (wireguard_failed_) return Error::from_errno(ECANCELED, fmt::format("waits for {}", kWireguardDevice));
  if (!wireguard_) return Error::from_errno(ENODEV, kWireguardDevice);
  return *wireguard_;
}

Result<IfIndex> KernelLinux::over(Through through) const {
  switch (through) {
    case Through::tunnel: return tunnel();
    case Through::wireguard: return wireguard();
    default: return device();
  }
}

// The kernel makes no TUN device by netlink.
Result<> KernelLinux::hold_tunnel() {
  tunnel_failed_ = true;
  tunnel_hold_.reset();
  auto held = tunnel::hold_tun(kTunnelDevice);
  if (!held) return std::move(held).error();
  tunnel_hold_ = std::move(*held);
  auto link = find_link(kTunnelDevice);
  if (!link) return std::move(link).error();
  if (!*link) return Error::from_errno(ENODEV, fmt::format("{} vanished as soon as it was made", kTunnelDevice));
  tunnel_ = (*link)->index;
  tunnel_failed_ = false;
  return {};
}

Result<> KernelLinux::apply(const Op& op) {
  auto on_device = [&](auto make) -> Result<> {
    auto link = device();
    if (!link) return std::move(link).error();
    return call(make(*link));
  };
  auto on_tunnel = [&](auto make) -> Result<> {
    auto link = tunnel();
    if (!link) return std::move(link).error();
    return call(make(*link));
  };
  auto on_wireguard = [&](auto make) -> Result<> {
    auto link = wireguard();
    if (!link) return std::move(link).error();
    return call(make(*link));
  };
  auto on_any = [&](Through through, auto make) -> Result<> {
    auto link = over(through);
    if (!link) return std::move(link).error();
    return call(make(*link));
  };
  return std::visit(
      Overloaded{
          [&](const LoadGuards& o) {
            guards_underlay_ = o.guards.frame.underlay;
            return commit(load_batch(o.guards));
          },
          [&](const ChangeGuards& o) { return commit(change_batch(o.change, guards_underlay_)); },
          [&](const RemoveGuards&) { return commit(remove_batch()); },
          [&](const SetSysctl& o) { return set_sysctl(o); },
          [&](const CreateDevice& o) { return create_device(o); },
          [&](const DeleteDevice&) -> Result<> {
            auto done = on_device([](IfIndex i) { return netlink::delete_link(i); });
            if (done) device_.reset();
            device_failed_ = !done;
            return done;
          },
          [&](const SetAlias&) { return on_device([](IfIndex i) { return netlink::set_link_alias(i, kAlias); }); },
          [&](const SetLocal& o) { return on_device([&](IfIndex i) { return netlink::set_vxlan_local(i, o.local); }); },
          [&](const SetMtu& o) { return on_device([&](IfIndex i) { return netlink::set_link_mtu(i, o.mtu); }); },
          [&](const SetUp& o) { return set_up(o.port); },
          [&](const CreateTunnel&) -> Result<> {
            if (auto held = hold_tunnel(); !held) return held;
            return call(netlink::set_link_alias(*tunnel_, kAlias));
          },
          [&](const HoldTunnel&) { return hold_tunnel(); },
          [&](const DeleteTunnel&) -> Result<> {
            auto done = on_tunnel([](IfIndex i) { return netlink::delete_link(i); });
            if (done) tunnel_.reset();
            tunnel_hold_.reset();
            tunnel_failed_ = !done;
            return done;
          },
          [&](const SetTunnelAlias&) {
            return on_tunnel([](IfIndex i) { return netlink::set_link_alias(i, kAlias); });
          },
          [&](const SetTunnelMtu& o) { return on_tunnel([&](IfIndex i) { return netlink::set_link_mtu(i, o.mtu); }); },
          [&](const SetTunnelUp&) { return on_tunnel([](IfIndex i) { return netlink::set_link_up(i, true); }); },
          [&](const CreateWireguard& o) { return create_wireguard(o); },
          [&](const DeleteWireguard&) -> Result<> {
            auto done = on_wireguard([](IfIndex i) { return netlink::delete_link(i); });
            if (done) wireguard_.reset();
            wireguard_failed_ = !done;
            return done;
          },
          [&](const SetWireguard& o) -> Result<> {
            auto link = wireguard();
            if (!link) return std::move(link).error();
            return wireguard_port_.configure(*link, o.port);
          },
          [&](const SetWireguardAlias&) {
            return on_wireguard([](IfIndex i) { return netlink::set_link_alias(i, kAlias); });
          },
          [&](const SetWireguardMtu& o) {
            return on_wireguard([&](IfIndex i) { return netlink::set_link_mtu(i, o.mtu); });
          },
          [&](const SetWireguardUp& o) { return set_wireguard_up(o.port); },
          [&](const PutWireguardPeer& o) -> Result<> {
            auto link = wireguard();
            if (!link) return std::move(link).error();
            return wireguard_port_.put(*link, o.peer);
          },
          [&](const DeleteWireguardPeer& o) -> Result<> {
            auto link = wireguard();
            if (!link) return std::move(link).error();
            return wireguard_port_.remove(*link, o.key);
          },
          [&](const PutAddress& o) {
            // No duplicate address detection: until it has ended, routes may not use the address as their source.
            // What must never be a source has scope host; IPv6 derives scopes, there it is deprecated.
            return on_any(o.on, [&](IfIndex i) {
              bool hidden4 = o.never_source && o.ip.is_v4(), hidden6 = o.never_source && !o.ip.is_v4();
              std::uint32_t flags = (o.ip.is_v4() ? 0u : IFA_F_NODAD) | (hidden6 ? IFA_F_DEPRECATED : 0u);
              std::uint8_t scope = hidden4 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
              return netlink::put_address({i, o.ip, o.ip.bits(), flags, scope});
            });
          },
          [&](const DeleteAddress& o) {
            return on_any(o.on, [&](IfIndex i) { return netlink::delete_address({i, o.ip, o.length, 0, 0}); });
          },
          [&](const PutNeighbour& o) {
            return on_device([&](IfIndex i) { return netlink::put_neighbour({i, o.ip, o.mac, NUD_PERMANENT, {}}); });
          },
          [&](const DeleteNeighbour& o) {
            return on_device([&](IfIndex i) { return netlink::delete_neighbour({i, o.ip, {}, 0, {}}); });
          },
          [&](const PutForward& o) {
            return on_device([&](IfIndex i) { return netlink::put_neighbour({i, {}, o.mac, NUD_PERMANENT, o.to}); });
          },
          [&](const DeleteForward& o) {
            return on_device([&](IfIndex i) { return netlink::delete_neighbour({i, {}, o.mac, 0, o.to}); });
          },
          [&](const PutNexthop& o) -> Result<> {
            if (o.nexthop.direct()) {
              netlink::Nexthop n;
              n.id = o.nexthop.id;
              n.link = o.nexthop.link;
              n.gateway = o.nexthop.gateway;
              n.onlink = true;
              n.protocol = kRouteProtocol;
              return call(netlink::put_nexthop(n));
            }
            return on_any(o.nexthop.through(), [&](IfIndex i) {
              netlink::Nexthop n;
              n.id = o.nexthop.id;
              n.link = i;
              n.gateway = o.nexthop.gateway;
              n.onlink = true;
              n.protocol = kRouteProtocol;
              if (o.nexthop.through() == Through::vxlan)
                n.encap = netlink::Nexthop::Encap{o.nexthop.vni, o.nexthop.to, o.nexthop.from, o.nexthop.checksum};
              return netlink::put_nexthop(n);
            });
          },
          [&](const DeleteNexthop& o) { return call(netlink::delete_nexthop(o.id)); },
          [&](const AddRoute& o) { return add_route(o.route); },
          [&](const ReplaceRoute& o) -> Result<> {
            if (auto link = device(); !link && !o.route.unreachable) return std::move(link).error();
            return call(netlink::put_route(wire(o.route)));
          },
          [&](const DeleteRoute& o) { return call(netlink::delete_route(wire(o.route))); },
      },
      op);
}

Result<> KernelLinux::commit(nft::Batch batch) {
  guards_known_ = false;  // read back before it is believed
  return session_.commit(batch);
}

Result<> KernelLinux::set_sysctl(const SetSysctl& op) {
  if (op.key == "net/ipv6/conf/all/forwarding")
    if (auto kept = keep_router_advertisements(); !kept) return kept;
  if (op.key.find(std::string("/") + kDevice + "/") != std::string::npos)
    if (auto link = device(); !link) return std::move(link).error();
  if (op.key.find(std::string("/") + kTunnelDevice + "/") != std::string::npos)
    if (auto link = tunnel(); !link) return std::move(link).error();
  if (op.key.find(std::string("/") + kWireguardDevice + "/") != std::string::npos)
    if (auto link = wireguard(); !link) return std::move(link).error();
  auto done = base::write_knob("/proc/sys/" + op.key, op.value);
  if (!done && op.optional && done.error().is(std::errc::no_such_file_or_directory)) return {};
  return done;
}

// A host that forwards stops listening to router advertisements, and forgets the default routes it learnt from them,
// unless accept_ra is 2. So the links that have such a route are told to go on before forwarding begins.
Result<> KernelLinux::keep_router_advertisements() {
  auto reply = dump(netlink::list_routes(Family::v6, kProtocolRa));
  if (!reply) return std::move(reply).error();
  for (const auto& part : *reply) {
    auto route = netlink::decode_route(part);
    if (!route) return std::move(route).error();
    if (route->protocol != kProtocolRa || route->destination.length() != 0 || !route->link.value) continue;
    auto request = netlink::get_link(route->link);
    auto found = client_.call(request);
    if (!found || found->empty()) continue;
    auto link = netlink::decode_link(found->front());
    if (!link) return std::move(link).error();
    auto key = "/proc/sys/net/ipv6/conf/" + link->name + "/accept_ra";
    if (base::read_file(key).value_or(std::string()) != "1\n") continue;
    if (auto done = base::write_knob(key, "2"); !done) return done;
    base::logger("overlay")->info(
        "set accept_ra=2 on {}: this node forwards IPv6 and {} has its default route from "
        "router advertisements",
        link->name, link->name);
  }
  return {};
}

Result<> KernelLinux::create_device(const CreateDevice& op) {
  device_failed_ = true;
  auto done = call(netlink::create_vxlan(kDevice, op.vxlan, op.mac, op.mtu));
  if (!done) {
    if (!done.error().is(std::errc::file_exists)) return done;
    return Error::text(fmt::format("cannot make {}: {} already takes all VXLAN packets on UDP port {}; remove it, or "
                                   "give the cluster another overlay port",
                                   kDevice, udp_port_owner(op.vxlan.port), op.vxlan.port),
                       std::errc::file_exists);
  }
  auto link = find_link(kDevice);
  if (!link) return std::move(link).error();
  if (!*link) return Error::from_errno(ENODEV, fmt::format("{} vanished as soon as it was made", kDevice));
  device_ = (*link)->index;
  device_failed_ = false;
  return call(netlink::set_link_alias(*device_, kAlias));  // the kernel ignores an alias in the create call
}

Result<> KernelLinux::set_up(std::uint16_t port) {
  auto link = device();
  if (!link) return std::move(link).error();
  auto done = call(netlink::set_link_up(*link, true));
  if (done) return {};
  device_failed_ = true;
  if (!done.error().is(std::errc::address_in_use)) return done;
  return Error::text(fmt::format("cannot bring {} up: UDP port {} is taken by {}; stop it, or give the cluster another "
                                 "overlay port (tried again until it is free)",
                                 kDevice, port, udp_port_owner(port)),
                     std::errc::address_in_use);
}

Result<> KernelLinux::create_wireguard(const CreateWireguard& op) {
  wireguard_failed_ = true;
  if (auto done = call(netlink::create_wireguard(kWireguardDevice, op.mtu)); !done) return done;
  auto link = find_link(kWireguardDevice);
  if (!link) return std::move(link).error();
  if (!*link) return Error::from_errno(ENODEV, fmt::format("{} vanished as soon as it was made", kWireguardDevice));
  wireguard_ = (*link)->index;
  if (auto done = wireguard_port_.configure(*wireguard_, op.port); !done) return done;
  wireguard_failed_ = false;
  return call(netlink::set_link_alias(*wireguard_, kAlias));
}

Result<> KernelLinux::set_wireguard_up(std::uint16_t port) {
  auto link = wireguard();
  if (!link) return std::move(link).error();
  auto done = call(netlink::set_link_up(*link, true));
  if (done) return {};
  wireguard_failed_ = true;
  if (!done.error().is(std::errc::address_in_use)) return done;
  return Error::text(fmt::format("cannot bring {} up: UDP port {} is taken by {}; stop it, or give the agent another "
                                 "one (--wireguard-port; tried again until it is free; the sealed tunnel is used)",
                                 kWireguardDevice, port, udp_port_owner(port)),
                     std::errc::address_in_use);
}

netlink::Route KernelLinux::wire(const Route& route) const {
  netlink::Route r;
  r.destination = route.to;
  r.metric = route.metric;
  r.protocol = kRouteProtocol;
  r.source = route.source;
  r.mtu = route.mtu;
  r.nexthop_id = route.nexthop;
  if (route.unreachable) {
    r.type = RTN_UNREACHABLE;
  } else if (!route.nexthop) {
    r.gateway = route.gateway;
    r.onlink = route.gateway.has_value();
    if (device_) r.link = *device_;
  }
  return r;
}

Result<> KernelLinux::add_route(const Route& route) {
  if (!route.unreachable)
    if (auto link = device(); !link) return std::move(link).error();
  auto done = call(netlink::add_route(wire(route)));
  if (!done && done.error().is(std::errc::file_exists))
    return Error::text(
        fmt::format("{} is routed by somebody else; trama touches only its own routes: look at `ip route "
                    "show {}` and remove that one",
                    route.to.to_string(), route.to.to_string()),
        std::errc::file_exists);
  return done;
}

}  // namespace trama::overlay
