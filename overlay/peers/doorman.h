// SPDX-License-Identifier: GPL-2.0-or-later
// Who may begin a conversation on 6783/tcp, before any key is touched. Pure.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>

#include "base/ip.h"
#include "overlay/peers/liveness.h"

namespace trama::overlay::peers {

// Full at first; `rate` tokens come back each second.
class TokenBucket {
 public:
  TokenBucket(double rate, double most) : rate_(rate), most_(most), tokens_(most) {}
  bool take(Millis now) {
    if (now > last_) tokens_ = std::min(most_, tokens_ + rate_ * static_cast<double>((now - last_).count()) / 1000);
    last_ = std::max(last_, now);
    if (tokens_ < 1) return false;
    tokens_ -= 1;
    return true;
  }
  bool full(Millis now) const { return tokens_ + rate_ * static_cast<double>((now - last_).count()) / 1000 >= most_; }

 private:
  double rate_, most_, tokens_;
  Millis last_{0};
};

// Addresses of members have a bucket each and places of their own; all strangers together share one bucket and a few
// places. So whoever floods the port takes nothing from the members.
class Doorman {
 public:
  static constexpr std::size_t kStrangers = 16, kMembers = 128, kEach = 4;  // conversations that are not yet agreed on
  static constexpr double kStrangerRate = 10, kStrangerBurst = 20, kMemberRate = 5, kMemberBurst = 20;

  // True: come in; then left() exactly once, when the handshake is over, however it ended.
  bool enter(const base::Ip& from, bool member, Millis now);
  void left(const base::Ip& from, bool member);

  std::uint64_t refused() const { return refused_; }
  std::size_t inside() const { return strangers_inside_ + members_inside_; }

 private:
  struct Source {
    TokenBucket bucket{kMemberRate, kMemberBurst};
    std::size_t inside = 0;
  };
  void forget_quiet(Millis now);
  std::map<base::Ip, Source> members_;
  TokenBucket strangers_{kStrangerRate, kStrangerBurst};
  std::size_t strangers_inside_ = 0, members_inside_ = 0;
  std::uint64_t refused_ = 0;
};

}  // namespace trama::overlay::peers
