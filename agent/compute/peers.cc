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

const PeerStatus* find_peer(const MeshStatus& s, const std::string& node) {
  auto it = std::find_if(s.peers.begin(), s.peers.end(), [&](const auto& p) { return p.node == node; });
  return it == s.peers.end() ? nullptr : &*it;
}

// Packets have begun to go over a third node, over another one, or do not any more.
std::optional<PathEvent> relay_event(const PeerStatus& old, const PeerStatus& p) {
  if (p.use == Use::relay && (old.use != Use::relay || (old.via != p.via && !p.via.empty())))
    return PathEvent{
        true, "OverlayRelayUsed",
        fmt::format("packets to {} go over {}, because of {} (number {})", p.node, p.via, p.why, p.switches)};
  if (p.use != Use::relay && old.use == Use::relay)
    return PathEvent{false, "OverlayRelayLeft",
                     fmt::format("packets to {} take {} again (number {})", p.node, to_string(p.use), p.switches)};
  return std::nullopt;
}

const WayStatus* used_way(const PeerStatus& p) {
  auto way = std::find_if(p.ways.begin(), p.ways.end(), [](const WayStatus& w) { return w.used; });
  return way == p.ways.end() || !p.way_known ? nullptr : &*way;
}

// It is reached over another of its uplinks, or of ours.
std::optional<PathEvent> uplink_event(const PeerStatus& old, const PeerStatus& p) {
  const auto *before = used_way(old), *now = used_way(p);
  if (!before || !now || (before->here == now->here && before->there == now->there)) return std::nullopt;
  bool best = now == &p.ways.front();
  auto way = way_text(now->here, now->there);
  return PathEvent{
      !best, best ? "OverlayUplinkRestored" : "OverlayUplinkSwitched",
      best ? fmt::format("{} is reached over {} again (number {})", p.node, way, p.way_switches)
           : fmt::format("{} is reached over {}, because {} (number {})", p.node, way, p.way_why, p.way_switches)};
}

// Only what is lost of what there could be is a warning.
std::optional<PathEvent> wireguard_event(const PeerStatus& old, const PeerStatus& p) {
  if (p.use == Use::wireguard && is_sealed(old.use))
    return PathEvent{false, "OverlayWireguardUsed",
                     fmt::format("packets to {} take wireguard (number {})", p.node, p.switches)};
  if (old.use == Use::wireguard && p.use == Use::tunnel)
    return PathEvent{
        true, "OverlayWireguardLeft",
        fmt::format("packets to {} take the tunnel, because of {} (number {})", p.node, p.why, p.switches)};
  return std::nullopt;
}

}  // namespace

World compute_mesh_world(const ClusterView::Objects& nodes, const overlay::Desired& overlay,
                         const MeshContext& context) {
  World out;
  out.underlay = overlay.underlay;
  out.mtu = context.mtu;
  out.tunnel_mtu = context.tunnel_mtu;
  out.controller_heard = context.controller_heard;
  out.encrypt = overlay.encrypt;
  if (overlay.direct && !overlay.encrypt) out.plain = context.plain;
  if (overlay.wireguard) out.wireguard = context.wireguard;
  out.no_wireguard = context.no_wireguard;
  out.mac = overlay::vtep_mac(overlay.cluster_id, overlay.node);
  out.vni = overlay.vni;
  out.vxlan_port = overlay.port;
  for (const auto& cidr : overlay.pod_cidrs) out.overlay.push_back(overlay::vtep_ip(cidr));
  if (!overlay.further.empty())
    for (const auto& address : overlay::uplinks_of(overlay)) {
      auto found = std::find_if(context.uplinks.begin(), context.uplinks.end(),
                                [&](const World::Uplink& u) { return u.address == address; });
      out.uplinks.push_back(found == context.uplinks.end() ? World::Uplink{address} : *found);
    }
  auto admitted = overlay::admit(overlay);
  for (const auto* peer : admitted.peers) {
    World::Peer p;
    p.underlay = peer->underlay;
    p.mac = overlay::vtep_mac(overlay.cluster_id, peer->node);
    p.pods = peer->pod_cidrs;
    auto addresses = overlay::uplinks_of(*peer);
    p.further.assign(addresses.begin() + 1, addresses.end());
    p.trusted = std::all_of(addresses.begin(), addresses.end(), [&](const base::Ip& address) {
      return std::any_of(context.trusted.begin(), context.trusted.end(),
                         [&](const base::Cidr& c) { return c.contains(address); });
    });
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
    if (context.controller_heard && node_is_starting(*node)) out.starting.insert(name);
  }
  return out;
}

