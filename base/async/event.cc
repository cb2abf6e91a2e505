// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/event.h"

#include <boost/asio/error.hpp>

namespace trama::async {
namespace {
awaitable<void> throw_if_cancelled() {
  auto state = co_await asio::this_coro::cancellation_state;
  if (state.cancelled() != asio::cancellation_type::none)
    throw boost::system::system_error(asio::error::operation_aborted);
}
}  // namespace

awaitable<void> sleep_for(std::chrono::milliseconds time) {
  auto ex = co_await asio::this_coro::executor;
  asio::steady_timer timer(ex, time);
  co_await timer.async_wait(kTuple);
  co_await throw_if_cancelled();
}

awaitable<bool> Event::wait_for(std::chrono::milliseconds limit) {
  if (!set_) {
    timer_.expires_after(limit);
    auto [ec] = co_await timer_.async_wait(kTuple);
    co_await throw_if_cancelled();
    if (!ec && !set_) co_return false;
  }
  co_return std::exchange(set_, false);
}

awaitable<void> Event::wait() {
  // Not in the loop's condition: g++ 12 miscompiles a co_await with a temporary there.
  const std::chrono::milliseconds long_time = std::chrono::hours(24);
  for (bool woken = false; !woken;) woken = co_await wait_for(long_time);
}

}  // namespace trama::async
