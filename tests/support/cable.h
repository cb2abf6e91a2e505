// SPDX-License-Identifier: GPL-2.0-or-later
// A TCP connection that a test can cut: forwards a port of loopback to another one, on the test's own io_context.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "base/async/task_group.h"

namespace trama::test {

class Cable {
 public:
  Cable(async::asio::any_io_executor ex, std::uint16_t to);
  std::uint16_t port() const { return port_; }
  async::awaitable<void> stop();
  void cut();  // all connections, and new ones get nowhere
  void mend();
  void cut_after_a_lost_answer() { cut_after_loss_ = true; }
  // Of every hundred requests that contain `text`: how many are lost on their way, and how many answers.
  void lose(std::string text, unsigned requests, unsigned answers);
  unsigned lost_requests() const { return lost_requests_; }
  unsigned lost_answers() const { return lost_answers_; }

 private:
  struct Pair;
  async::awaitable<void> accept();
  async::awaitable<void> serve(std::shared_ptr<Pair> pair);
  async::awaitable<void> forth(std::shared_ptr<Pair> pair);
  async::awaitable<void> back(std::shared_ptr<Pair> pair);

  async::asio::any_io_executor ex_;
  std::uint16_t to_, port_ = 0;
  async::asio::ip::tcp::acceptor acceptor_;
  async::TaskGroup tasks_;
  std::set<Pair*> live_;
  bool cut_ = false, cut_after_loss_ = false;
  std::string text_;
  unsigned requests_ = 0, answers_ = 0, lost_requests_ = 0, lost_answers_ = 0;
  std::mt19937 random_{1};
};

}  // namespace trama::test
