// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/api/http_server.h"

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/websocket/rfc6455.hpp>

#include "base/async/byte_stream.h"
#include "base/async/endpoint.h"
#include "base/async/task_group.h"
#include "base/async/websocket_handshake.h"
#include "base/log.h"
#include "base/tls_policy.h"
#include "control/pki/certificate.h"

namespace trama::agent {
namespace {

namespace asio = async::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace websocket = beast::websocket;
using asio::ip::tcp;
using async::kTuple;
using async::TcpStream;
using async::TlsStream;

constexpr std::size_t kLargestMessage = 4u << 20;

base::Error failed(const char* what, const boost::system::error_code& ec) { return {std::error_code(ec), what}; }

std::string choose(std::string_view offered, const std::vector<std::string>& known) {
  for (const auto& mine : known)
    for (auto token : http::token_list(beast::string_view(offered.data(), offered.size())))
      if (token == mine) return mine;
  return "";
}

// One connection: its requests one after the other. The stream is the caller's.
class Session : public HttpExchange {
 public:
  Session(TcpStream& stream, std::chrono::milliseconds patience)
      : stream_(async::byte_stream(stream)), patience_(patience) {}
  Session(TlsStream& stream, std::string peer, std::chrono::milliseconds patience)
      : upgradable_(true), stream_(async::byte_stream(stream)), peer_(std::move(peer)), patience_(patience) {}

  awaitable<void> run(HttpHandler handler) {
    for (;;) {
      http::request_parser<http::string_body> parser;
      parser.header_limit(32 * 1024);
      parser.body_limit(64 * 1024);
      be_patient();
      auto ec = co_await async::read_message(*stream_, buffer_, parser);
      if (ec) break;
      stream_->transport().expires_never();
      request_ = parser.release();
      answered_ = upgraded_ = false;
      auto request = describe();
      co_await handler(request, *this);
      if (upgraded_) co_return;
      if (!answered_) {
        HttpReply nothing;
        nothing.status = 500;
        nothing.content_type = "text/plain";
        co_await reply(nothing);
      }
      if (!request_.keep_alive() || broken_) break;
    }
    be_patient();
    co_await stream_->close();
  }

  awaitable<base::Result<>> reply(HttpReply reply) override {
    http::response<http::string_body> answer(static_cast<http::status>(reply.status), request_.version());
    answer.set(http::field::server, "trama/" TRAMA_VERSION);
    answer.set(http::field::content_type, reply.content_type);
    for (const auto& [name, value] : reply.headers) answer.set(name, value);
    answer.keep_alive(request_.keep_alive());
    answer.body() = request_.method() == http::verb::head ? std::string() : std::move(reply.body);
    answer.prepare_payload();
    answered_ = true;
    http::response_serializer<http::string_body> whole(answer);
    be_patient();
    auto ec = co_await async::write_message(*stream_, whole);
    co_return outcome(ec);
  }

  awaitable<base::Result<>> begin(int status, std::string content_type) override {
    http::response<http::empty_body> answer(static_cast<http::status>(status), request_.version());
    answer.set(http::field::server, "trama/" TRAMA_VERSION);
    answer.set(http::field::content_type, content_type);
    answer.keep_alive(request_.keep_alive());
    answer.chunked(true);
    answered_ = true;
    http::response_serializer<http::empty_body> head(answer);
    head.split(true);
    be_patient();
    auto ec = co_await async::write_message(*stream_, head);
    co_return outcome(ec);
  }
  awaitable<base::Result<>> chunk(std::string data) override {
    if (data.empty()) co_return base::Result<>();
    auto head = fmt::format("{:x}\r\n", data.size());
    std::vector<asio::const_buffer> pieces = {asio::buffer(head), asio::buffer(data), asio::buffer("\r\n", 2)};
    be_patient();
    auto ec = co_await stream_->write(std::move(pieces));
    co_return outcome(ec);
  }
  awaitable<base::Result<>> finish() override {
    std::vector<asio::const_buffer> last = {asio::buffer("0\r\n\r\n", 5)};
    be_patient();
    auto ec = co_await stream_->write(std::move(last));
    co_return outcome(ec);
  }

  awaitable<void> gone() override {
    // Bytes that arrive meanwhile would be a pipelined request, which is lost: this connection takes no other.
    broken_ = true;
    char byte = 0;
    for (;;) {
      stream_->transport().expires_never();
      auto [ec, n] = co_await stream_->read_some(asio::buffer(&byte, 1));
      if (ec) co_return;
    }
  }

