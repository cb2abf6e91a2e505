// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/task_group.h"

#include <cstdlib>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/error.hpp>

#include "base/log.h"

namespace trama::async {
namespace {
void report(const std::string& name, std::exception_ptr e) {
  if (!e) return;
  try {
    std::rethrow_exception(e);
  } catch (const boost::system::system_error& x) {
    if (x.code() != asio::error::operation_aborted) base::logger("task")->error("{} died: {}", name, x.what());
  } catch (const std::exception& x) {
    base::logger("task")->error("{} died: {}", name, x.what());
  }
}
}  // namespace

TaskGroup::TaskGroup(asio::any_io_executor ex)
    : ex_(std::move(ex)), idle_(ex_, asio::steady_timer::time_point::max()) {}

TaskGroup::~TaskGroup() {
  if (tasks_.empty()) return;
  std::string names;
  for (const auto& task : tasks_) names += (names.empty() ? "" : ", ") + task.name;
  base::logger("task")->critical("a task group was destroyed while {} tasks run: {}", tasks_.size(), names);
  std::abort();
}

void TaskGroup::spawn(std::string name, awaitable<void> task) {
  if (stopped_) return;
  auto& begun = tasks_.emplace_back();
  begun.name = std::move(name);
  auto done = [this, it = std::prev(tasks_.end())](std::exception_ptr e) {
    report(it->name, e);
    tasks_.erase(it);
    if (tasks_.empty()) idle_.cancel();
  };
  asio::co_spawn(ex_, std::move(task), asio::bind_cancellation_slot(begun.signal.slot(), std::move(done)));
}

awaitable<void> TaskGroup::stop() {
  stopped_ = true;
  // emit() may finish a task at once and so erase its signal: step first.
  for (auto it = tasks_.begin(); it != tasks_.end();) (it++)->signal.emit(asio::cancellation_type::terminal);
  while (!tasks_.empty()) {
    idle_.expires_at(asio::steady_timer::time_point::max());
    co_await idle_.async_wait(kTuple);
  }
}

}  // namespace trama::async
