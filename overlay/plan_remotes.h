// SPDX-License-Identifier: GPL-2.0-or-later
// What a plan is made of before it is compared with the kernel. Private to plan.cc; pure.
#pragma once

#include <vector>

#include "overlay/plan.h"

namespace trama::overlay {

// One peer, resolved: what has to be in the kernel for it.
struct Remote {
  const Peer* peer;
  Mac mac;
  std::vector<std::pair<Cidr, Ip>> pods;  // prefix, our source address towards it
  Ip gateway;                             // nexthop mode: the one gateway of all its routes
  Ip former;                              // the one that it had without a tunnel, or would have with one
  bool plain = false;                     // these pods' packets can go over the link as they are
  Path path = Path::vxlan;                // never keep
  Way way{};                              // between the first addresses without nexthop objects
};

std::vector<Remote> resolve(const Desired& desired, const std::vector<const Peer*>& peers);
netlink::Vxlan wanted_vxlan(const Desired& desired, Mode mode);
Path path_of(Through through);

}  // namespace trama::overlay
