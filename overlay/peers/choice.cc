// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/choice.h"

namespace trama::overlay::peers {

Use PathChoice::choose(const Situation& s) const {
  if (s.must_encrypt) return Use::tunnel;
  bool tunnel_fine = s.tunnel == PathState::up && s.tunnel_loss < kFine;
  bool vxlan_bad = s.vxlan == PathState::degraded && s.vxlan_loss >= kBad;
  switch (use_) {
    case Use::undecided:
    case Use::vxlan:
      if (works(s.vxlan)) return vxlan_bad && tunnel_fine ? Use::tunnel : Use::vxlan;
      // What has just failed may be the peer: then the tunnel will say so, too.
      if ((s.vxlan == PathState::down || s.translated) && works(s.tunnel) && !s.tunnel_doubtful) return Use::tunnel;
      return s.vxlan == PathState::down ? Use::vxlan : use_;
    case Use::tunnel:
      if (s.vxlan == PathState::up) return Use::vxlan;
      if (works(s.vxlan) && !works(s.tunnel)) return Use::vxlan;
      // Not long ago it had to be encrypted, and how VXLAN is nobody knows yet.
      return Use::tunnel;
  }
  return use_;
}

bool PathChoice::decide(const Situation& s) {
  auto next = choose(s);
  std::string why;
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
