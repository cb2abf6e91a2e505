// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/connection.h"

#include <boost/beast/core/error.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>

#include "base/ip.h"

namespace trama::client {

using base::Error;
using base::Result;
namespace asio = async::asio;

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

awaitable<Result<std::unique_ptr<Connection>>> open_connection(asio::any_io_executor ex, std::shared_ptr<TlsSetup> tls,
                                                               Target target, milliseconds limit) {
  auto endpoints = co_await async::resolve(ex, target.host, target.port);
  if (!endpoints) co_return std::move(endpoints).error();
  auto c = std::make_unique<Connection>(ex, tls);
  c->lowest().expires_after(limit);
  auto [ec, where] = co_await c->lowest().async_connect(*endpoints, async::kTuple);
  if (ec) co_return transport_error(ec, fmt::format("connect to {}", target.authority));
  async::keep_alive(c->lowest().socket(), std::chrono::seconds(6), std::chrono::seconds(3));
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
