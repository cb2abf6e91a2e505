// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <thread>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "base/async/event.h"
#include "base/async/run_on.h"

namespace trama::async {

// One thread for blocking work: namespace hops, netlink, SQLite. Jobs run one at a time, in the order given.
// The destructor finishes the queue and joins.
class Worker {
 public:
  explicit Worker(const std::string& thread_name);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  asio::any_io_executor executor() { return context_.get_executor(); }

 private:
  asio::io_context context_{1};
  asio::executor_work_guard<asio::io_context::executor_type> guard_;
  std::thread thread_;
};

}  // namespace trama::async
