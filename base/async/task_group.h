// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <list>
#include <string>

#include <boost/asio/cancellation_signal.hpp>

#include "base/async/event.h"

namespace trama::async {

// Owns child coroutines: nothing in trama is detached. stop() cancels all of them and waits until the last one
// has finished; from then on the group begins nothing any more. Destroying one with live tasks is a bug and aborts.
// A task that dies of an exception other than cancellation is logged under its name.
class TaskGroup {
 public:
  explicit TaskGroup(asio::any_io_executor ex);
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  // Drops the task when the group has been stopped: what ends may still be told news.
  void spawn(std::string name, awaitable<void> task);
  awaitable<void> stop();
  std::size_t live() const { return tasks_.size(); }

 private:
  struct Task {
    std::string name;
    asio::cancellation_signal signal;
  };
  asio::any_io_executor ex_;
  asio::steady_timer idle_;
  std::list<Task> tasks_;
  bool stopped_ = false;
};

}  // namespace trama::async
