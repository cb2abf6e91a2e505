// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/number_pool.h"

#include <algorithm>

namespace trama::control {

NumberPool::NumberPool(std::uint64_t size, std::uint64_t band, std::set<std::uint64_t> kept)
    : size_(size), band_(std::min(band, size)), cursor_(band_), kept_(std::move(kept)) {}

std::optional<std::uint64_t> NumberPool::take_any(const std::string& holder, const StillHeld& still_held) {
  auto found = scan(band_, size_, cursor_, still_held);
  if (!found) found = scan(0, band_, 0, still_held);
  if (!found) return std::nullopt;
  holder_[*found] = holder;
  if (*found >= band_) cursor_ = *found + 1;
  return found;
}

bool NumberPool::take(std::uint64_t number, const std::string& holder, const StillHeld& still_held) {
  if (number >= size_ || !is_free(number, holder, still_held)) return false;
  holder_[number] = holder;
  return true;
}

void NumberPool::remember(std::uint64_t number, const std::string& holder) {
  if (number >= size_) return;
  holder_[number] = holder;
  if (number >= band_) cursor_ = std::max(cursor_, number + 1);
}

bool NumberPool::is_free(std::uint64_t number, const std::string& holder, const StillHeld& still_held) {
  auto it = holder_.find(number);
  return it == holder_.end() || it->second == holder || !still_held(it->second, number);
}

std::optional<std::uint64_t> NumberPool::scan(std::uint64_t from, std::uint64_t to, std::uint64_t start,
                                              const StillHeld& still_held) {
  if (from >= to) return std::nullopt;
  if (start < from || start >= to) start = from;
  // First what nobody is known to hold, which costs nothing to find out; stale entries only when that is used up.
  auto pass = [&](std::uint64_t a, std::uint64_t b, bool verify) -> std::optional<std::uint64_t> {
    if (verify) {
      for (auto it = holder_.lower_bound(a); it != holder_.end() && it->first < b; ++it)
        if (!kept_.contains(it->first) && !still_held(it->second, it->first)) return it->first;
      return std::nullopt;
    }
    auto it = holder_.lower_bound(a);
    for (auto n = a; n < b; ++n) {
      bool held = it != holder_.end() && it->first == n;
      if (!held && !kept_.contains(n)) return n;
      if (held) ++it;
    }
    return std::nullopt;
  };
  for (bool verify : {false, true}) {
    if (auto n = pass(start, to, verify)) return n;
    if (auto n = pass(from, start, verify)) return n;
  }
  return std::nullopt;
}

}  // namespace trama::control
