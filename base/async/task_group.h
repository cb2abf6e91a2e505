// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <list>
#include <string>

#include <boost/asio/cancellation_signal.hpp>

#include "base/async/event.h"

namespace trama::async {

// Owns child coroutines: nothing in trama is detached. stop() cancels all of them and waits until the last one
// has finished; destroying a group with live tasks is a bug and aborts.
// A task that dies of an exception other than cancellation is logged under its name.
class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor ex);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  void spawn(std::string name, awaitable<void> task);
  awaitable<void> stop();
  std::size_t live() const { return signals_.size(); }

 private:
  asio::any_io_executor ex_;
  asio::steady_timer idle_;
  std::list<asio::cancellation_signal> signals_;
};

}  // namespace trama::async
