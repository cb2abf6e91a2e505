// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/probe.h"

#include <thread>

#include <linux/netlink.h>
#include <sched.h>

#include "base/netlink/client.h"
#include "base/netlink/wireguard.h"

namespace trama::overlay {
namespace {
using base::Error;
using base::Result;

Result<> try_nexthops() {
  if (unshare(CLONE_NEWNET) < 0) return Error::from_errno(errno, "make a namespace to try the kernel in");
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error();
  // Without a single address the kernel refuses every gateway.
  auto find_lo = netlink::get_link("lo");
  auto lo = client->call(find_lo);
  if (!lo) return std::move(lo).error();
  if (lo->empty()) return Error::from_errno(ENODEV, "lo");
  auto loopback = netlink::decode_link(lo->front());
  if (!loopback) return std::move(loopback).error();
  auto lo_up = netlink::set_link_up(loopback->index, true);
  if (auto done = client->call(lo_up); !done) return std::move(done).error();
  netlink::Vxlan vxlan;
  vxlan.external = true;
  vxlan.port = kDataPort;
  auto create = netlink::create_vxlan("probe", vxlan, Mac{{2, 0, 0, 0, 0, 1}}, 1450);
  if (auto done = client->call(create); !done) return std::move(done).error();
  auto find = netlink::get_link("probe");
  auto found = client->call(find);
  if (!found) return std::move(found).error();
  if (found->empty()) return Error::from_errno(ENODEV, "probe");
  auto link = netlink::decode_link(found->front());
  if (!link) return std::move(link).error();
  if (!link->vxlan || !link->vxlan->external)
    return Error::text("the kernel ignores VXLAN's external mode", std::errc::not_supported);
  auto up = netlink::set_link_up(link->index, true);
  if (auto done = client->call(up); !done) return std::move(done).error();
  netlink::Nexthop nexthop;
  nexthop.id = 1;
  nexthop.link = link->index;
  nexthop.gateway = Ip::v4(192, 0, 2, 1);
  nexthop.onlink = true;
  nexthop.encap = netlink::Nexthop::Encap{Vni{1}, Ip::v4(192, 0, 2, 2), Ip::v4(192, 0, 2, 3), true};
  auto put = netlink::put_nexthop(nexthop);
  if (auto done = client->call(put); !done) return std::move(done).error();
  return {};
}

Result<> try_wireguard() {
  if (unshare(CLONE_NEWNET) < 0) return Error::from_errno(errno, "make a namespace to try the kernel in");
  auto client = netlink::Client::open(NETLINK_ROUTE);
  if (!client) return std::move(client).error();
  auto create = netlink::create_wireguard("probe", 1420);
  if (auto done = client->call(create); !done) return std::move(done).error();
  auto generic = netlink::Client::open(NETLINK_GENERIC);
  if (!generic) return std::move(generic).error();
  auto find = netlink::find_family("wireguard");
  if (auto done = generic->call(find); !done) return std::move(done).error();
  return {};
}

}  // namespace

std::string probe_wireguard() {
  std::string why;
  std::thread([&] {
    auto tried = try_wireguard();
    if (tried) return;
    why = tried.error().is(std::errc::operation_not_supported)
              ? "this kernel has no WireGuard (CONFIG_WIREGUARD)"
              : fmt::format("WireGuard cannot be used: {}", tried.error().to_string());
  }).join();
  return why;
}

Probe probe_mode() {
  Probe out;
  std::thread([&] {
    auto tried = try_nexthops();
    if (tried) return;
    out.mode = Mode::fdb;
    out.why = tried.error().to_string();
  }).join();
  return out;
}

}  // namespace trama::overlay
