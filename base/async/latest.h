// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <memory>

#include "base/async/event.h"

namespace trama::async {

// One-slot mailbox: the writer never blocks, the reader sees the newest value, memory is bounded by one value.
// Empty until the first publish: a reconciler that finds it empty touches nothing.
template <class T>
class Latest {
 public:
  explicit Latest(asio::any_io_executor ex) : wake_(std::move(ex)) {}
  // Returns the generation of the value just published.
  std::uint64_t publish(std::shared_ptr<const T> value) {
    value_ = std::move(value);
    ++generation_;
    wake_.set();
    return generation_;
  }
  const std::shared_ptr<const T>& get() const { return value_; }
  std::uint64_t generation() const { return generation_; }
  Event& wake() { return wake_; }

 private:
  std::shared_ptr<const T> value_;
  std::uint64_t generation_ = 0;
  Event wake_;
};

}  // namespace trama::async
