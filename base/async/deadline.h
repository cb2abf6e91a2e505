// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>

#include <boost/asio/experimental/awaitable_operators.hpp>

#include "base/async/event.h"
#include "base/result.h"

namespace trama::async {

// `work`, or ETIMEDOUT once `limit` has passed. The loser is cancelled and waited for, so everything that `work`
// awaits must honour cancellation.
template <class T>
awaitable<base::Result<T>> with_deadline(awaitable<base::Result<T>> work, std::chrono::milliseconds limit,
                                         std::string what) {
  using namespace asio::experimental::awaitable_operators;
  auto ex = co_await asio::this_coro::executor;
  asio::steady_timer timer(ex, limit);
  auto timeout = timer.async_wait(asio::use_awaitable);
  auto winner = co_await (std::move(work) || std::move(timeout));
  if (winner.index() == 1)
    co_return base::Error::from_errno(ETIMEDOUT, fmt::format("{} (after {} ms)", what, limit.count()));
  co_return std::get<0>(std::move(winner));
}

}  // namespace trama::async
