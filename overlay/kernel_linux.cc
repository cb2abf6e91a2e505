// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/kernel_linux.h"

#include <algorithm>

#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "base/file.h"
#include "base/log.h"
#include "overlay/guards_table.h"
#include "overlay/probe.h"
#include "overlay/tunnel/tun_device.h"

namespace trama::overlay {

using base::Error;
using base::IfIndex;
using base::Result;

namespace {

constexpr std::uint32_t kDefaultMetricV6 = 1024;

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
  if (options.wireguard) kernel->no_wireguard_ = probe_wireguard();
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
  if (auto done = observe_wireguard(out); !done) return std::move(done).error();
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

Result<> KernelLinux::observe_wireguard(Observed& out) {
  out.no_wireguard = no_wireguard_;
  wireguard_failed_ = false;
  wireguard_.reset();
  auto link = find_link(kWireguardDevice);
  if (!link) return std::move(link).error();
  if (!*link) {
    wireguard_port_.gone();
    return {};
  }
  wireguard_ = (*link)->index;
  WireguardDevice device;
  device.index = (*link)->index;
  device.kind = (*link)->kind;
  device.alias = (*link)->alias;
  device.mtu = (*link)->mtu;
  device.up = (*link)->up;
  if (device.kind == "wireguard") {
    auto seen = wireguard_port_.observe(device.index, device);
    if (!seen && seen.error().is(std::errc::no_such_device)) {  // deleted meanwhile
      wireguard_.reset();
      return {};
    }
    if (!seen) return seen;
  }
  out.wireguard = std::move(device);
  return {};
}

bool KernelLinux::wireguard_touched() {
  if (!wireguard_) return false;
  auto touched = wireguard_port_.touched();
  return !touched || *touched;
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
    if (wireguard_ && address->link == *wireguard_) {
      out.wireguard_addresses[address->ip] = address->length;
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
    bool on_wireguard = wireguard_ && n->link == *wireguard_;
    bool direct = !on_tunnel && !on_device && !on_wireguard && in_range && n->link.value != 0 && !n->encap;
    if ((!on_tunnel && !on_device && !on_wireguard && !direct) || n->protocol != kRouteProtocol) {
      out.foreign_nexthops.insert(n->id);
      continue;
    }
    Nexthop mine;
    mine.tunnel = on_tunnel;
    mine.wireguard = on_wireguard;
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

}  // namespace trama::overlay
