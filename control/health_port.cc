// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/health_port.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <fmt/format.h>

#include "base/async/deadline.h"

namespace trama::control {

using tcp = async::asio::ip::tcp;

namespace {

constexpr std::size_t kHead = 8 * 1024;
constexpr int kAtATime = 64;

std::string answer(int status, const char* text, const std::string& body) {
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
      status, text, body.size(), body);
}

// What requests share; they may end after the acceptor when the group is stopped.
struct Shared {
  HealthPort port;
  int live = 0;
};

async::awaitable<base::Result<>> converse(tcp::socket& socket, const HealthPort& port) {
  std::string head;
  auto buffer = async::asio::dynamic_buffer(head, kHead);
  auto [read_ec, n] = co_await async::asio::async_read_until(socket, buffer, "\r\n\r\n", async::kTuple);
  if (read_ec) co_return base::Error(read_ec, "read a request");
  auto reply = health_answer(head, port);
  auto [write_ec, m] = co_await async::asio::async_write(socket, async::asio::buffer(reply), async::kTuple);
  if (write_ec) co_return base::Error(write_ec, "answer a request");
  co_return base::Result<>();
}

async::awaitable<void> one(tcp::socket socket, std::shared_ptr<Shared> shared) {
  struct Count {
    int& live;
    ~Count() { --live; }
  };
  Count count{shared->live};
  auto work = converse(socket, shared->port);
  auto done = co_await async::with_deadline(std::move(work), std::chrono::seconds(5), "health request");
  (void)done;  // a client that goes away is its own business
}

}  // namespace

std::string health_answer(const std::string& head, const HealthPort& port) {
  auto line = head.substr(0, head.find("\r\n"));
  if (!line.starts_with("GET ")) return answer(405, "Method Not Allowed", "only GET\n");
  auto path = line.substr(4, line.find(' ', 4) - 4);
  path = path.substr(0, path.find('?'));
  if (path == "/metrics") return answer(200, "OK", port.metrics ? port.metrics() : "");
  if (path != "/healthz" && path != "/livez" && path != "/readyz") return answer(404, "Not Found", "not found\n");
  auto reason = port.unhealthy ? port.unhealthy() : "";
  return reason.empty() ? answer(200, "OK", "ok") : answer(503, "Service Unavailable", reason + "\n");
}

async::awaitable<void> serve_health(async::TaskGroup& group, base::UniqueFd socket, HealthPort port) {
  auto ex = co_await async::asio::this_coro::executor;
  tcp::acceptor acceptor(ex);
  boost::system::error_code ec;
  acceptor.assign(tcp::v4(), socket.release(), ec);
  if (ec) co_return;
  auto shared = std::make_shared<Shared>();
  shared->port = std::move(port);
  for (;;) {
    auto [accept_ec, client] = co_await acceptor.async_accept(async::kTuple);
    if (accept_ec || shared->live >= kAtATime) {  // out of descriptors, or too many: breathe instead of spinning
      co_await async::sleep_for(std::chrono::milliseconds(100));
      continue;
    }
    ++shared->live;
    group.spawn("health", one(std::move(client), shared));
  }
}

}  // namespace trama::control
