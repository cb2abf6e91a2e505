// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/status.h"

#include <algorithm>

namespace trama::overlay::peers {

std::string way_text(const Ip& here, const Ip& there) {
  return fmt::format("{} -> {}", here.to_string(), there.to_string());
}

const char* to_string(PathKind kind) {
  switch (kind) {
    case PathKind::overlay: return "vxlan";
    case PathKind::control: return "control";
    case PathKind::tunnel: return "tunnel";
    case PathKind::direct: return "direct";
    case PathKind::relay: return "relay";
    case PathKind::wireguard: return "wireguard";
  }
  return "?";
}

const char* to_string(Use use) {
  switch (use) {
    case Use::undecided: return "undecided";
    case Use::vxlan: return "vxlan";
    case Use::tunnel: return "tunnel";
    case Use::direct: return "direct";
    case Use::relay: return "relay";
    case Use::wireguard: return "wireguard";
  }
  return "?";
}

const char* to_string(Connection connection) {
  switch (connection) {
    case Connection::none: return "none";
    case Connection::waiting: return "waiting";
    case Connection::connecting: return "connecting";
    case Connection::established: return "established";
    case Connection::unneeded: return "unneeded";
  }
  return "?";
}

bool is_isolated(const std::vector<PeerStatus>& peers) {
  std::size_t lost = 0;
  for (const auto& p : peers) {
    bool any = std::any_of(p.paths.begin(), p.paths.end(), [](const PathStatus& path) { return works(path.state); });
    if (any) return false;
    bool went = std::any_of(p.paths.begin(), p.paths.end(),
                            [](const PathStatus& path) { return path.state == PathState::down && path.downs > 0; });
    if (went && p.used().state == PathState::down) ++lost;
  }
  return lost >= 2;
}

std::string explain_down(const Evidence& e) {
  if (e.kind == PathKind::overlay && !e.translation.empty())
    return e.translation + ": VXLAN does not pass a translation of addresses";
  if (!e.send_error.empty()) return fmt::format("cannot send to {}: {}", e.peer, e.send_error);
  if (e.hears_us && !*e.hears_us && e.heard_lately)
    return fmt::format("one way: what {} sends to {} is lost, the other direction works", e.self, e.peer);
  if (e.hears_us && *e.hears_us && !e.heard_lately)
    return fmt::format("one way: what {} sends to {} is lost, the other direction works", e.peer, e.self);
  if (e.kind == PathKind::overlay && e.other_path_works)
    return fmt::format("UDP 6784 does not pass between {} and {}, although 6783 does", e.self, e.peer);
  if (e.kind == PathKind::wireguard && e.other_path_works)
    return fmt::format("UDP {} (WireGuard) does not pass between {} and {}, although 6783 does", e.port, e.self,
                       e.peer);
  if (e.kind == PathKind::direct && e.other_path_works)
    return fmt::format(
        "pods' packets do not pass as they are between {} and {}, although others do: the switch filters addresses "
        "that "
        "it does not know (port security), or one of the two filters strictly by reverse path (rp_filter=1)",
        e.self, e.peer);
  if (e.kind == PathKind::tunnel && e.other_path_works)
    return fmt::format(
        "datagrams of full size do not pass on UDP 6783 between {} and {}, although small ones do: a "
        "link underway has a smaller MTU",
        e.self, e.peer);
  if (e.kind == PathKind::control && e.other_path_works)
    return fmt::format("the agent of {} does not answer, or UDP 6783 does not pass; pods reach each other all the same",
                       e.peer);
  if (e.kind == PathKind::relay) return fmt::format("what goes over {} to {} is not answered", e.via, e.peer);
  if (!e.ever_up) return fmt::format("{} has never answered", e.peer);
  return fmt::format("no answer from {}", e.peer);
}

std::string explain_loss(const Evidence& e, unsigned loss, unsigned in, std::optional<unsigned> out) {
  if (out && *out > 2 * in) return fmt::format("{} % lost, on the way from {} to {}", loss, e.self, e.peer);
  if (out && in > 2 * *out) return fmt::format("{} % lost, on the way from {} to {}", loss, e.peer, e.self);
  return fmt::format("{} % lost", loss);
}

Summary summarize(const MeshStatus& status) {
  Summary out;
  for (const auto& p : status.peers) {
    if (p.connection == Connection::established) ++out.established;
    if (p.overlay.empty()) continue;
    ++out.peers;
    if (p.use == Use::tunnel) ++out.tunnelled;
    if (p.use == Use::relay) ++out.relayed;
    if (p.use == Use::wireguard) ++out.wireguarded;
    switch (p.used().state) {
      case PathState::up: ++out.up; break;
      case PathState::degraded: ++out.degraded; break;
      case PathState::down: ++out.down; break;
      default: ++out.pending;
    }
  }
  return out;
}

}  // namespace trama::overlay::peers
