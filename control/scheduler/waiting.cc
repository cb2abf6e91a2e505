// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/waiting.h"

#include <algorithm>

namespace trama::control {

void Waiting::add(const api::Key& key, std::int64_t priority, std::uint64_t age) {
  auto it = pods_.find(key);
  if (it == pods_.end()) {
    it = pods_.emplace(key, Pod{priority, age, {options_.backoff_lowest, options_.backoff_highest}}).first;
  } else {
    turns_.erase(turn_of(key, it->second));
    it->second.priority = priority;
  }
  parked_.erase(key);
  turns_.insert(turn_of(key, it->second));
}

void Waiting::remove(const api::Key& key) {
  auto it = pods_.find(key);
  if (it == pods_.end()) return;
  turns_.erase(turn_of(key, it->second));
  parked_.erase(key);
  pods_.erase(it);
}

std::optional<api::Key> Waiting::take() {
  if (turns_.empty()) return std::nullopt;
  auto key = std::get<api::Key>(*turns_.begin());
  turns_.erase(turns_.begin());
  return key;
}

void Waiting::park(const api::Key& key, Changes help, Clock::time_point now) {
  auto it = pods_.find(key);
  if (it == pods_.end()) return;
  it->second.backoff.failed();
  Parked p;
  p.help = help;
  p.earliest = now + it->second.backoff.delay();
  p.latest = now + std::max(options_.longest, it->second.backoff.delay());
  next_ = std::min(next_, p.latest);
  parked_[key] = p;
}

bool Waiting::is_parked(const api::Key& key) const { return parked_.contains(key); }

void Waiting::look(Clock::time_point now) {
  if (changes_ == 0 && now < next_) return;
  auto changes = std::exchange(changes_, 0);
  next_ = Clock::time_point::max();
  for (auto it = parked_.begin(); it != parked_.end();) {
    auto& p = it->second;
    p.helped = p.helped || (p.help & changes) != 0;
    auto due = p.helped ? p.earliest : p.latest;
    if (due > now) {
      next_ = std::min(next_, due);
      ++it;
      continue;
    }
    turns_.insert(turn_of(it->first, pods_.at(it->first)));
    it = parked_.erase(it);
  }
}

}  // namespace trama::control
