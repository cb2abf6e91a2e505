// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/plan_remotes.h"

namespace trama::overlay {
namespace {

constexpr std::uint16_t kSourcePortLow = 32768, kSourcePortHigh = 60999;  // free of 6783 to 6785

}  // namespace

std::vector<Remote> resolve(const Desired& desired, const std::vector<const Peer*>& peers) {
  std::vector<Remote> out;
  for (const auto* peer : peers) {
    Remote r{peer, vtep_mac(desired.cluster_id, peer->node), {}, {}, {}};
    auto finish = [&] {
      if (desired.tunnel) std::swap(r.gateway, r.former);
      if (!r.pods.empty()) out.push_back(r);
      r.pods.clear();
    };
    // IPv4 routes go through an IPv6 gateway just as well, so one nexthop serves both families; but not if only one of
    // them can leave the overlay.
    for (Family f : {Family::v4, Family::v6}) {
      auto *theirs = cidr_of(peer->pod_cidrs, f), *ours = cidr_of(desired.pod_cidrs, f);
      if (!theirs || !ours) continue;
      bool plain = desired.direct && goes_direct(desired.underlay.family(), f);
      if (plain != r.plain) finish();
      r.plain = plain;
      r.pods.emplace_back(*theirs, vtep_ip(*ours));
      r.gateway = vtep_ip(*theirs);
      r.former = tunnel_gateway(r.gateway, r.mac);
    }
    finish();
  }
  return out;
}

netlink::Vxlan wanted_vxlan(const Desired& d, Mode mode) {
  netlink::Vxlan v;
  v.port = d.port;
  v.source_port_low = kSourcePortLow;
  v.source_port_high = kSourcePortHigh;
  v.external = mode == Mode::nexthop;
  if (!v.external) {
    v.vni = d.vni;
    v.local = d.underlay;
  }
  return v;
}

Path path_of(Through through) {
  switch (through) {
    case Through::tunnel: return Path::tunnel;
    case Through::link: return Path::direct;
    case Through::wireguard: return Path::wireguard;
    case Through::vxlan: break;
  }
  return Path::vxlan;
}

}  // namespace trama::overlay
