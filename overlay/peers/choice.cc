// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/choice.h"

#include <utility>

namespace trama::overlay::peers {
namespace {

bool judged(PathState s) { return works(s) || s == PathState::down; }

}  // namespace

Use PathChoice::choose(const Situation& s) const {
  bool tunnel_well = s.tunnel == PathState::up && !s.tunnel_doubtful;
  if (s.must_encrypt) {
    if (takes_wireguard(s)) return Use::wireguard;
    // Nobody knows yet whether it works, and the kernel may have it from before.
    bool open = s.may_have_wireguard || (s.offered_wireguard && !judged(s.wireguard));
    if (beside_ == Use::undecided && open) return Use::undecided;
    if (beside_ == Use::wireguard && s.offered_wireguard && !works(s.tunnel) && !works(s.relay)) return Use::wireguard;
    if (works(s.tunnel) && (beside_ != Use::relay || tunnel_well || !works(s.relay))) return Use::tunnel;
    if (works(s.relay)) return Use::relay;
    return beside_ == Use::relay ? Use::relay : Use::tunnel;
  }
  bool tunnel_fine = s.tunnel == PathState::up && s.tunnel_loss < kFine;
  bool vxlan_bad = s.vxlan == PathState::degraded && s.vxlan_loss >= kBad;
  switch (beside_) {
    case Use::direct:
    case Use::undecided:
    case Use::wireguard:
    case Use::vxlan:
      if (works(s.vxlan)) return vxlan_bad && tunnel_fine ? Use::tunnel : Use::vxlan;
      // What has just failed may be the peer: then the tunnel will say so, too.
      if ((s.vxlan == PathState::down || s.translated) && works(s.tunnel) && !s.tunnel_doubtful) return Use::tunnel;
      if (s.vxlan == PathState::down && works(s.relay)) return Use::relay;
      return s.vxlan == PathState::down ? Use::vxlan : beside_;
    case Use::tunnel:
      if (s.vxlan == PathState::up) return Use::vxlan;
      if (works(s.vxlan) && !works(s.tunnel)) return Use::vxlan;
      if (!works(s.vxlan) && !works(s.tunnel) && works(s.relay)) return Use::relay;
      // Not long ago it had to be encrypted, and how VXLAN is nobody knows yet.
      return Use::tunnel;
    case Use::relay:
      if (s.vxlan == PathState::up) return Use::vxlan;
      if (tunnel_well) return Use::tunnel;
      if (!works(s.relay) && works(s.vxlan)) return Use::vxlan;
      if (!works(s.relay) && works(s.tunnel)) return Use::tunnel;
      return Use::relay;
  }
  return beside_;
}

// Taken when it is up, left when it is down, or loses much while the tunnel does not.
bool PathChoice::takes_wireguard(const Situation& s) const {
  if (!s.offered_wireguard) return false;
  if (s.wireguard == PathState::degraded && s.wireguard_loss >= kBad && s.tunnel == PathState::up &&
      s.tunnel_loss < kFine)
    return false;
  return s.wireguard == PathState::up || (beside_ == Use::wireguard && s.wireguard == PathState::degraded);
}

// Taken when it is up, left when it is down or loses much while another does not.
bool PathChoice::goes_direct(const Situation& s) const {
  if (s.must_encrypt || !s.offered_direct) return false;
  bool other = beside_ == Use::tunnel ? s.tunnel == PathState::up && s.tunnel_loss < kFine
                                      : s.vxlan == PathState::up && s.vxlan_loss < kFine;
  if (s.direct == PathState::degraded && s.direct_loss >= kBad && other) return false;
  return s.direct == PathState::up || (use_ == Use::direct && s.direct == PathState::degraded);
}

bool PathChoice::decide(const Situation& s) {
  auto before = std::exchange(beside_, choose(s));
  auto next = goes_direct(s) ? Use::direct : beside_;
  std::string why;
  if (next == Use::vxlan && s.offered_direct && !s.direct_reason.empty()) why = "direct: " + s.direct_reason;
  // Why not the better one of those that are encrypted.
  auto demand = s.who_demands;
  if (!s.wireguard_reason.empty()) demand += "; wireguard: " + s.wireguard_reason;
  if (next == Use::relay) {
    why = s.must_encrypt ? demand + "; " : s.vxlan_reason.empty() ? "" : "vxlan: " + s.vxlan_reason + "; ";
    why += s.tunnel_reason.empty() ? "the tunnel is not well yet" : "tunnel: " + s.tunnel_reason;
  }
  if (next == Use::tunnel)
    why = s.must_encrypt ? demand : s.vxlan_reason.empty() ? "vxlan is not well yet" : "vxlan: " + s.vxlan_reason;
  if (next == use_ && why == why_ && beside_ == before) return false;
  if (next != use_ && use_ != Use::undecided) ++switches_;
  use_ = next;
  why_ = std::move(why);
  return true;
}

}  // namespace trama::overlay::peers
