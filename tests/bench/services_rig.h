// SPDX-License-Identifier: GPL-2.0-or-later
// A reconciler of Services on a real kernel, and a clock beside it.
#pragma once

#include <chrono>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "base/nft/session.h"
#include "servicelb/kernel.h"
#include "servicelb/reconciler.h"
#include "tests/support/private_netns.h"

namespace trama::bench {

using Clock = std::chrono::steady_clock;
using Micros = std::vector<double>;
double since(Clock::time_point t);  // microseconds
double quantile(Micros v, double q);
[[noreturn]] void fail(const std::string& why);

// "bench/service-<i>", one port 80 at 10.96.0.0 + i. Another salt moves its first endpoint.
servicelb::Service service(int i, int endpoints, int salt = 0, servicelb::Protocol p = servicelb::Protocol::tcp);

// Everything blocks; whatever goes wrong ends the program.
class Rig {
 public:
  // where: the node. refuse: transactions with this text in them are refused, as if the kernel did; then failures are
  // expected, and nothing is waited for longer than kPatience.
  explicit Rig(const test::PrivateNetns& where, std::string refuse = {});
  ~Rig();

  struct Cost {
    double ms = 0;
    std::uint64_t transactions = 0;
    double kernel_us = 0;        // of all transactions
    std::size_t operations = 0;  // elements, rules, chains
  };
  // Tells of the services 0…count-1, then that this is all, and waits until they are in the kernel.
  Cost load(int count, int endpoints, servicelb::Protocol p = servicelb::Protocol::tcp);
  // As an agent does that is started again: a reconciler that knows nothing, on the tables as they are.
  void restart();
  // All changes at once, then waits until they are in the kernel.
  Cost change(std::vector<servicelb::Change> changes);
  Cost change(servicelb::Service to);
  Cost remove(const servicelb::ServiceKey& key);
  // One element into a table of its own, on the same thread and session: the cheapest transaction there is.
  Cost one_element(int i);

 private:
  void start();
  void stop();
  Cost measure(Clock::time_point started, std::uint64_t generation);
  template <class F>
  auto on_worker(F job) {
    std::packaged_task<decltype(job())()> task(std::move(job));
    auto result = task.get_future();
    async::asio::post(worker_.executor(), [&task] { task(); });
    return result.get();
  }

  static constexpr std::chrono::seconds kPatience{10};
  std::string refuse_;
  async::asio::io_context brain_;
  async::Worker worker_;
  std::unique_ptr<nft::Session> session_;
  std::unique_ptr<servicelb::Kernel> kernel_;
  std::unique_ptr<servicelb::Reconciler> reconciler_;
  std::unique_ptr<async::TaskGroup> group_;
  nft::Session::Spent spent_;  // at the last look
  std::size_t operations_ = 0;
  nft::Table floor_table_{nft::Family::ip, "floor", "", 0};
  nft::Set floor_set_;
};

}  // namespace trama::bench
