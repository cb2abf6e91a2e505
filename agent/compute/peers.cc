// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/peers.h"

#include <algorithm>

#include "agent/compute/topology.h"

namespace trama::agent {

namespace {

using namespace overlay::peers;

constexpr std::size_t kNamed = 5;  // peers in a message

std::string names_of(const std::vector<std::string>& names) {
  std::vector<std::string> shown(names.begin(),
                                 names.begin() + static_cast<std::ptrdiff_t>(std::min(names.size(), kNamed)));
  auto text = fmt::format("{}", fmt::join(shown, ", "));
  if (names.size() > kNamed) text += fmt::format(" and {} more", names.size() - kNamed);
  return text;
}

PathState overlay_state(const PeerStatus& p) { return p.path(PathKind::overlay).state; }

}  // namespace

World compute_mesh_world(const ClusterView::Objects& nodes, const overlay::Desired& overlay, unsigned mtu,
                         bool controller_heard) {
  World out;
  out.underlay = overlay.underlay;
  out.mtu = mtu;
  out.controller_heard = controller_heard;
  for (const auto& cidr : overlay.pod_cidrs) out.overlay.push_back(overlay::vtep_ip(cidr));
  auto admitted = overlay::admit(overlay);
  for (const auto* peer : admitted.peers) {
    World::Peer p{peer->underlay, std::nullopt};
    for (auto family : {base::Family::v6, base::Family::v4})  // IPv4 where both have it
      if (auto* theirs = overlay::cidr_of(peer->pod_cidrs, family);
          theirs && overlay::cidr_of(overlay.pod_cidrs, family))
        p.overlay = overlay::vtep_ip(*theirs);
    out.peers.emplace(peer->node, p);
  }
  for (const auto& [name, node] : nodes) {
    if (name == overlay.node) continue;
    auto addresses = node_addresses(*node);
    auto address = std::find_if(addresses.begin(), addresses.end(),
                                [&](const base::Ip& ip) { return ip.family() == overlay.underlay.family(); });
    if (address != addresses.end()) out.members.push_back({name, node->revision, *address});
  }
  return out;
}

std::optional<PathVerdict> judge_paths(const MeshStatus& status) {
  auto sum = summarize(status);
  if (sum.peers == 0) return PathVerdict{true, "NoPeers", "there is no other node to reach"};
  if (status.isolated)
    return PathVerdict{false, "Isolated",
                       "no peer answers on any path: this node is cut off; nothing was taken down for it"};
  std::vector<std::string> down;
  std::string why;
  for (const auto& p : status.peers) {
    if (overlay_state(p) != PathState::down) continue;
    down.push_back(p.node);
    if (why.empty()) why = p.path(PathKind::overlay).reason;
  }
  if (!down.empty())
    return PathVerdict{false, "PeersUnreachable",
                       fmt::format("not reached through the overlay: {} ({})", names_of(down), why)};
  if (sum.pending > 0) return std::nullopt;
  return PathVerdict{true, "AllPeersReachable", fmt::format("peers reached through the overlay: {}", sum.peers)};
}

std::vector<PathEvent> path_events(const MeshStatus& before, const MeshStatus& after) {
  std::vector<PathEvent> out;
  std::vector<std::string> went, came;
  const PeerStatus* one_down = nullptr;
  const PeerStatus* one_up = nullptr;
  std::uint64_t downs = 0;
  for (const auto& p : after.peers) {
    auto old = std::find_if(before.peers.begin(), before.peers.end(), [&](const auto& q) { return q.node == p.node; });
    if (old == before.peers.end()) continue;
    auto was = overlay_state(*old), is = overlay_state(p);
    downs = std::max(downs, p.path(PathKind::overlay).downs);
    if (is == PathState::down && was != PathState::down) {
      went.push_back(p.node);
      one_down = &p;
    }
    if (was == PathState::down && works(is)) {
      came.push_back(p.node);
      one_up = &p;
    }
  }
  // The ordinal makes each one a new event: the same words twice would count as one.
  if (went.size() == 1)
    out.push_back({true, "OverlayPathDown",
                   fmt::format("vxlan to {} is down: {} (number {})", one_down->node,
                               one_down->path(PathKind::overlay).reason, one_down->path(PathKind::overlay).downs)});
  else if (!went.empty())
    out.push_back({true, "OverlayPathDown", fmt::format("vxlan is down to {} (number {})", names_of(went), downs)});
  if (came.size() == 1)
    out.push_back(
        {false, "OverlayPathUp",
         fmt::format("vxlan to {} works again (number {})", one_up->node, one_up->path(PathKind::overlay).downs)});
  else if (!came.empty())
    out.push_back({false, "OverlayPathUp", fmt::format("vxlan works again to {} (number {})", names_of(came), downs)});
  if (after.isolated && !before.isolated)
    out.push_back(
        {true, "OverlayIsolated", fmt::format("no peer answers on any path: this node is cut off (number {})", downs)});
  if (!after.isolated && before.isolated)
    out.push_back({false, "OverlayRejoined", fmt::format("peers answer again (number {})", downs)});
  return out;
}

}  // namespace trama::agent
