// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/wire.h"

#include <algorithm>

namespace trama::cli {

std::uint64_t Chance::next() {
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

std::int64_t Chance::around_zero(std::int64_t width) {
  if (width <= 0) return 0;
  return static_cast<std::int64_t>(next() % static_cast<std::uint64_t>(2 * width + 1)) - width;
}

std::optional<Nanoseconds> Wire::offer(Nanoseconds now, std::size_t bytes) {
  if (is_down(now)) {
    count_cut();
    return std::nullopt;
  }
  if (chance_.one_in_a_million(shape_.loss_ppm)) {
    ++counters_.lost;
    return std::nullopt;
  }
  auto leaves = now;
  if (shape_.rate) {
    auto begins = std::max(now, free_at_);
    if (begins - now > kLongestQueue || frames_ >= kMostFrames || bytes_ + bytes > kMostBytes) {
      ++counters_.overflowed;
      return std::nullopt;
    }
    auto bits = static_cast<double>(bytes) * 8;
    free_at_ = begins + Nanoseconds(static_cast<std::int64_t>(bits * 1e9 / static_cast<double>(shape_.rate)));
    leaves = free_at_;
  } else if (frames_ >= kMostFrames || bytes_ + bytes > kMostBytes) {
    ++counters_.overflowed;
    return std::nullopt;
  }
  if (shape_.delay.count()) {
    if (chance_.one_in_a_million(shape_.reorder_ppm)) {
      ++counters_.reordered;
    } else {
      leaves += shape_.delay + Nanoseconds(chance_.around_zero(shape_.jitter.count()));
      last_ = leaves = std::max(leaves, last_);
    }
  }
  ++frames_, bytes_ += bytes;
  ++counters_.passed;
  return leaves;
}

}  // namespace trama::cli
