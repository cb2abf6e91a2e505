// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <type_traits>
#include <utility>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include "base/async/event.h"

namespace trama::async {

// Runs `job` on the executor `there` and resumes the caller on its own executor with the result.
// Awaiting co_await post(pool, use_awaitable) would not do: it resumes on one's own executor.
// House rule: name the lambda on the line above (g++ 12 destroys a capturing temporary twice beside co_await):
//   auto job = [&] { return kernel.observe(); };
//   auto seen = co_await async::run_on(worker.executor(), job);
// The job must not outlive the caller's references: run_on cannot be cancelled half-way. So it hands no cancellation
// on, either: Asio would carry it to the other thread, where it may arrive after its target is gone.
template <class F>
awaitable<std::invoke_result_t<F&>> run_on(asio::any_io_executor there, F job) {
  auto body = [](F run) -> awaitable<std::invoke_result_t<F&>> { co_return run(); };
  auto task = body(std::move(job));
  auto whole = asio::bind_cancellation_slot(asio::cancellation_slot(), asio::use_awaitable);
  co_return co_await asio::co_spawn(there, std::move(task), whole);
}

}  // namespace trama::async
