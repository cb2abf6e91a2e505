// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <set>
#include <utility>

#include "base/async/event.h"

namespace trama::async {

// A wake-up for any number of waiters: notify() wakes those that wait at that moment, and nobody later. So a waiter
// looks at its condition, waits, and looks again. Not thread-safe.
class Signal {
 public:
  explicit Signal(asio::any_io_executor ex) : ex_(std::move(ex)) {}
  void notify() {
    for (const auto& [turn, event] : waiters_) event->set();
  }
  // False when `limit` passed first. Those with a lower `turn` are woken first.
  awaitable<bool> wait_for(std::chrono::milliseconds limit, std::uint64_t turn = 0) {
    struct Waiter {
      Waiter(Signal& s, std::uint64_t at) : signal(s), event(s.ex_), place(at, &event) {
        signal.waiters_.insert(place);
      }
      ~Waiter() { signal.waiters_.erase(place); }
      Waiter(const Waiter&) = delete;
      Waiter& operator=(const Waiter&) = delete;
      Signal& signal;
      Event event;
      std::pair<std::uint64_t, Event*> place;
    };
    Waiter waiter(*this, turn);
    co_return co_await waiter.event.wait_for(limit);
  }

 private:
  asio::any_io_executor ex_;
  std::set<std::pair<std::uint64_t, Event*>> waiters_;
};

}  // namespace trama::async
