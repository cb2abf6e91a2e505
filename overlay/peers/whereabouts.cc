// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/whereabouts.h"

namespace trama::overlay::peers {

void Whereabouts::announce(const IpPort& place) {
  if (place == announced_) return;
  if (!elsewhere()) current_ = place;
  announced_ = place;
}

std::optional<Whereabouts::Question> Whereabouts::ask(const IpPort& where, Millis now, std::uint64_t random) {
  asked_ = Question{where, random | kMark};
  asked_at_ = now;
  return asked_;
}

std::optional<Whereabouts::Question> Whereabouts::heard(const IpPort& from, Millis now, std::uint64_t random) {
  if (from == current_) {
    asked_.reset();
    return std::nullopt;
  }
  if (asked_ && asked_->to == from && now - asked_at_ < kAskAgain) return std::nullopt;
  return ask(from, now, random);
}

bool Whereabouts::answered(const IpPort& from, std::uint64_t number) {
  if (!asked_ || asked_->number != number || asked_->to != from) return false;
  asked_.reset();
  if (from == current_) return false;
  current_ = from;
  ++moves_;
  return true;
}

std::optional<Whereabouts::Question> Whereabouts::look_for(Millis now, std::uint64_t random) {
  bool lately = asked_ && now - asked_at_ < kAskAnnounced;
  if (!elsewhere() || lately || now - looked_at_ < kAskAnnounced) return std::nullopt;
  looked_at_ = now;
  return ask(announced_, now, random);
}

}  // namespace trama::overlay::peers
