// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <deque>
#include <list>
#include <map>
#include <set>
#include <string>

#include "base/async/event.h"
#include "base/backoff.h"

namespace trama::control {

using async::awaitable;
using std::chrono::milliseconds;

// Keys that want attention, each at most once. A key that is added while somebody works on it comes again afterwards;
// nobody ever works on the same key twice at a time. Not thread-safe: everybody runs on one executor.
class WorkQueue {
 public:
  WorkQueue(async::asio::any_io_executor ex, milliseconds backoff_lowest, milliseconds backoff_highest)
      : ex_(std::move(ex)), lowest_(backoff_lowest), highest_(backoff_highest) {}

  void add(const std::string& key);
  // A key waits for at most one moment, the earliest that was asked for.
  void add_after(const std::string& key, milliseconds delay);
  // Waits for a key and marks it as being worked on; throws operation_aborted on cancellation.
  awaitable<std::string> next();
  // The work on `key` has ended. A failure brings it back after its own doubling delay.
  void succeeded(const std::string& key);
  void failed(const std::string& key);

  std::size_t depth() const { return ready_.size(); }

 private:
  void finished(const std::string& key);
  void promote();
  void wake_one();

  async::asio::any_io_executor ex_;
  milliseconds lowest_, highest_;
  std::deque<std::string> ready_;
  std::set<std::string> dirty_;  // in ready_, or waiting for working_ to end
  std::set<std::string> working_;
  using Moment = std::chrono::steady_clock::time_point;
  std::set<std::pair<Moment, std::string>> later_;
  std::map<std::string, Moment> moment_of_;
  std::map<std::string, base::Backoff> backoff_;
  std::list<async::asio::steady_timer*> waiters_;
};

}  // namespace trama::control
