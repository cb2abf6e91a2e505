// SPDX-License-Identifier: GPL-2.0-or-later
// Which of the paths to a peer its packets take. Pure.
//
// Where both ends want plain routes and share a link, those are the best; beside them, for what has no such route, one
// of the others is chosen all the same.
//
// Each side chooses for what it sends; the other direction is the peer's affair. VXLAN is the fast path and is returned
// to as soon as it is well again, and where nothing may go in the clear, WireGuard: what counts as well is
// PathLiveness' affair, which also damps what flaps. A third node is asked to carry packets only while nothing else
// reaches the peer. Nothing is ever torn down: with no path that works, packets stay on the one they take.
#pragma once

#include <string>

#include "overlay/peers/status.h"

namespace trama::overlay::peers {

struct Situation {
  PathState vxlan = PathState::unknown, tunnel = PathState::unknown, relay = PathState::unknown;
  bool tunnel_doubtful = false;              // an answer is overdue there
  unsigned vxlan_loss = 0, tunnel_loss = 0;  // percent
  // Both ends have WireGuard; or ours has, and the other one has not said yet.
  bool offered_wireguard = false, may_have_wireguard = false;
  PathState wireguard = PathState::unknown;
  unsigned wireguard_loss = 0;
  std::string wireguard_reason;
  std::string vxlan_reason;
  bool must_encrypt = false;
  bool offered_direct = false;  // both agree on plain routes
  PathState direct = PathState::unknown;
  unsigned direct_loss = 0;
  std::string direct_reason;
  bool translated = false;    // addresses are, underway: VXLAN will hardly pass
  std::string who_demands;    // "n1 requires encryption"
  std::string tunnel_reason;  // why packets cannot take it
};

class PathChoice {
 public:
  // Loss from which a path that still works is left for one that loses next to nothing.
  static constexpr unsigned kBad = 25, kFine = 5;

  // True when the choice or its reason has changed.
  bool decide(const Situation& s);
  Use use() const { return use_; }
  Use beside() const { return beside_; }  // never direct
  const std::string& why() const { return why_; }
  std::uint64_t switches() const { return switches_; }

 private:
  Use choose(const Situation& s) const;
  bool goes_direct(const Situation& s) const;
  bool takes_wireguard(const Situation& s) const;
  Use use_ = Use::undecided, beside_ = Use::undecided;
  std::string why_;
  std::uint64_t switches_ = 0;
};

}  // namespace trama::overlay::peers