  awaitable<base::Result<std::unique_ptr<async::WebSocket>>> websocket(std::vector<std::string> subprotocols) override {
    auto offered = request_[http::field::sec_websocket_protocol];
    auto chosen = choose(std::string_view(offered.data(), offered.size()), subprotocols);
    if (!upgradable_ || !websocket::is_upgrade(request_) || chosen.empty()) {
      HttpReply no;
      no.status = 400;
      no.content_type = "text/plain";
      no.body = fmt::format("this needs a WebSocket with subprotocol {}; kubectl speaks it from 1.30 on\n",
                            fmt::join(subprotocols, " or "));
      co_await reply(no);
      co_return base::Error::text("the client did not ask for a WebSocket that we speak");
    }
    upgraded_ = true;
    async::WebSocketOptions o;
    o.subprotocol = chosen;
    o.headers = {{"Server", "trama/" TRAMA_VERSION}};
    o.pings = true;
    o.largest_message = kLargestMessage;
    co_return co_await async::accept_websocket(stream_, request_, std::move(buffer_), std::move(o));
  }

 private:
  HttpRequest describe() const {
    HttpRequest out;
    out.method = std::string(request_.method_string());
    auto target = std::string_view(request_.target().data(), request_.target().size());
    auto question = std::min(target.find('?'), target.size());
    out.path = std::string(target.substr(0, question));
    out.query = parse_query(target.substr(std::min(question + 1, target.size())));
    out.peer = peer_;
    out.upgrade = websocket::is_upgrade(request_);
    return out;
  }
  void be_patient() { stream_->transport().expires_after(patience_); }
  base::Result<> outcome(const boost::system::error_code& ec) {
    if (!ec) return {};
    broken_ = true;
    return failed("write to the client", ec);
  }

  bool upgradable_ = false;  // not on the plain ports
  std::shared_ptr<async::ByteStream> stream_;
  std::string peer_;
  std::chrono::milliseconds patience_;
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  bool answered_ = false, upgraded_ = false, broken_ = false;
};

base::Result<std::shared_ptr<asio::ssl::context>> make_context(const HttpTls& tls) {
  auto context = std::make_shared<asio::ssl::context>(asio::ssl::context::tls_server);
  base::apply_tls_policy(context->native_handle());
  context->set_verify_mode(asio::ssl::verify_peer | asio::ssl::verify_fail_if_no_peer_cert);
  boost::system::error_code ec;
  context->add_certificate_authority(asio::buffer(tls.client_ca_pem), ec);  // all that are in it
  if (!ec) context->use_certificate_chain(asio::buffer(tls.certificate_pem), ec);
  if (!ec) context->use_private_key(asio::buffer(tls.key_pem), asio::ssl::context::pem, ec);
  if (ec) return failed("use the agent's serving certificate", ec);
  return context;
}

class Server : public HttpServer {
 public:
  Server(asio::any_io_executor ex, HttpServerOptions options, std::optional<HttpTls> tls, HttpHandler handler)
      : ex_(ex),
        options_(std::move(options)),
        tls_(std::move(tls)),
        handler_(std::move(handler)),
        tasks_(ex),
        log_(base::logger(options_.name)) {}

  base::Result<> open() {
    if (tls_) {
      auto context = make_context(*tls_);
      if (!context) return context.error();
      context_ = *context;
    }
    for (const auto& where : options_.listen) {
      auto acceptor = std::make_shared<tcp::acceptor>(ex_);
      boost::system::error_code ec;
      auto endpoint = async::endpoint_of<tcp>(where);
      acceptor->open(endpoint.protocol(), ec);
      if (!ec) acceptor->set_option(tcp::acceptor::reuse_address(true), ec);
      if (!ec && options_.early) (void)async::bind_early(acceptor->native_handle(), where.ip.family());
      if (!ec) acceptor->bind(endpoint, ec);
      if (!ec) acceptor->listen(128, ec);
      if (ec) return failed(fmt::format("listen on {}", where.to_string()).c_str(), ec);
      if (port_ == 0) port_ = acceptor->local_endpoint().port();
      acceptors_.push_back(acceptor);
    }
    for (auto& acceptor : acceptors_) tasks_.spawn("accept", accept(acceptor));
    return {};
  }

