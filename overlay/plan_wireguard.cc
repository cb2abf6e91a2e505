// SPDX-License-Identifier: GPL-2.0-or-later
// Which keys trama2 should know, and for whom. Pure.
//
// A peer's prefixes are its pods' and nothing else: the kernel takes a packet from a peer only if its source is one of
// them, and seals a packet for the peer that its destination belongs to. The kernel moves a prefix from one peer to
// another without a word; peers that are admitted have none in common, so nothing is ever moved back and forth.
#include <algorithm>

#include "overlay/plan.h"

namespace trama::overlay {
namespace {

std::vector<Cidr> sorted(std::vector<Cidr> cidrs) {
  std::sort(cidrs.begin(), cidrs.end());
  return cidrs;
}

// What stands in the kernel for those pods.
const netlink::WireguardPeer* standing(const WireguardDevice& device, const std::vector<Cidr>& pods) {
  auto found =
      std::find_if(device.peers.begin(), device.peers.end(), [&](const auto& p) { return p.second.allowed == pods; });
  return found == device.peers.end() ? nullptr : &found->second;
}

}  // namespace

WireguardWish wanted_wireguard(const Desired& desired, const Observed& observed) {
  WireguardWish out;
  std::map<base::WireguardKey, std::vector<std::string>> claims;
  auto admitted = admit(desired);
  if (observed.wireguard && observed.wireguard->own_key && !observed.wireguard->key.is_zero())
    claims[observed.wireguard->key].push_back(desired.node);
  for (const auto* peer : admitted.peers)
    if (peer->wireguard) claims[peer->wireguard->key].push_back(peer->node);
  for (const auto* peer : admitted.peers) {
    auto pods = sorted(peer->pod_cidrs);
    if (pods.empty()) continue;
    WireguardWish::Entry entry;
    entry.node = peer->node;
    if (peer->wireguard) {
      const auto& who = claims.at(peer->wireguard->key);
      if (who.size() > 1) {
        out.refused.push_back(fmt::format(
            "peer {} has no WireGuard: it names a key that is also that of {}; one of them pretends, or both "
            "run on copies of one machine: restart the agents with `ip link del {}` before",
            peer->node, who.front() == peer->node ? who.back() : who.front(), kWireguardDevice));
        continue;
      }
      entry.peer.key = peer->wireguard->key;
      entry.peer.endpoint = base::IpPort{peer->way ? peer->way->to : peer->underlay, peer->wireguard->port};
      entry.peer.allowed = pods;
    } else if (!peer->told && observed.wireguard) {
      const auto* kept = standing(*observed.wireguard, pods);
      if (!kept || claims.contains(kept->key)) continue;
      entry.peer = *kept;
    } else {
      continue;
    }
    out.nodes.insert(entry.node);
    out.peers.emplace(entry.peer.key, std::move(entry));
  }
  return out;
}

}  // namespace trama::overlay
