// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/ids.h"

namespace trama::servicelb {

std::optional<std::uint32_t> IdPool::find(const PortKey& key) const {
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return std::nullopt;
  return it->second;
}

void IdPool::expire(Clock::time_point now) {
  while (!held_.empty()) {
    const Held& oldest = held_.front();
    if (oldest.key) {
      auto it = held_by_key_.find(*oldest.key);
      if (it != held_by_key_.end() && it->second == std::pair(oldest.id, oldest.until)) {
        if (oldest.until > now) return;
        held_by_key_.erase(it);
        free_.push_back(oldest.id);
      }
    } else {
      if (oldest.until > now) return;
      free_.push_back(oldest.id);
    }
    held_.pop_front();
  }
}

std::optional<std::uint32_t> IdPool::acquire(const PortKey& key, Clock::time_point now) {
  if (auto have = find(key)) return have;
  expire(now);
  std::uint32_t id = 0;
  while (next_ <= last_ && taken_.contains(next_)) ++next_;
  if (auto it = held_by_key_.find(key); it != held_by_key_.end()) {
    id = it->second.first;
    held_by_key_.erase(it);
  } else if (next_ <= last_) {
    id = next_++;  // never used ones first: the distance to the last use is the longest
    taken_.insert(id);
  } else if (!free_.empty()) {
    id = free_.front();
    free_.pop_front();
  } else {
    return std::nullopt;
  }
  by_key_[key] = id;
  return id;
}

bool IdPool::adopt(const PortKey& key, std::uint32_t id) {
  if (id == 0 || id > last_) return false;
  if (auto have = find(key)) return *have == id;
  if (!taken_.insert(id).second) return false;
  by_key_[key] = id;
  return true;
}

void IdPool::hold(std::uint32_t id, Clock::time_point now) {
  if (id == 0 || id > last_ || !taken_.insert(id).second) return;
  held_.push_back({id, now + kHoldDown, std::nullopt});
}

void IdPool::release(const PortKey& key, Clock::time_point now) {
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return;
  held_.push_back({it->second, now + kHoldDown, key});
  held_by_key_[key] = {it->second, now + kHoldDown};
  by_key_.erase(it);
}

}  // namespace trama::servicelb
