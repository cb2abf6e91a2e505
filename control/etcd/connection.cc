// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/etcd/connection.h"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <openssl/ssl.h>

#include "base/async/dial.h"
#include "base/tls_policy.h"

namespace trama::etcd {

using base::Error;
using base::Result;

Result<Member> parse_member(const std::string& text) {
  auto url = boost::urls::parse_uri(text);
  if (!url || (url->scheme() != "http" && url->scheme() != "https") || url->host().empty() ||
      !(url->path().empty() || url->path() == "/"))
    return Error::text(fmt::format("the etcd member \"{}\" is not a URL like http://192.0.2.1:2379", text));
  Member m;
  m.url = text;
  m.tls = url->scheme() == "https";
  m.host = std::string(url->host_address());
  m.port = url->has_port() && !url->port().empty() ? std::string(url->port()) : "2379";
  if (url->has_port() && url->port_number() == 0)
    return Error::text(fmt::format("the etcd member \"{}\" has no usable port", text));
  m.authority = (m.host.find(':') != std::string::npos ? "[" + m.host + "]" : m.host) + ":" + m.port;
  return m;
}

Result<std::shared_ptr<asio::ssl::context>> make_context(const GatewayOptions& o) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_client);
  base::apply_tls_policy(context->native_handle());
  context->set_verify_mode(asio::ssl::verify_peer);
  boost::system::error_code ec;
  if (o.ca_pem.empty())
    return Error::text("an https URL of etcd needs the CA that its certificate is signed by (--etcd-ca FILE)");
  context->add_certificate_authority(asio::buffer(o.ca_pem), ec);
  if (ec) return Error(ec, "etcd's CA can not be used");
  if (o.certificate_pem.empty() != o.key_pem.empty())
    return Error::text(
        "the client certificate for etcd needs its key, and the other way round (--etcd-cert, --etcd-key)");
  if (o.certificate_pem.empty()) return context;
  context->use_certificate_chain(asio::buffer(o.certificate_pem), ec);
  if (ec) return Error(ec, "the client certificate for etcd can not be used");
  context->use_private_key(asio::buffer(o.key_pem), asio::ssl::context::pem, ec);
  if (ec) return Error(ec, "the key of the client certificate for etcd can not be used");
  return context;
}

awaitable<Result<std::unique_ptr<Connection>>> connect(asio::any_io_executor ex, Member to,
                                                       std::shared_ptr<asio::ssl::context> context,
                                                       milliseconds limit) {
  auto c = std::make_unique<Connection>(to);
  c->context = context;
  auto endpoints = co_await async::resolve(ex, to.host, to.port);
  if (!endpoints) co_return std::move(endpoints).error();
  if (to.tls) {
    c->tls.emplace(TcpStream(ex), *context);
    c->bytes = async::byte_stream(*c->tls);
  } else {
    c->plain.emplace(ex);
    c->bytes = async::byte_stream(*c->plain);
  }
  c->lowest().expires_after(limit);
  auto [ec, where] = co_await c->lowest().async_connect(*endpoints, async::kTuple);
  if (ec) co_return async::transport_error(ec, "connect to " + to.url);
  // Shorter than to an API server: another member is at hand.
  async::keep_alive(c->lowest().socket(), std::chrono::seconds(3), std::chrono::seconds(1));
  if (!to.tls) co_return c;
  boost::system::error_code is_name;
  asio::ip::make_address(to.host, is_name);
  if (is_name) SSL_set_tlsext_host_name(c->tls->native_handle(), to.host.c_str());
  c->tls->set_verify_callback(asio::ssl::host_name_verification(to.host));
  auto [tls] = co_await c->tls->async_handshake(asio::ssl::stream_base::client, async::kTuple);
  if (!tls) co_return c;
  long verdict = SSL_get_verify_result(c->tls->native_handle());
  if (verdict != X509_V_OK)
    co_return Error::text(fmt::format("TLS with {}: its certificate is not acceptable: {}", to.url,
                                      X509_verify_cert_error_string(verdict)),
                          std::errc::protocol_error);
  co_return async::transport_error(tls, "TLS with " + to.url);
}

awaitable<Result<>> exchange(Connection& c, std::string path, std::string body, Parser& parser, bool whole) {
  http::request<http::string_body> request{http::verb::post, path, 11};
  request.set(http::field::host, c.member.authority);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::user_agent, "trama/" TRAMA_VERSION);
  request.body() = std::move(body);
  request.prepare_payload();
  http::request_serializer<http::string_body> message(request);
  auto ec = co_await async::write_message(*c.bytes, message);
  if (ec) co_return async::transport_error(ec, "ask " + c.member.url);
  if (whole)
    ec = co_await async::read_message(*c.bytes, c.buffer, parser);
  else
    ec = co_await async::read_header(*c.bytes, c.buffer, parser);
  if (ec) co_return async::transport_error(ec, "read the answer of " + c.member.url);
  co_return Result<>();
}

awaitable<Result<>> read_more(Connection& c, Parser& parser) {
  auto ec = co_await async::read_some(*c.bytes, c.buffer, parser);
  if (ec) co_return async::transport_error(ec, "read the watch of " + c.member.url);
  co_return Result<>();
}

}  // namespace trama::etcd
