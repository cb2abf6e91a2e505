// SPDX-License-Identifier: GPL-2.0-or-later
// Between which of our addresses and which of a peer's everything goes, where one of the two has several uplinks. Pure.
//
// All of VXLAN, the tunnel and the conversations to a peer take one way at a time. Ways are judged by sealed datagrams
// on 6783/udp that are answered the way they came: an echo through the overlay would come back by the way that the
// other side has chosen, so of two sides that look for another way none would ever hear of one. Each side chooses for
// what it sends, by answers, so a way has to carry both directions to be chosen.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "overlay/peers/liveness.h"
#include "overlay/peers/world.h"

namespace trama::overlay::peers {

// In the numbers of probes that judge ways; of the two bits above it, which other probes have, neither is set.
constexpr std::uint64_t kWayMark = std::uint64_t{1} << 61;
constexpr bool is_way_probe(std::uint64_t number) { return number >> 61 == 1; }

struct WayEnds {
  std::size_t uplink = 0;  // ours, in World::uplinks
  Ip here, there;
  friend bool operator==(const WayEnds&, const WayEnds&) = default;
};

// All pairs, best first: those on a link that both share, then those of the addresses that are announced first. Both
// ends come to the same order; `lower`: our name is the lower one of the two.
std::vector<WayEnds> ways_between(const World& world, const std::vector<Ip>& theirs, bool lower);

// What is known of a way.
struct WaySight {
  PathState state = PathState::unknown;
  bool silent = false;    // for so long that it is left
  bool doubtful = false;  // an answer is overdue
  unsigned loss = 0;      // percent
  bool fresh = false;     // it has answered since the one in use should have
};

// The first way that works; another one when that falls silent or loses much while the other one answers, and back as
// soon as it is well again. Where none answers, the peer or its agent is gone, and nothing changes.
class WayChoice {
 public:
  static constexpr unsigned kBad = 25, kFine = 5;  // percent, as for paths

  // True when another way is taken, or it is known for the first time which one.
  bool decide(const std::vector<WaySight>& ways);
  // The ways are others now; the one that was in use stands at `kept`.
  void restart(std::optional<std::size_t> kept);
  // Something else has proved that one.
  void adopt(std::size_t way);
  std::size_t used() const { return used_; }
  bool known() const { return known_; }  // something has ever come back on the one in use
  std::uint64_t switches() const { return switches_; }

 private:
  std::optional<std::size_t> better(const std::vector<WaySight>& ways) const;
  std::size_t used_ = 0;
  bool known_ = false;
  std::uint64_t switches_ = 0;
};

}  // namespace trama::overlay::peers