void use_paths(overlay::Desired& overlay, const MeshStatus& status) {
  for (auto& [name, peer] : overlay.peers) {
    const auto* seen = find_peer(status, name);
    if (!seen) continue;
    peer.clear = overlay.encrypt && !seen->must_encrypt;
    peer.mtu = seen->use == Use::undecided ? 0 : seen->used().mtu;
    peer.direct = seen->direct;
    peer.told = seen->told;
    peer.wireguard = seen->wireguard;
    peer.beside = is_sealed(seen->beside) ? overlay::Path::tunnel : overlay::Path::vxlan;
    peer.beside_mtu = seen->beside == Use::undecided ? 0 : seen->path(path_of(seen->beside)).mtu;
    if (seen->use != Use::direct) peer.beside_mtu = 0;
    peer.way.reset();
    for (const auto& way : seen->ways)
      if (way.used && seen->way_known) peer.way = overlay::Way{way.here, way.there};
    switch (seen->use) {
      case Use::vxlan: peer.path = overlay::Path::vxlan; break;
      case Use::tunnel:
      case Use::relay: peer.path = overlay::Path::tunnel; break;  // into the same device
      case Use::direct: peer.path = overlay::Path::direct; break;
      case Use::wireguard: peer.path = overlay::Path::wireguard; break;
      case Use::undecided: peer.path = overlay::Path::keep; break;
    }
  }
}

std::optional<PathVerdict> judge_paths(const MeshStatus& status) {
  auto sum = summarize(status);
  if (sum.peers == 0) return PathVerdict{true, "NoPeers", "there is no other node to reach"};
  if (status.isolated)
    return PathVerdict{false, "Isolated",
                       "no peer answers on any path: this node is cut off; nothing was taken down for it"};
  std::vector<std::string> down, detours, relayed, sealed_here;
  std::string why;
  for (const auto& p : status.peers) {
    if (p.use == Use::tunnel && !p.must_encrypt) detours.push_back(p.node);
    if (p.use == Use::tunnel && p.wireguard) sealed_here.push_back(p.node);
    if (p.use == Use::relay) relayed.push_back(fmt::format("{} over {}", p.node, p.via));
    if (p.used().state != PathState::down) continue;
    down.push_back(p.node);
    if (why.empty()) why = p.used().reason;
  }
  if (!down.empty())
    return PathVerdict{false, "PeersUnreachable",
                       fmt::format("not reached through the overlay: {} ({})", names_of(down), why)};
  if (sum.pending > 0) return std::nullopt;
  auto text = fmt::format("peers reached through the overlay: {}", sum.peers);
  if (!detours.empty()) text += fmt::format("; by the tunnel, because vxlan is not well: {}", names_of(detours));
  if (!sealed_here.empty())
    text += fmt::format("; by the tunnel, because WireGuard is not well: {}", names_of(sealed_here));
  if (!relayed.empty()) text += fmt::format("; by a third node, because nothing else passes: {}", names_of(relayed));
  return PathVerdict{true, "AllPeersReachable", std::move(text)};
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
  for (const auto& p : after.peers) {
    const auto* old = find_peer(before, p.node);
    if (!old || old->use == Use::undecided) continue;
    if (auto event = uplink_event(*old, p)) out.push_back(std::move(*event));
    if (auto event = relay_event(*old, p)) out.push_back(std::move(*event));
    bool relay = old->use == Use::relay || p.use == Use::relay;
    if (auto event = wireguard_event(*old, p)) out.push_back(std::move(*event));
    if (p.must_encrypt || old->use == p.use || relay) continue;
    if (p.use == Use::direct || (old->use == Use::direct && p.use == Use::vxlan)) {
      bool now_direct = p.use == Use::direct;
      out.push_back({!now_direct, now_direct ? "OverlayDirectUsed" : "OverlayDirectLeft",
                     now_direct
                         ? fmt::format("packets to {} go as they are, over the link (number {})", p.node, p.switches)
                         : fmt::format("packets to {} take vxlan, because of {} (number {})", p.node,
                                       p.why.empty() ? "a change of what both ends offer" : p.why, p.switches)});
      continue;
    }
    bool detour = p.use == Use::tunnel;
    out.push_back(
        {detour, detour ? "OverlayTunnelUsed" : "OverlayTunnelLeft",
         detour ? fmt::format("packets to {} take the tunnel, because of {} (number {})", p.node, p.why, p.switches)
                : fmt::format("packets to {} take vxlan again (number {})", p.node, p.switches)});
  }
  if (after.isolated && !before.isolated)
    out.push_back(
        {true, "OverlayIsolated", fmt::format("no peer answers on any path: this node is cut off (number {})", downs)});
  if (!after.isolated && before.isolated)
    out.push_back({false, "OverlayRejoined", fmt::format("peers answer again (number {})", downs)});
  return out;
}

}  // namespace trama::agent
