// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/dial.h"

#include <boost/beast/core/error.hpp>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace trama::async {

awaitable<base::Result<std::vector<tcp::endpoint>>> resolve(asio::any_io_executor ex, std::string host,
                                                            std::string port) {
  std::vector<tcp::endpoint> endpoints;
  boost::system::error_code ec;
  auto address = asio::ip::make_address(host, ec);
  if (!ec) {
    endpoints.emplace_back(address, static_cast<std::uint16_t>(std::stoul(port)));
    co_return endpoints;
  }
  tcp::resolver resolver(ex);
  auto [failed, results] = co_await resolver.async_resolve(host, port, kTuple);
  if (failed) co_return base::Error(failed, fmt::format("resolve {}", host));
  for (const auto& r : results) endpoints.push_back(r.endpoint());
  co_return endpoints;
}

void keep_alive(tcp::socket& socket, std::chrono::seconds idle, std::chrono::seconds interval) {
  constexpr int kProbes = 3;
  int fd = socket.native_handle();
  auto set = [fd](int level, int name, std::int64_t wide) {
    auto value = static_cast<int>(wide);
    (void)::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, idle.count());
  set(IPPROTO_TCP, TCP_KEEPINTVL, interval.count());
  set(IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, (idle + kProbes * interval).count() * 1000);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

bool looks_alive(tcp::socket& socket) {
  char c = 0;
  auto n = ::recv(socket.native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

base::Error transport_error(const boost::system::error_code& ec, std::string what) {
  if (ec == boost::beast::error::timeout) return base::Error::from_errno(ETIMEDOUT, std::move(what));
  return base::Error(ec, std::move(what));
}

}  // namespace trama::async
