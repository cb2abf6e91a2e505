// SPDX-License-Identifier: GPL-2.0-or-later
// Over which third node packets to a peer go, when neither VXLAN nor the tunnel reaches it. Pure.
//
// The best by loss, then by round trip; then it stays while it works. One that does not is passed over for a while, so
// that two bad ones are not tried in turns.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "overlay/peers/liveness.h"
#include "overlay/peers/relay_wire.h"

namespace trama::overlay::peers {

struct RelayCandidate {
  std::string node;
  bool near = false;  // we can send to it, sealed, and it answers
  unsigned loss = 0;  // percent, of ours to it
  Micros round_trip{0};
  ReachState reaches = ReachState::no;  // what it said lately about the peer
  unsigned loss_beyond = 0;
  Micros round_trip_beyond{0};
};

class RelayChoice {
 public:
  static constexpr Millis kPassedOver{30'000};
  static constexpr unsigned kBad = 25, kFine = 5;  // percent lost, as in PathChoice

  // `through`, `loss`: the path to the peer through the present one. True when another one is chosen, or none.
  bool decide(const std::vector<RelayCandidate>& candidates, PathState through, unsigned loss, Millis now);
  // It is not needed any more.
  void rest() { via_.clear(); }
  const std::string& via() const { return via_; }  // "" = nobody

 private:
  std::string via_;
  std::map<std::string, Millis> passed_over_;  // until when
};

}  // namespace trama::overlay::peers
