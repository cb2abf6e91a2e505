// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/doorman.h"

namespace trama::overlay::peers {

namespace {
constexpr std::size_t kRememberedSources = 10'000;
}

bool Doorman::enter(const base::Ip& from, bool member, Millis now) {
  bool may = false;
  if (member) {
    if (members_.size() >= kRememberedSources) forget_quiet(now);
    auto& source = members_[from];
    may = members_inside_ < kMembers && source.inside < kEach && source.bucket.take(now);
    if (may) ++source.inside, ++members_inside_;
  } else {
    may = strangers_inside_ < kStrangers && strangers_.take(now);
    if (may) ++strangers_inside_;
  }
  if (!may) ++refused_;
  return may;
}

void Doorman::left(const base::Ip& from, bool member) {
  if (!member) {
    --strangers_inside_;
    return;
  }
  --members_inside_;
  --members_[from].inside;
}

void Doorman::forget_quiet(Millis now) {
  std::erase_if(members_, [&](const auto& m) { return m.second.inside == 0 && m.second.bucket.full(now); });
}

}  // namespace trama::overlay::peers