  base::Result<> use_certificate(std::string certificate_pem, std::string key_pem, std::string client_ca_pem) override {
    if (!tls_) return base::Error::text("this server speaks plain HTTP");
    auto next = *tls_;
    next.certificate_pem = std::move(certificate_pem);
    next.key_pem = std::move(key_pem);
    next.client_ca_pem = std::move(client_ca_pem);
    auto context = make_context(next);
    if (!context) return context.error();
    tls_ = std::move(next);
    context_ = *context;
    return {};
  }
  std::uint16_t port() const override { return port_; }
  awaitable<void> stop() override {
    for (auto& acceptor : acceptors_) {
      boost::system::error_code ignored;
      acceptor->close(ignored);
    }
    co_await tasks_.stop();
  }

 private:
  awaitable<void> accept(std::shared_ptr<tcp::acceptor> acceptor) {
    for (;;) {
      auto [ec, socket] = co_await acceptor->async_accept(kTuple);
      if (ec == asio::error::operation_aborted || !acceptor->is_open()) co_return;
      if (ec) {  // out of descriptors and the like: not our end
        co_await async::sleep_for(std::chrono::milliseconds(100));
        continue;
      }
      if (refused(socket) || live_ >= options_.connections) continue;
      ++live_;
      tasks_.spawn("connection", tls_ ? serve_tls(std::move(socket)) : serve_plain(std::move(socket)));
    }
  }

  bool refused(const tcp::socket& socket) const {
    boost::system::error_code ec;
    auto from = socket.remote_endpoint(ec);
    if (ec) return true;
    auto ip = base::Ip::parse(from.address().to_string());
    if (!ip) return true;
    for (const auto& cidr : options_.refused_sources)
      if (cidr.contains(*ip)) return true;
    return false;
  }

  struct Count {
    std::size_t& n;
    ~Count() { --n; }
  };

  awaitable<void> serve_plain(tcp::socket socket) {
    Count count{live_};
    TcpStream stream(std::move(socket));
    Session session(stream, options_.patience);
    co_await session.run(handler_);
  }

  awaitable<void> serve_tls(tcp::socket socket) {
    Count count{live_};
    auto context = context_;  // a renewal must not take it away during the handshake
    TcpStream tcp_stream(std::move(socket));
    TlsStream stream(std::move(tcp_stream), *context);
    beast::get_lowest_layer(stream).expires_after(options_.patience);
    auto [ec] = co_await stream.async_handshake(asio::ssl::stream_base::server, kTuple);
    if (ec) {
      log_->debug("a connection ended in its handshake: {}", ec.message());
      co_return;
    }
    X509* presented = SSL_get0_peer_certificate(stream.native_handle());
    pki::Subject who;
    if (presented) who = pki::Certificate::of(presented).subject();
    Session session(stream, who.common_name, options_.patience);
    if (presented && tls_->allowed(who.common_name, who.organizations)) {
      co_await session.run(handler_);
      co_return;
    }
    log_->warn("refused {}: only the controller and administrators may use the agent's API", who.common_name);
    HttpHandler forbid = [](HttpRequest, HttpExchange& exchange) -> awaitable<void> {
      HttpReply no;
      no.status = 403;
      no.content_type = "text/plain";
      no.body = "only the controller and administrators (group system:masters) may use the agent's API\n";
      co_await exchange.reply(no);
    };
    co_await session.run(forbid);
  }

  asio::any_io_executor ex_;
  HttpServerOptions options_;
  std::optional<HttpTls> tls_;
  HttpHandler handler_;
  std::shared_ptr<asio::ssl::context> context_;
  std::vector<std::shared_ptr<tcp::acceptor>> acceptors_;
  std::uint16_t port_ = 0;
  std::size_t live_ = 0;
  async::TaskGroup tasks_;
  std::shared_ptr<spdlog::logger> log_;
};

base::Result<std::unique_ptr<HttpServer>> start_server(asio::any_io_executor ex, HttpServerOptions options,
                                                       std::optional<HttpTls> tls, HttpHandler handler) {
  auto name = options.name;
  auto server = std::make_unique<Server>(ex, std::move(options), std::move(tls), std::move(handler));
  if (auto ok = server->open(); !ok) return base::Error(ok.error()).in(name);
  std::unique_ptr<HttpServer> out = std::move(server);
  return out;
}

}  // namespace

base::Result<std::unique_ptr<HttpServer>> HttpServer::start(asio::any_io_executor ex, HttpServerOptions options,
                                                            HttpHandler handler) {
  return start_server(ex, std::move(options), std::nullopt, std::move(handler));
}

base::Result<std::unique_ptr<HttpServer>> HttpServer::start_tls(asio::any_io_executor ex, HttpServerOptions options,
                                                                HttpTls tls, HttpHandler handler) {
  return start_server(ex, std::move(options), std::move(tls), std::move(handler));
}

}  // namespace trama::agent
