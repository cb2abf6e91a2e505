// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/connection.h"

#include <boost/asio/ssl/error.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <openssl/err.h>
#include <openssl/sslerr.h>

#include "base/ip.h"

namespace trama::client {

using base::Error;
using base::Result;
namespace asio = async::asio;

namespace {

Result<Target> parse_target(const std::string& server, const ClientOptions& options) {
  auto url = boost::urls::parse_uri(server);
  if (!url || url->scheme() != "https" || url->host().empty())
    return Error::text(fmt::format("the server \"{}\" is not a URL like https://192.0.2.1:6443", server));
  Target t;
  t.host = std::string(url->host_address());
  t.port = url->has_port() && !url->port().empty() ? std::string(url->port()) : "443";
  if (url->has_port() && url->port_number() == 0)
    return Error::text(fmt::format("the server \"{}\" has no usable port", server));
  bool v6 = t.host.find(':') != std::string::npos;
  t.authority = (v6 ? "[" + t.host + "]" : t.host) + ":" + t.port;
  bool pinned_only = options.ca_pem.empty();
  t.verify = !options.server_name.empty() ? options.server_name : pinned_only ? "kubernetes.default.svc" : t.host;
  return t;
}

}  // namespace

Result<std::vector<Target>> parse_targets(const ClientOptions& options) {
  std::vector<Target> out;
  std::string_view rest = options.server;
  do {
    auto comma = rest.find(',');
    auto target = parse_target(std::string(rest.substr(0, comma)), options);
    if (!target) return std::move(target).error();
    out.push_back(std::move(*target));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  } while (!rest.empty());
  return out;
}

Error answer_error(const boost::system::error_code& ec, std::string what) {
  auto odd = [&what](std::string_view why) {
    return Error::text(fmt::format("{}: {}", what, why), std::errc::protocol_error);
  };
  if (ec == http::error::body_limit) return odd("the answer is larger than any that an API server gives");
  if (ec == http::error::header_limit) return odd("the header of the answer is larger than 8 KiB");
  if (ec == http::error::partial_message || ec == http::error::end_of_stream)
    return odd("the server hung up before its answer was whole");
  if (ec.category() == make_error_code(http::error::bad_version).category())
    return odd(fmt::format("what came is not HTTP/1.1 ({}): is this an API server?", ec.message()));
  if (ec.category() == asio::error::get_ssl_category()) {
    auto reason = ERR_GET_REASON(static_cast<unsigned long>(static_cast<unsigned>(ec.value())));
    if (reason == SSL_R_TLSV1_ALERT_UNKNOWN_CA || reason == SSL_R_SSLV3_ALERT_BAD_CERTIFICATE ||
        reason == SSL_R_TLSV1_ALERT_DECRYPT_ERROR)
      return Error::text(
          fmt::format("{}: the server does not accept our certificate ({}). If the cluster has a new CA (trama "
                      "controller rotate-ca), ours is from before it: a node must be deleted and join again with an "
                      "empty data directory, a person needs a new kubeconfig",
                      what, ec.message()),
          std::errc::permission_denied);
  }
  return transport_error(ec, std::move(what));
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
