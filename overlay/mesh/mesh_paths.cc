// SPDX-License-Identifier: GPL-2.0-or-later
// Which path packets to each peer take, and what the tunnel has to know for it.
#include "overlay/mesh/mesh_impl.h"

namespace trama::overlay::mesh {

const World::Peer* Mesh::Impl::in_world(const std::string& name) const {
  auto known = world.peers.find(name);
  return known == world.peers.end() ? nullptr : &known->second;
}

// One side that demands it is enough; both must agree that it need not be.
bool Mesh::Impl::must_encrypt(const PeerEntry& p) const {
  bool exempt = p.known && p.known->trusted && p.grants_clear;
  return (world.encrypt || p.wants_encryption) && !exempt;
}

// Pods of the family that is probed must have a way there: see goes_direct in overlay/model.h.
bool Mesh::Impl::shares_link(const PeerEntry& p) const {
  if (!world.plain || world.encrypt || !p.overlay) return false;
  const auto& there = p.member.underlay;
  bool family = p.overlay->is_v4() || !there.is_v4();
  return family && world.plain->subnet.contains(there) && !p.ways.front().where.elsewhere();
}

std::optional<base::Mac> Mesh::Impl::direct_to(const PeerEntry& p) const {
  return shares_link(p) && !must_encrypt(p) && !p.detour() ? p.plain_mac : std::nullopt;
}

std::string Mesh::Impl::why_no_direct(const PeerEntry& p) const {
  if (!world.plain) return "";
  if (must_encrypt(p)) return "not in use: nothing may go to it in the clear";
  if (!shares_link(p)) return "it is not on our link";
  if (p.detour()) return "another uplink is in use, and plain routes lead over the first one alone";
  return p.plain_mac ? "" : fmt::format("{} does not offer it (--direct-routing)", p.member.node);
}

// Over addresses that are translated underway the tunnel finds its way, which follows a peer only after asking: the
// kernel's WireGuard is told where peers are.
std::optional<base::WireguardEnd> Mesh::Impl::wireguard_to(const PeerEntry& p) const {
  if (!world.wireguard || !p.known || !p.overlay || !must_encrypt(p)) return std::nullopt;
  if (!translation(p).empty() || p.way().where.elsewhere()) return std::nullopt;
  return p.wireguard;
}

std::string Mesh::Impl::why_no_wireguard(const PeerEntry& p) const {
  if (!world.wireguard) return world.no_wireguard;
  if (!must_encrypt(p)) return "not in use: nothing has to be encrypted to it";
  if (p.uid.empty()) return "it has not said yet whether it has WireGuard";
  if (!p.wireguard) return fmt::format("{} does not offer it", p.member.node);
  if (auto translated = translation(p); !translated.empty()) return translated;
  return p.way().where.elsewhere() ? fmt::format("{} is not at its own address", p.member.node) : "";
}

// What the search has found, and what the tunnel's has, whose datagrams nobody cuts.
unsigned Mesh::Impl::wireguard_mtu(const PeerEntry& p) const {
  auto own = p.path(PathKind::wireguard).known_mtu;
  const auto& tunnel = p.path(PathKind::tunnel);
  if (own == 0 || !peers::works(tunnel.liveness.state())) return own;
  return peers::wireguard_mtu_by_tunnel(own, tunnel.known_mtu, world.tunnel_mtu);
}

void Mesh::Impl::tell_tunnel() {
  if (!options.tunnel) return;
  std::vector<peers::TunnelPort::Peer> out;
  for (const auto& [name, peer] : world.peers) {
    auto known = entries.find(name);
    peers::TunnelPort::Peer told{name, IpPort{peer.underlay, options.port}, peer.pods, ""};
    if (known != entries.end()) {
      told.endpoint = known->second.way().where.current();
      told.uplink = known->second.way().ends.uplink;
      told.via = known->second.told_via = via_of(known->second);
    }
    out.push_back(std::move(told));
  }
  options.tunnel->set_peers(std::move(out));
}

std::string Mesh::Impl::why_no_tunnel(const PeerEntry& p) const {
  if (!options.tunnel || world.tunnel_mtu == 0) return "this node has no tunnel";
  if (!talks()) return why_silent();
  if (auto why = options.tunnel->trouble(); !why.empty()) return why;
  if (!p.neighbour && !peers::needs_keys(need_of(p))) return "not a neighbour: keys are made when they are needed";
  if (!p.sealing()) return p.trouble.empty() ? "no keys yet" : "no keys: " + p.trouble;
  return p.has_tunnel ? "" : fmt::format("{} has no tunnel", p.member.node);
}

std::string Mesh::Impl::why_no_relay(const PeerEntry& p) const {
  if (!options.relay) return "switched off (--relay off)";
  if (now() >= p.third_until) return "";  // not needed
  if (p.third.via().empty()) return fmt::format("no third node reaches {}", p.member.node);
  if (!p.sealing()) return "no keys yet";
  return "";
}

void Mesh::Impl::choose_paths() {
  bool other_way = false;
  for (auto& [name, p] : entries) {
    if (!p.looked_at) continue;
    bool forced = must_encrypt(p);
    auto& vxlan = p.path(PathKind::overlay);
    if (forced && vxlan.liveness.state() != peers::PathState::unknown) vxlan.forget(now());
    peers::Situation s;
    s.vxlan = vxlan.liveness.state();
    s.vxlan_loss = vxlan.liveness.loss();
    s.vxlan_reason = vxlan.reason;
    if (s.vxlan == peers::PathState::degraded) s.vxlan_reason = "much of it is lost";
    s.tunnel = p.path(PathKind::tunnel).liveness.state();
    s.tunnel_doubtful = p.path(PathKind::tunnel).liveness.doubtful(now());
    s.tunnel_loss = p.path(PathKind::tunnel).liveness.loss();
    s.tunnel_reason = p.path(PathKind::tunnel).reason;
    s.relay = p.third.via().empty() ? peers::PathState::unknown : p.path(PathKind::relay).liveness.state();
    s.must_encrypt = forced;
    auto& wireguard = p.path(PathKind::wireguard);
    s.offered_wireguard = wireguard_to(p).has_value();
    s.may_have_wireguard = world.wireguard && p.uid.empty();
    s.wireguard = wireguard.liveness.state();
    s.wireguard_loss = wireguard.liveness.loss();
    if (world.wireguard) s.wireguard_reason = wireguard.reason;  // else it is said once for all peers
    auto& direct = p.path(PathKind::direct);
    s.offered_direct = direct_to(p).has_value();
    s.direct = direct.liveness.state();
    s.direct_loss = direct.liveness.loss();
    s.direct_reason = direct.reason;
    auto translated = translation(p);
    s.translated = !translated.empty();
    if (s.translated && s.vxlan_reason.empty()) s.vxlan_reason = translated;
    if (forced) s.who_demands = fmt::format("{} requires encryption", world.encrypt ? options.node : name);
    auto before = p.choice.use(), beside = p.choice.beside();
    bool decided = p.choice.decide(s);
    if (via_of(p) != p.told_via) other_way = changed = true;
    if (!decided) continue;
    p.touch();
    changed = true;
    urgent |= before != p.choice.use() || beside != p.choice.beside();
    if (before != p.choice.use() && before != peers::Use::undecided)
      log->info("{}: packets {}{}{}", name,
                p.choice.use() == peers::Use::relay ? fmt::format("go over {}", p.third.via())
                                                    : fmt::format("take {}", to_string(p.choice.use())),
                p.choice.why().empty() ? "" : ", because ", p.choice.why());
  }
  // Before anybody is told of the choice: the kernel hands packets to the tunnel only then.
  if (other_way) tell_tunnel();
}

}  // namespace trama::overlay::mesh
