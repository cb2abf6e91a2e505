// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>

namespace trama::overlay::peers {

// Which counters of the last `Bits` have been taken (RFC 6479's ring of words). Counters begin with 1.
// fresh() before a message is opened, take() after it has proved genuine: a forgery must not move the window.
template <std::uint64_t Bits>
class BasicReplayWindow {
 public:
  static constexpr std::uint64_t kBits = Bits;

  bool fresh(std::uint64_t counter) const {
    if (counter == 0) return false;
    if (counter > highest_) return true;
    if (highest_ - counter >= kBits) return false;
    return (words_[word(counter)] & bit(counter)) == 0;
  }
  void take(std::uint64_t counter) {
    if (counter > highest_) {
      auto from = highest_ / 64, to = counter / 64;
      if (to - from >= words_.size()) words_.fill(0);
      for (auto w = from + 1; w <= to && to - from < words_.size(); ++w) words_[w % words_.size()] = 0;
      highest_ = counter;
    }
    words_[word(counter)] |= bit(counter);
  }
  std::uint64_t highest() const { return highest_; }

 private:
  static constexpr std::size_t kWords = kBits / 64 + 1;  // one more: the highest word is never whole
  static std::size_t word(std::uint64_t counter) { return counter / 64 % kWords; }
  static std::uint64_t bit(std::uint64_t counter) { return std::uint64_t{1} << (counter % 64); }
  std::array<std::uint64_t, kWords> words_{};
  std::uint64_t highest_ = 0;
};
using ReplayWindow = BasicReplayWindow<2048>;

}  // namespace trama::overlay::peers
