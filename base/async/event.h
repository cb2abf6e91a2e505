// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <utility>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

namespace trama::async {

namespace asio = boost::asio;
using asio::awaitable;
// auto [ec, value...] = co_await op(kTuple): errors as values.
constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

// Returns after `time`; throws operation_aborted when the task was cancelled meanwhile.
awaitable<void> sleep_for(std::chrono::milliseconds time);

// A level-triggered wake-up with one waiter: any number of set() calls before a wait collapse into one.
// Not thread-safe: everybody runs on the executor given at construction.
class Event {
 public:
  explicit Event(asio::any_io_executor ex) : timer_(std::move(ex), asio::steady_timer::time_point::max()) {}
  void set() {
    set_ = true;
    timer_.cancel();
  }
  // True when signalled, false when `limit` passed first. Throws operation_aborted on cancellation.
  awaitable<bool> wait_for(std::chrono::milliseconds limit);
  awaitable<void> wait();

 private:
  asio::steady_timer timer_;
  bool set_ = false;
};

}  // namespace trama::async
