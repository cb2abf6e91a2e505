// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/etcd/connection.h"

#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/url/parse.hpp>
#include <boost/url/url_view.hpp>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

namespace trama::etcd {

using base::Error;
using base::Result;

namespace {

Error failed(const boost::system::error_code& ec, std::string what) {
  if (ec == beast::error::timeout) return Error::from_errno(ETIMEDOUT, std::move(what));
  return Error(ec, std::move(what));
}

// A member that vanished without a FIN is noticed within about 6 s, also by a watch that only listens.
void keep_alive(tcp::socket& socket) {
  int fd = socket.native_handle();
  auto set = [fd](int level, int name, int value) { (void)::setsockopt(fd, level, name, &value, sizeof value); };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, 3);
  set(IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set(IPPROTO_TCP, TCP_KEEPCNT, 3);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, 6'000);
  set(IPPROTO_TCP, TCP_NODELAY, 1);
}

using Post = http::request<http::string_body>;

template <class S>
awaitable<Result<>> exchange_on(S& stream, Connection& c, Post& request, Parser& parser, bool whole) {
  auto [sent, n] = co_await http::async_write(stream, request, async::kTuple);
  if (sent) co_return failed(sent, "ask " + c.member.url);
  if (whole) {
    auto [ec, m] = co_await http::async_read(stream, c.buffer, parser, async::kTuple);
    if (ec) co_return failed(ec, "read the answer of " + c.member.url);
  } else {
    auto [ec, m] = co_await http::async_read_header(stream, c.buffer, parser, async::kTuple);
    if (ec) co_return failed(ec, "read the answer of " + c.member.url);
  }
  co_return Result<>();
}

}  // namespace

bool Connection::looks_alive() {
  char c = 0;
  auto n = ::recv(lowest().socket().native_handle(), &c, 1, MSG_PEEK | MSG_DONTWAIT);
  return n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

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
  SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
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
  std::vector<tcp::endpoint> endpoints;
  boost::system::error_code parse;
  auto address = asio::ip::make_address(to.host, parse);
  if (!parse) {
    endpoints.emplace_back(address, static_cast<std::uint16_t>(std::stoul(to.port)));
  } else {
    tcp::resolver resolver(ex);
    auto [ec, results] = co_await resolver.async_resolve(to.host, to.port, async::kTuple);
    if (ec) co_return Error(ec, "resolve " + to.host);
    for (const auto& r : results) endpoints.push_back(r.endpoint());
  }
  if (to.tls)
    c->tls.emplace(beast::tcp_stream(ex), *context);
  else
    c->plain.emplace(ex);
  c->lowest().expires_after(limit);
  auto [ec, where] = co_await c->lowest().async_connect(endpoints, async::kTuple);
  if (ec) co_return failed(ec, "connect to " + to.url);
  keep_alive(c->lowest().socket());
  if (!to.tls) co_return c;
  if (parse) SSL_set_tlsext_host_name(c->tls->native_handle(), to.host.c_str());
  c->tls->set_verify_callback(asio::ssl::host_name_verification(to.host));
  auto [tls] = co_await c->tls->async_handshake(asio::ssl::stream_base::client, async::kTuple);
  if (!tls) co_return c;
  long verdict = SSL_get_verify_result(c->tls->native_handle());
  if (verdict != X509_V_OK)
    co_return Error::text(fmt::format("TLS with {}: its certificate is not acceptable: {}", to.url,
                                      X509_verify_cert_error_string(verdict)),
                          std::errc::protocol_error);
  co_return failed(tls, "TLS with " + to.url);
}

awaitable<Result<>> exchange(Connection& c, std::string path, std::string body, Parser& parser, bool whole) {
  Post request{http::verb::post, path, 11};
  request.set(http::field::host, c.member.authority);
  request.set(http::field::content_type, "application/json");
  request.set(http::field::user_agent, "trama/" TRAMA_VERSION);
  request.body() = std::move(body);
  request.prepare_payload();
  if (c.tls) co_return co_await exchange_on(*c.tls, c, request, parser, whole);
  co_return co_await exchange_on(*c.plain, c, request, parser, whole);
}

awaitable<Result<>> read_more(Connection& c, Parser& parser) {
  boost::system::error_code failure;
  if (c.tls) {
    auto [ec, n] = co_await http::async_read_some(*c.tls, c.buffer, parser, async::kTuple);
    failure = ec;
  } else {
    auto [ec, n] = co_await http::async_read_some(*c.plain, c.buffer, parser, async::kTuple);
    failure = ec;
  }
  if (failure) co_return failed(failure, "read the watch of " + c.member.url);
  co_return Result<>();
}

}  // namespace trama::etcd
