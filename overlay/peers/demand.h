// SPDX-License-Identifier: GPL-2.0-or-later
// Conversations for the sake of keys alone: with peers that none is kept with (above 64 nodes, all but the neighbours),
// or that only a third node reaches. They end once the keys are agreed on; the keys stay. Pure.
#pragma once

#include <cstddef>

#include "overlay/peers/doorman.h"

namespace trama::overlay::peers {

struct KeyNeed {
  bool neighbour = false;     // a conversation is kept with it anyway
  bool asked_for = false;     // somebody relays to it over us, so one is kept for a while
  bool must_encrypt = false;  // nothing may go to it in the clear
  bool sealed = false;        // packets to it do go sealed now
  bool fast_silent = false;   // vxlan to it does not answer: the tunnel will be wanted
};
constexpr bool keeps_conversation(const KeyNeed& n) { return n.neighbour || n.asked_for; }
constexpr bool needs_keys(const KeyNeed& n) {
  return keeps_conversation(n) || n.must_encrypt || n.sealed || n.fast_silent;
}

// How many of them are begun: a cluster of hundreds that begins to require encryption must not be busy with
// handshakes alone, nor a node whose uplink comes back.
class DialBudget {
 public:
  static constexpr double kRate = 20, kBurst = 20;  // each second; at once
  static constexpr std::size_t kInside = 16;        // that are underway

  bool begin(Millis now) {
    if (inside_ >= kInside || !bucket_.take(now)) return false;
    ++inside_;
    return true;
  }
  void ended() { --inside_; }
  std::size_t inside() const { return inside_; }

 private:
  TokenBucket bucket_{kRate, kBurst};
  std::size_t inside_ = 0;
};

}  // namespace trama::overlay::peers
