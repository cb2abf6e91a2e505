// SPDX-License-Identifier: GPL-2.0-or-later
// Where a peer's datagrams come from, and so where ours to it go. Pure.
//
// A peer announces an address with its Node, but its datagrams may come from elsewhere: it stands behind NAT, its NAT
// has given it another port, or it has moved and its Node does not say so yet. What comes from elsewhere moves it only
// if it opens under keys in use, is no replay and is newer than all before; and not even then, before an answer has
// come from there to a question that was sent nowhere else. So who copies datagrams on their way, and is faster than
// they are, gains nothing (RFC 9000 sections 9.3 and 8.2 have the same rule for QUIC).
#pragma once

#include <cstdint>
#include <optional>

#include "base/ip.h"
#include "overlay/peers/liveness.h"

namespace trama::overlay::peers {

using base::IpPort;

class Whereabouts {
 public:
  // Questions are probes with numbers that have this bit and MtuSearch::kMark, so no other probe has them.
  static constexpr std::uint64_t kMark = std::uint64_t{3} << 62;
  static constexpr Millis kAskAgain{100};       // at the earliest; a lost question is asked again by what comes next
  static constexpr Millis kAskAnnounced{1000};  // the place that it announces, while it is not heard where it was

  struct Question {
    IpPort to;
    std::uint64_t number = 0;
  };

  // What its Node says. Who has been where it had announced is looked for at the new place at once.
  void announce(const IpPort& place);
  // A genuine datagram, newer than all before. `random` becomes the number of the question, if one is to be asked.
  std::optional<Question> heard(const IpPort& from, Millis now, std::uint64_t random);
  // True: it has moved there.
  bool answered(const IpPort& from, std::uint64_t number);
  // While nothing is heard from where it was: is it where it announces to be?
  std::optional<Question> look_for(Millis now, std::uint64_t random);

  const IpPort& current() const { return current_; }
  const IpPort& announced() const { return announced_; }
  bool elsewhere() const { return current_ != announced_; }
  std::uint64_t moves() const { return moves_; }  // that were not announced before

 private:
  std::optional<Question> ask(const IpPort& where, Millis now, std::uint64_t random);
  IpPort announced_, current_;
  std::optional<Question> asked_;
  Millis asked_at_{0}, looked_at_{0};
  std::uint64_t moves_ = 0;
};

}  // namespace trama::overlay::peers
