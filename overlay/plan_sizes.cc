// SPDX-License-Identifier: GPL-2.0-or-later
// What size of packets the devices and pods should have. Pure.
#include <algorithm>

#include "overlay/plan.h"

namespace trama::overlay {

unsigned uplink_mtu(const Desired& desired, const Observed& observed, const Ip& address) {
  if (desired.underlay_mtu) return desired.underlay_mtu;
  auto uplink = observed.uplinks.find(address);
  return uplink == observed.uplinks.end() ? 0 : uplink->second.mtu;
}

namespace {

// Of the uplink that takes the largest packets: routes say where less passes. 0 = none is there.
unsigned largest_uplink(const Desired& desired, const Observed& observed) {
  if (desired.further.empty() || observed.mode != Mode::nexthop) return uplink_mtu(desired, observed, desired.underlay);
  unsigned largest = 0;
  for (const auto& ip : uplinks_of(desired)) largest = std::max(largest, uplink_mtu(desired, observed, ip));
  return largest;
}

}  // namespace

unsigned wanted_mtu(const Desired& desired, const Observed& observed) {
  if (auto largest = largest_uplink(desired, observed)) return overlay_mtu(desired, largest);
  // The address has gone for a moment (DHCP, a cable): keep what we have rather than guess.
  return observed.device && observed.device->mtu ? observed.device->mtu : overlay_mtu(desired, 0);
}

unsigned wanted_tunnel_mtu(const Desired& desired, const Observed& observed) {
  if (!desired.tunnel || observed.mode != Mode::nexthop || !observed.no_tunnel.empty()) return 0;
  if (auto largest = largest_uplink(desired, observed)) return tunnel_mtu(desired, largest);
  return observed.tunnel && observed.tunnel->mtu ? observed.tunnel->mtu : tunnel_mtu(desired, 0);
}

unsigned wanted_wireguard_mtu(const Desired& desired, const Observed& observed) {
  if (!desired.wireguard || !desired.tunnel || observed.mode != Mode::nexthop || !observed.no_wireguard.empty())
    return 0;
  if (auto largest = largest_uplink(desired, observed)) return wireguard_mtu(desired, largest);
  return observed.wireguard && observed.wireguard->mtu ? observed.wireguard->mtu : wireguard_mtu(desired, 0);
}

unsigned wanted_direct_mtu(const Desired& desired, const Observed& observed) {
  if (!desired.direct || desired.encrypt || observed.mode != Mode::nexthop) return 0;
  return uplink_mtu(desired, observed, desired.underlay);
}

unsigned pod_mtu(const Desired& desired, const Observed& observed) {
  auto tunnel = wanted_tunnel_mtu(desired, observed), vxlan = wanted_mtu(desired, observed);
  // Routes tell pods where less passes.
  if (auto direct = wanted_direct_mtu(desired, observed)) return std::max(direct, vxlan);
  if (!desired.encrypt) return vxlan;
  auto wireguard = wanted_wireguard_mtu(desired, observed);
  auto either = tunnel == 0 ? wireguard : wireguard == 0 ? tunnel : std::min(tunnel, wireguard);
  return either > 0 ? std::min(either, vxlan) : vxlan;
}

}  // namespace trama::overlay
