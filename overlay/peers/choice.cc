// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/choice.h"

namespace trama::overlay::peers {

Use PathChoice::choose(const Situation& s) const {
  bool tunnel_well = s.tunnel == PathState::up && !s.tunnel_doubtful;
  if (s.must_encrypt) {
    if (works(s.tunnel) && (use_ != Use::relay || tunnel_well || !works(s.relay))) return Use::tunnel;
    if (works(s.relay)) return Use::relay;
    return use_ == Use::relay ? Use::relay : Use::tunnel;
  }
  bool tunnel_fine = s.tunnel == PathState::up && s.tunnel_loss < kFine;
  bool vxlan_bad = s.vxlan == PathState::degraded && s.vxlan_loss >= kBad;
  switch (use_) {
    case Use::undecided:
    case Use::vxlan:
      if (works(s.vxlan)) return vxlan_bad && tunnel_fine ? Use::tunnel : Use::vxlan;
      // What has just failed may be the peer: then the tunnel will say so, too.
      if (s.vxlan == PathState::down && works(s.tunnel) && !s.tunnel_doubtful) return Use::tunnel;
      if (s.vxlan == PathState::down && works(s.relay)) return Use::relay;
      return s.vxlan == PathState::down ? Use::vxlan : use_;
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
  return use_;
}

bool PathChoice::decide(const Situation& s) {
  auto next = choose(s);
  std::string why;
  if (next == Use::relay) {
    why = s.must_encrypt ? s.who_demands + "; " : s.vxlan_reason.empty() ? "" : "vxlan: " + s.vxlan_reason + "; ";
    why += s.tunnel_reason.empty() ? "the tunnel is not well yet" : "tunnel: " + s.tunnel_reason;
  }
  if (next == Use::tunnel)
    why = s.must_encrypt           ? s.who_demands
          : s.vxlan_reason.empty() ? "vxlan is not well yet"
                                   : "vxlan: " + s.vxlan_reason;
  if (next == use_ && why == why_) return false;
  if (next != use_ && use_ != Use::undecided) ++switches_;
  use_ = next;
  why_ = std::move(why);
  return true;
}

}  // namespace trama::overlay::peers
