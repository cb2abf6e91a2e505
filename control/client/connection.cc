// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/connection.h"

#include <boost/beast/core/error.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "base/ip.h"

namespace trama::client {

using base::Error;
using base::Result;
namespace asio = async::asio;

namespace {

// A peer that vanished without a FIN is noticed within about 15 s, whether we are writing or only listening.
void keep_alive(tcp::socket& socket) {
  int fd = socket.native_handle();
  auto set = [fd](int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 6);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 3);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 15'000);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

awaitable<Result<std::vector<tcp::endpoint>>> resolve(asio::any_io_executor ex, Target target) {
  std::vector<tcp::endpoint> endpoints;
  boost::system::error_code ec;
  auto address = asio::ip::make_address(target.host, ec);
  if (!ec) {
    endpoints.emplace_back(address, static_cast<std::uint16_t>(std::stoul(target.port)));
    co_return endpoints;
  }
  tcp::resolver resolver(ex);
  auto [failed, results] = co_await resolver.async_resolve(target.host, target.port, async::kTuple);
  if (failed) co_return Error(failed, fmt::format("resolve {}", target.host));
  for (const auto& r : results) endpoints.push_back(r.endpoint());
  co_return endpoints;
}

}  // namespace

Error transport_error(const boost::system::error_code& ec, std::string what) {
  if (ec == beast::error::timeout) return Error::from_errno(ETIMEDOUT, std::move(what));
  return Error(ec, std::move(what));
}

Result<Target> parse_target(const ClientOptions& options) {
  auto url = boost::urls::parse_uri(options.server);
  if (!url || url->scheme() != "https" || url->host().empty())
    return Error::text(fmt::format("the server \"{}\" is not a URL like https://192.0.2.1:6443", options.server));
  Target t;
  t.host = std::string(url->host_address());
  t.port = url->has_port() && !url->port().empty() ? std::string(url->port()) : "443";
  if (url->has_port() && url->port_number() == 0)
    return Error::text(fmt::format("the server \"{}\" has no usable port", options.server));
  bool v6 = t.host.find(':') != std::string::npos;
  t.authority = (v6 ? "[" + t.host + "]" : t.host) + ":" + t.port;
  bool pinned_only = options.ca_pem.empty();
  t.verify = !options.server_name.empty() ? options.server_name : pinned_only ? "kubernetes.default.svc" : t.host;
  return t;
}

bool Connection::looks_alive() {
  char c = 0;
  auto n = ::recv(lowest().socket().native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

awaitable<Result<std::unique_ptr<Connection>>> open_connection(asio::any_io_executor ex, std::shared_ptr<TlsSetup> tls,
                                                               Target target, milliseconds limit) {
  auto endpoints = co_await resolve(ex, target);
  if (!endpoints) co_return std::move(endpoints).error();
  auto c = std::make_unique<Connection>(ex, tls);
  c->lowest().expires_after(limit);
  auto [ec, where] = co_await c->lowest().async_connect(*endpoints, async::kTuple);
  if (ec) co_return transport_error(ec, fmt::format("connect to {}", target.authority));
  keep_alive(c->lowest().socket());
  if (auto ok = expect_peer(c->stream.native_handle(), target.verify); !ok) co_return std::move(ok).error();
  auto [tls_ec] = co_await c->stream.async_handshake(asio::ssl::stream_base::client, async::kTuple);
  if (tls_ec) {
    if (tls_ec == beast::error::timeout || tls_ec == asio::error::operation_aborted)
      co_return transport_error(tls_ec, fmt::format("TLS with {}", target.authority));
    auto why = handshake_failure(c->stream.native_handle(), *tls, tls_ec);
    co_return Error::text(fmt::format("TLS with {}: {}", target.authority, why), std::errc::protocol_error);
  }
  co_return c;
}

}  // namespace trama::client
