// SPDX-License-Identifier: GPL-2.0-or-later
// Runs one coroutine to its end on an io_context of its own kind: the main thread of a test.
#pragma once

#include <exception>
#include <optional>
#include <stdexcept>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "base/async/event.h"

namespace trama::test {

// Runs `context` until the task has ended; other work on the context goes on meanwhile. Fails after `limit`.
template <class T>
T run_coroutine(async::asio::io_context& context, async::awaitable<T> task,
                std::chrono::seconds limit = std::chrono::seconds(30)) {
  std::optional<T> result;
  std::exception_ptr failure;
  bool done = false;
  async::asio::co_spawn(context, std::move(task), [&](std::exception_ptr x, T value) {
    failure = x;
    if (!x) result.emplace(std::move(value));
    done = true;
  });
  context.restart();
  auto end = std::chrono::steady_clock::now() + limit;
  while (!done && std::chrono::steady_clock::now() < end) context.run_one_for(std::chrono::milliseconds(100));
  if (failure) std::rethrow_exception(failure);
  if (!done) throw std::runtime_error("the coroutine did not end in time");
  return std::move(*result);
}

}  // namespace trama::test
