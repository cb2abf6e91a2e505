// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/kernel_linux.h"

#include <algorithm>

#include <linux/if_addr.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "base/file.h"
#include "base/log.h"
#include "overlay/guards_table.h"
#include "overlay/port_owner.h"
#include "overlay/probe.h"
#include "overlay/tunnel/tun_device.h"

namespace trama::overlay {

using base::Error;
using base::IfIndex;
using base::Result;

namespace {

constexpr std::uint32_t kDefaultMetricV6 = 1024;
constexpr std::uint8_t kProtocolRa = 9;  // RTPROT_RA

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

bool absent_protocol(const Error& e) {
  return e.is(std::errc::operation_not_supported) || e.is(std::errc::address_family_not_supported);
}

}  // namespace

Result<std::unique_ptr<KernelLinux>> KernelLinux::open(nft::Session& session, Options options) {
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error().in("overlay");
  std::unique_ptr<KernelLinux> kernel(new KernelLinux(std::move(*client), session));
  if (options.mode) {
    kernel->mode_ = *options.mode;
  } else {
    auto probed = probe_mode();
    kernel->mode_ = probed.mode;
    kernel->mode_reason_ = probed.why;
    if (!probed.why.empty())
      base::logger("overlay")->warn("static FDB entries instead of nexthop objects, because: {}", probed.why);
  }
  return kernel;
}

Result<> KernelLinux::call(netlink::Request request) {
  auto done = client_.call(request);
  if (!done) return std::move(done).error();
  return {};
}

Result<netlink::Reply> KernelLinux::dump(netlink::Request request) { return client_.dump(request); }

// ---- looking ------------------------------------------------------------------------------------------------------

Result<std::optional<netlink::Link>> KernelLinux::find_link(const char* name) {
  auto request = netlink::get_link(std::string(name));
  auto reply = client_.call(request);
  if (!reply) {
    if (reply.error().is(std::errc::no_such_device)) return std::optional<netlink::Link>();
    return std::move(reply).error();
  }
  if (reply->empty()) return Error::from_errno(EBADMSG, fmt::format("find link {}: no answer", name));
  auto link = netlink::decode_link(reply->front());
  if (!link) return std::move(link).error();
  return std::optional<netlink::Link>(std::move(*link));
}

Result<Observed> KernelLinux::observe() {
  Observed out;
  out.mode = mode_;
  device_failed_ = false;
  tunnel_failed_ = false;
  auto link = find_link(kDevice);
  if (!link) return std::move(link).error();
  if (!tunnel_possible_) {
    auto possible = tunnel::can_make_tun();
    tunnel_possible_ = static_cast<bool>(possible);
    if (!possible) out.no_tunnel = possible.error().to_string();
    if (!possible && !std::exchange(said_no_tunnel_, true))
      base::logger("overlay")->warn("no second path to other nodes, for when VXLAN does not pass: {}", out.no_tunnel);
  }
  auto other = find_link(kTunnelDevice);
  if (!other) return std::move(other).error();
  device_.reset();
  tunnel_.reset();
  if (*other) {
    tunnel_ = (*other)->index;
    out.tunnel =
        TunnelDevice{(*other)->index, (*other)->kind, (*other)->alias, (*other)->mtu, (*other)->up, (*other)->carrier};
  }
  if (*link) {
    device_ = (*link)->index;
    Device d;
    d.index = (*link)->index;
    d.kind = (*link)->kind;
    d.alias = (*link)->alias;
    if ((*link)->vxlan) d.vxlan = *(*link)->vxlan;
    d.mac = (*link)->mac;
    d.mtu = (*link)->mtu;
    d.up = (*link)->up;
    out.device = std::move(d);
  }
  for (auto look : {&KernelLinux::observe_addresses, &KernelLinux::observe_neighbours, &KernelLinux::observe_nexthops,
                    &KernelLinux::observe_routes, &KernelLinux::observe_guards})
    if (auto done = (this->*look)(out); !done) return std::move(done).error();
  for (const auto& key : watched_sysctls())
    if (auto value = base::read_file("/proc/sys/" + key)) out.sysctls[key] = trimmed(std::move(*value));
  return out;
}

Result<> KernelLinux::observe_addresses(Observed& out) {
  auto reply = dump(netlink::list_addresses());
  if (!reply) return std::move(reply).error();
  std::map<std::uint32_t, std::optional<Uplink>> links;
  for (const auto& part : *reply) {
    auto address = netlink::decode_address(part);
    if (!address) return std::move(address).error();
    if (address->ip.is_link_local()) continue;
    if (device_ && address->link == *device_) {
      out.addresses[address->ip] = address->length;
      continue;
    }
    if (tunnel_ && address->link == *tunnel_) {
      out.tunnel_addresses[address->ip] = address->length;
      continue;
    }
    auto [known, fresh] = links.try_emplace(address->link.value);
    if (fresh) {
      auto request = netlink::get_link(address->link);
      auto found = client_.call(request);
      if (!found && !found.error().is(std::errc::no_such_device)) return std::move(found).error();
      if (found && !found->empty()) {
        auto link = netlink::decode_link(found->front());
        if (!link) return std::move(link).error();
        known->second = Uplink{link->index, link->name, link->mtu, link->mac, 0};
      }
    }
    if (!known->second) continue;
    auto& uplink = out.uplinks[address->ip] = *known->second;
    uplink.prefix = address->length;
  }
  return {};
}

Result<> KernelLinux::observe_neighbours(Observed& out) {
  if (!device_) return {};
  for (Family f : {Family::v4, Family::v6}) {
    auto reply = dump(netlink::list_neighbours(f, *device_));
    if (!reply) {
      if (absent_protocol(reply.error())) continue;
      return std::move(reply).error();
    }
    for (const auto& part : *reply) {
      auto n = netlink::decode_neighbour(part);
      if (!n) return std::move(n).error();
      if (n->link == *device_ && (n->state & NUD_PERMANENT)) out.neighbours[n->ip] = n->mac;
    }
  }
  if (out.device->kind != "vxlan") return {};
  auto reply = dump(netlink::list_fdb(*device_));
  if (!reply) return std::move(reply).error();
  for (const auto& part : *reply) {
    auto n = netlink::decode_neighbour(part);
    if (!n) return std::move(n).error();
    if (n->link == *device_ && n->fdb_destination) out.forwards[n->mac].insert(*n->fdb_destination);
  }
  return {};
}

Result<> KernelLinux::observe_nexthops(Observed& out) {
  auto reply = dump(netlink::list_nexthops());
  if (!reply) {
    if (mode_ == Mode::fdb) return {};  // a kernel without them
    return std::move(reply).error();
  }
  for (const auto& part : *reply) {
    auto n = netlink::decode_nexthop(part);
    if (!n) return std::move(n).error();
    bool on_tunnel = tunnel_ && n->link == *tunnel_, on_device = device_ && n->link == *device_;
    bool in_range = n->id >= kNexthopBase && n->id < kNexthopBase + kNexthopRange;
    bool direct = !on_tunnel && !on_device && in_range && n->link.value != 0 && !n->encap;
    if ((!on_tunnel && !on_device && !direct) || n->protocol != kRouteProtocol) {
      out.foreign_nexthops.insert(n->id);
      continue;
    }
    Nexthop mine;
    mine.tunnel = on_tunnel;
    if (direct) mine.link = n->link;
    mine.id = n->id;
    if (n->gateway) mine.gateway = *n->gateway;
    if (n->encap) {
      mine.vni = n->encap->vni;
      mine.to = n->encap->destination;
      mine.checksum = n->encap->checksum;
      if (n->encap->source) mine.from = *n->encap->source;
    }
    out.nexthops.emplace(mine.id, mine);
  }
  return {};
}

Result<> KernelLinux::observe_routes(Observed& out) {
  for (Family f : {Family::v4, Family::v6}) {
    auto reply = dump(netlink::list_routes(f, kRouteProtocol));
    if (!reply) {
      if (absent_protocol(reply.error())) continue;
      return std::move(reply).error();
    }
    for (const auto& part : *reply) {
      auto r = netlink::decode_route(part);
      if (!r) return std::move(r).error();
      if (r->protocol != kRouteProtocol || r->table != RT_TABLE_MAIN) continue;
      Route mine;
      mine.to = r->destination;
      mine.metric = f == Family::v6 && r->metric == kDefaultMetricV6 ? 0 : r->metric;
      bool fence = r->type == RTN_UNREACHABLE && r->metric == kFenceMetric;
      bool through = (r->nexthop_id && out.nexthops.count(r->nexthop_id)) || (device_ && r->link == *device_);
      if (fence) {
        mine.unreachable = true;
      } else if (through && r->type == RTN_UNICAST) {
        mine.nexthop = r->nexthop_id;
        if (!r->nexthop_id) mine.gateway = r->gateway;
        mine.source = r->source;
        mine.mtu = r->mtu;
      } else {
        continue;  // the sandboxes' routes carry the same protocol
      }
      out.routes.emplace(RouteKey{mine.to, mine.metric}, mine);
    }
  }
  return {};
}

Result<> KernelLinux::observe_guards(Observed& out) {
  auto epoch = session_.epoch();
  if (!epoch) return std::move(epoch).error();
  auto expiring = [](const auto& map) {
    for (const auto& [key, element] : map)
      if (element.expiring) return true;
    return false;
  };
  // Elements that expire do so without a commit.
  bool fresh =
      guards_known_ && guards_epoch_ == *epoch && !(guards_ && (expiring(guards_->peers) || expiring(guards_->pods)));
  if (!fresh) {
    guards_known_ = false;
    guards_.reset();
    auto table = guard_table_name();
    auto tables = session_.tables(nft::Family::inet);
    if (!tables) return std::move(tables).error();
    for (auto& seen : *tables) {
      if (seen.name != table.name) continue;
      GuardDump dumped;
      dumped.table = seen;
      auto chains = session_.chains(table);
      if (!chains) return std::move(chains).error();
      dumped.chains = std::move(*chains);
      auto rules = session_.rules(table);
      if (!rules) return std::move(rules).error();
      dumped.rules = std::move(*rules);
      auto sets = session_.sets(table);
      if (!sets) return std::move(sets).error();
      for (const auto& set : *sets)
        if (set.name == kPeersSet) guards_underlay_ = set.key_length == 16 ? Family::v6 : Family::v4;
      GuardFrame shape;
      shape.underlay = guards_underlay_;
      shape.encrypt = true;  // of all sets there can be
      shape.uplink = "any";
      for (auto& expected : guard_table(shape).sets) {
        auto set = std::find_if(sets->begin(), sets->end(), [&](auto& s) { return s.name == expected.set.name; });
        // A set of another make is not read: its definition alone gets the table replaced.
        if (set == sets->end() || !set->matches(expected.set)) continue;
        auto elements = session_.elements(table, expected.set);
        if (!elements) return std::move(elements).error();
        dumped.sets.push_back({std::move(*set), std::move(*elements)});
        sets->erase(set);
      }
      for (auto& set : *sets) dumped.sets.push_back({std::move(set), {}});
      guards_ = read_guards(dumped);
    }
    guards_known_ = true;
    guards_epoch_ = *epoch;
  }
  out.guards = guards_;
  return {};
}

bool KernelLinux::guards_touched() {
  if (!guards_known_) return true;  // after a commit of ours: read back
  auto epoch = session_.epoch();
  return !epoch || *epoch != guards_epoch_;
}

// ---- changing -----------------------------------------------------------------------------------------------------

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
  auto on_either = [&](bool through_tunnel, auto make) -> Result<> {
    return through_tunnel ? on_tunnel(make) : on_device(make);
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
          [&](const PutAddress& o) {
            // No duplicate address detection: until it has ended, routes may not use the address as their source.
            // What must never be a source has scope host; IPv6 derives scopes, there it is deprecated.
            return on_either(o.tunnel, [&](IfIndex i) {
              bool hidden4 = o.never_source && o.ip.is_v4(), hidden6 = o.never_source && !o.ip.is_v4();
              std::uint32_t flags = (o.ip.is_v4() ? 0u : IFA_F_NODAD) | (hidden6 ? IFA_F_DEPRECATED : 0u);
              std::uint8_t scope = hidden4 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
              return netlink::put_address({i, o.ip, o.ip.bits(), flags, scope});
            });
          },
          [&](const DeleteAddress& o) {
            return on_either(o.tunnel, [&](IfIndex i) { return netlink::delete_address({i, o.ip, o.length, 0, 0}); });
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
            return on_either(o.nexthop.tunnel, [&](IfIndex i) {
              netlink::Nexthop n;
              n.id = o.nexthop.id;
              n.link = i;
              n.gateway = o.nexthop.gateway;
              n.onlink = true;
              n.protocol = kRouteProtocol;
              if (!o.nexthop.tunnel)
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
    if (trimmed(base::read_file(key).value_or(std::string())) != "1") continue;
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
