// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include "base/async/event.h"

namespace trama::control::test {

// Runs one coroutine to its end on an io_context of the test's own.
class Runner {
 public:
  async::asio::any_io_executor executor() { return io_.get_executor(); }
  template <class T>
  T operator()(async::awaitable<T> work) {
    std::optional<T> result;
    async::asio::co_spawn(io_, std::move(work), [&](std::exception_ptr e, T value) {
      if (e) std::rethrow_exception(e);
      result = std::move(value);
    });
    io_.restart();
    while (!result && io_.run_one() > 0) {
    }
    return std::move(*result);
  }
  // Lets everything that was spawned run until `done` or the limit; true when done.
  bool until(const std::function<bool()>& done, std::chrono::milliseconds limit = std::chrono::seconds(10)) {
    auto end = std::chrono::steady_clock::now() + limit;
    io_.restart();
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      io_.run_one_for(std::chrono::milliseconds(20));
      if (io_.stopped()) io_.restart();
    }
    return true;
  }

 private:
  async::asio::io_context io_{1};
};

}  // namespace trama::control::test
