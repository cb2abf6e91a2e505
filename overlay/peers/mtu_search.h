// SPDX-License-Identifier: GPL-2.0-or-later
// How large packets to a peer may be, found by probes that are answered or not; after RFC 8899 (packetization layer
// path MTU discovery). Messages of routers are not believed and not needed. Pure: time comes in with every call.
#pragma once

#include <deque>
#include <optional>

#include "overlay/peers/liveness.h"

namespace trama::overlay::peers {

struct MtuTimers {
  Millis quick{200};      // between probes of one size; one that is not answered by then is lost
  Millis slow{1000};      // while nothing at all is answered
  Millis raise{30'000};   // between looks whether more passes by now
  Millis verify{10'000};  // between probes that must not be cut on the way, while all is well
  unsigned tries = 3;     // probes of a size until it does not pass
  unsigned hole = 6;  // probes of liveness lost in a row, while small ones pass, until their size does not pass either
  unsigned precise = 8;  // bytes to which the result is exact
};

//  whole      all that the device takes passes; liveness probes of that size say so
//  suspected  those are lost; small ones are sent beside them, to tell a black hole from a dead path
//  searching  small packets are used meanwhile
//  settled    less than the device takes passes
enum class MtuState : std::uint8_t { whole, suspected, searching, settled };
const char* to_string(MtuState state);

// Whoever uses it probes for liveness with packets of mtu() bytes, and tells sent() and answered() of those. A network
// that cuts packets in pieces lets them pass, too; probes of the search must be sent so that nobody does (DF).
class MtuSearch {
 public:
  struct Probe {
    std::uint64_t sequence = 0;  // has kMark, which those of liveness never have
    unsigned size = 0;
  };
  static constexpr std::uint64_t kMark = std::uint64_t{1} << 63;

  static constexpr unsigned kBase = 1280;  // what every path should carry (RFC 8200, 5); less is no path

  // Of a device of no size: nothing is sent before resize().
  explicit MtuSearch(MtuTimers timers = {}) : timers_(timers) {}

  unsigned mtu() const { return used_; }  // what packets may have now
  MtuState state() const { return state_; }
  // Nothing is being tried out.
  bool rests() const { return (state_ == MtuState::whole || state_ == MtuState::settled) && cut_ == 0; }
  void forget() { *this = MtuSearch(timers_); }
  // The device takes another size. What is known of the path stays known.
  void resize(unsigned largest, Millis now);

  void sent(Millis now);      // a probe of liveness
  void answered(Millis now);  // one of those
  // A probe of this search that is to leave now. Judges what is overdue first: mtu() may have changed after it.
  std::optional<Probe> due(Millis now);
  // False for answers to nothing that waits.
  bool answered(std::uint64_t sequence, Millis now);

 private:
  struct Waiting {
    std::uint64_t sequence;
    unsigned size;
    Millis sent;
  };
  static constexpr std::size_t kRemembered = 32;  // probes of liveness
  void judge(Millis now);
  void search_from(unsigned passes, unsigned try_first, Millis now);
  void passed(unsigned size, Millis now);
  void failed(unsigned size, Millis now);
  void settle(Millis now);
  Probe probe(unsigned size, Millis now);

  MtuTimers timers_;
  unsigned base_ = kBase, largest_ = 0;
  unsigned used_ = 0;                // what the routes have
  unsigned passes_ = 0, fails_ = 0;  // of the search: all up to the one, none from the other on
  unsigned trying_ = 0, lost_ = 0;   // the size under test, and how often it was lost
  MtuState state_ = MtuState::whole;
  std::deque<Waiting> waiting_;
  std::deque<Millis> unanswered_;  // probes of liveness since the last answer
  bool small_passes_ = false;      // since the suspicion
  unsigned cut_ = 0;               // probes lost in a row that had the size in use and must not be cut
  std::uint64_t next_ = 1;
  Millis last_sent_{0}, last_answer_{0}, suspected_since_{0}, settled_at_{0}, verified_{0};
};

}  // namespace trama::overlay::peers
