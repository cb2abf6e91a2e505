// SPDX-License-Identifier: GPL-2.0-or-later
// What becomes of each frame on one link. Pure: time comes in, chance comes from a seed, so a run can be repeated.
#pragma once

#include <cstdint>

#include "cli/links/model.h"

namespace trama::cli {

// A small generator with the same numbers on every machine (SplitMix64).
class Chance {
 public:
  explicit Chance(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  bool one_in_a_million(std::uint32_t ppm) { return ppm && next() % 1'000'000 < ppm; }
  // Equally distributed from -width to +width.
  std::int64_t around_zero(std::int64_t width);

 private:
  std::uint64_t state_;
};

// Bounds of what waits on one link.
constexpr Nanoseconds kLongestQueue{200'000'000};  // a frame that would wait longer for its turn is dropped (rate)
constexpr std::size_t kMostFrames = 20'000;        // on their way at a time
constexpr std::size_t kMostBytes = 32u << 20;

struct WireCounters {
  std::uint64_t passed = 0, lost = 0, cut = 0, overflowed = 0, reordered = 0;
};

class Wire {
 public:
  explicit Wire(std::uint64_t seed) : chance_(seed) {}

  void shape(const std::optional<Impairment>& i) { shaped_ = i.has_value(), shape_ = i.value_or(Impairment{}); }
  bool is_shaped() const { return shaped_; }
  void cut(const std::optional<Cut>& c, Nanoseconds since) { cut_ = c, since_ = since; }
  bool is_down(Nanoseconds now) const { return cut_ && is_down_at(*cut_, since_, now); }

  void count_cut() { ++counters_.cut; }

  // When a frame that comes at `now` leaves the link's other end; nothing when it never does. Call leave() then.
  std::optional<Nanoseconds> offer(Nanoseconds now, std::size_t bytes);
  void leave(std::size_t bytes) { --frames_, bytes_ -= bytes; }

  const WireCounters& counters() const { return counters_; }
  std::size_t waiting() const { return frames_; }

 private:
  Chance chance_;
  Nanoseconds since_{0};
  bool shaped_ = false;
  Impairment shape_;
  std::optional<Cut> cut_;
  Nanoseconds free_at_{0};  // the last frame is on the cable until then (rate)
  Nanoseconds last_{0};     // when the last frame that keeps the order leaves
  std::size_t frames_ = 0, bytes_ = 0;
  WireCounters counters_;
};

}  // namespace trama::cli
