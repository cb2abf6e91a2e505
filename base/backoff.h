// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <algorithm>
#include <chrono>

namespace trama::base {

// Doubling retry delay. delay() is zero while all is well.
class Backoff {
 public:
  using ms = std::chrono::milliseconds;
  Backoff(ms lowest, ms highest) : lowest_(lowest), highest_(highest) {}
  void failed() { current_ = current_ == ms{0} ? lowest_ : std::min(highest_, current_ * 2); }
  void succeeded() { current_ = ms{0}; }
  ms delay() const { return current_; }

 private:
  ms lowest_, highest_, current_{0};
};

}  // namespace trama::base
