// SPDX-License-Identifier: GPL-2.0-or-later
// A real controller process on loopback, many clients of it in this process, and what it is compared with.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "control/client/api_client.h"
#include "tests/e2e/support/controller_process.h"

namespace trama::bench {

namespace json = boost::json;
using async::awaitable;
using Clock = std::chrono::steady_clock;

// Throws: everything that was started ends on the way out.
[[noreturn]] void fail(const std::string& why);
double seconds_since(Clock::time_point begin);
double quantile(std::vector<double> v, double q);

// A directory under $TMPDIR that goes with this object.
class Scratch {
 public:
  Scratch();
  ~Scratch();
  const std::string path;
};

// How often a second this disk makes 4 KiB durable, one after the other: what a store that commits each write on its
// own can reach at most.
double durable_appends_per_second(const std::string& directory, std::chrono::milliseconds how_long);

// The controller, and clients that share one thread, this one.
class ControlRig {
 public:
  explicit ControlRig(const std::string& more_arguments = "");
  ~ControlRig();

  test::ControllerProcess& controller() { return *controller_; }
  client::ApiClient& api() { return *api_; }
  boost::asio::io_context& context() { return context_; }
  const std::string& directory() const { return scratch_.path; }

  // Stops the controller and starts it again over the same data; how long it took to serve.
  double restart();
  // Runs one coroutine to its end.
  void run(awaitable<void> task);
  // Calls `one(i)` for i = 0 … until `until` (0: `count` times), at most `together` at a time; how many there were.
  std::size_t many(std::size_t together, std::size_t count, std::chrono::milliseconds until,
                   const std::function<awaitable<void>(std::size_t)>& one);
  // POST; ends the program when it is refused.
  awaitable<void> create(std::string path, std::string body);
  json::object get(const std::string& path);

  // `trama sim nodes …` against it; seconds until all are Ready.
  double simulate(unsigned nodes, const std::string& more = "");
  void end_simulation(int signal);
  pid_t simulation() const { return simulation_; }

 private:
  void connect();
  Scratch scratch_;
  std::string arguments_;
  std::unique_ptr<test::ControllerProcess> controller_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_{context_.get_executor()};
  std::unique_ptr<client::ApiClient> api_;
  pid_t simulation_ = -1;
};

// Debian's etcd, one member on loopback, through its JSON gateway.
class EtcdPeer {
 public:
  EtcdPeer();
  ~EtcdPeer();
  static bool installed();
  // Puts of 1 KiB for that long, at most `together` at a time; how many a second.
  double puts_per_second(std::size_t together, std::chrono::milliseconds how_long);

 private:
  Scratch scratch_;
  std::uint16_t port_ = 0;
  pid_t pid_ = -1;
};

std::uint16_t free_port();
std::string trama_program();

}  // namespace trama::bench
