// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/cable.h"

#include <boost/asio/write.hpp>

namespace trama::test {

namespace asio = async::asio;
using tcp = asio::ip::tcp;

struct Cable::Pair {
  explicit Pair(tcp::socket c) : client(std::move(c)), server(client.get_executor()) {}
  void close() {
    boost::system::error_code ignored;
    client.close(ignored), server.close(ignored);
  }
  tcp::socket client, server;
  bool lose_answer = false;
};

Cable::Cable(asio::any_io_executor ex, std::uint16_t to)
    : ex_(ex), to_(to), acceptor_(ex, tcp::endpoint(asio::ip::address_v4::loopback(), 0)), tasks_(ex) {
  port_ = acceptor_.local_endpoint().port();
  tasks_.spawn("cable", accept());
}

async::awaitable<void> Cable::stop() {
  cut();
  boost::system::error_code ignored;
  acceptor_.close(ignored);
  co_await tasks_.stop();
}

void Cable::cut() {
  cut_ = true;
  for (auto* pair : live_) pair->close();
}

void Cable::mend() { cut_ = false; }

void Cable::lose(std::string text, unsigned requests, unsigned answers) {
  text_ = std::move(text), requests_ = requests, answers_ = answers;
}

async::awaitable<void> Cable::accept() {
  for (;;) {
    auto [ec, client] = co_await acceptor_.async_accept(async::kTuple);
    if (ec) co_return;
    if (cut_) continue;  // closed by its destructor
    tasks_.spawn("connection", serve(std::make_shared<Pair>(std::move(client))));
  }
}

async::awaitable<void> Cable::serve(std::shared_ptr<Pair> pair) {
  struct Live {
    std::set<Pair*>& all;
    std::shared_ptr<Pair> pair;
    ~Live() { all.erase(pair.get()); }
  };
  live_.insert(pair.get());
  Live live{live_, pair};
  tcp::endpoint target(asio::ip::address_v4::loopback(), to_);
  auto [ec] = co_await pair->server.async_connect(target, async::kTuple);
  if (ec) {
    pair->close();
    co_return;
  }
  tasks_.spawn("back", back(pair));
  co_await forth(pair);
  pair->close();
}

async::awaitable<void> Cable::forth(std::shared_ptr<Pair> pair) {
  std::string bytes(1 << 16, '\0');
  for (;;) {
    auto [ec, n] = co_await pair->client.async_read_some(asio::buffer(bytes), async::kTuple);
    if (ec) co_return;
    std::string_view some(bytes.data(), n);
    if (!text_.empty() && some.find(text_) != std::string_view::npos) {
      auto dice = random_() % 100;
      if (dice < requests_) {
        ++lost_requests_;
        co_return;
      }
      pair->lose_answer = dice < requests_ + answers_;
    }
    auto [write_ec, m] = co_await asio::async_write(pair->server, asio::buffer(some), async::kTuple);
    if (write_ec) co_return;
  }
}

async::awaitable<void> Cable::back(std::shared_ptr<Pair> pair) {
  std::string bytes(1 << 16, '\0');
  for (;;) {
    auto [ec, n] = co_await pair->server.async_read_some(asio::buffer(bytes), async::kTuple);
    if (ec || pair->lose_answer) {
      if (!ec) ++lost_answers_;
      if (!ec && cut_after_loss_) cut();
      pair->close();
      co_return;
    }
    auto [write_ec, m] = co_await asio::async_write(pair->client, asio::buffer(bytes.data(), n), async::kTuple);
    if (write_ec) {
      pair->close();
      co_return;
    }
  }
}

}  // namespace trama::test
