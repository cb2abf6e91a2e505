// SPDX-License-Identifier: GPL-2.0-or-later
// The only file that knows the HTTP library: sockets, TLS, and requests as values.
#include "control/server/server.h"

#include <algorithm>
#include <array>
#include <ctime>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "base/async/task_group.h"
#include "base/log.h"
#include "control/server/answers.h"
#include "control/server/handlers.h"
#include "control/server/tls.h"
#include "control/server/watch_stream.h"

namespace trama::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using async::kTuple;
using base::Error;
using base::Result;
using boost::system::error_code;
using TlsStream = beast::ssl_stream<beast::tcp_stream>;

constexpr std::size_t kBodyLimit = 3 << 20;
constexpr std::uint32_t kHeaderLimit = 16 << 10;
constexpr std::chrono::seconds kIdle{120};  // between two requests on a connection

Error failed(error_code ec, std::string what) {
  return Error(std::error_code(ec.value(), std::system_category()), std::move(what));
}

// One answer on one connection.
class TlsAnswer final : public Stream {
 public:
  TlsAnswer(TlsStream& stream, beast::flat_buffer& buffer, bool keep_alive, bool head, std::chrono::seconds slow)
      : stream_(stream), buffer_(buffer), keep_alive_(keep_alive), head_(head), slow_(slow) {}

  awaitable<Result<>> reply(Reply reply) override {
    answered_ = true;
    http::response<http::string_body> out;
    out.version(11);
    out.result(static_cast<unsigned>(reply.status));
    out.set(http::field::content_type, reply.content_type);
    for (const auto& [name, value] : reply.headers) out.insert(name, value);
    out.keep_alive(keep_alive_);
    out.body() = std::move(reply.body);
    out.prepare_payload();
    if (head_) out.body().clear();
    beast::get_lowest_layer(stream_).expires_after(slow_);
    auto [ec, n] = co_await http::async_write(stream_, out, kTuple);
    if (ec) co_return fail(ec);
    co_return Result<>{};
  }

  awaitable<Result<>> begin(int status, std::string content_type) override {
    answered_ = true;
    http::response<http::empty_body> out;
    out.version(11);
    out.result(static_cast<unsigned>(status));
    out.set(http::field::content_type, content_type);
    out.keep_alive(keep_alive_);
    out.chunked(true);
    http::response_serializer<http::empty_body> serializer(out);
    beast::get_lowest_layer(stream_).expires_after(slow_);
    auto [ec, n] = co_await http::async_write_header(stream_, serializer, kTuple);
    if (ec) co_return fail(ec);
    co_return Result<>{};
  }

  awaitable<Result<>> chunk(std::string data) override {
    if (data.empty()) co_return Result<>{};
    beast::get_lowest_layer(stream_).expires_after(slow_);
    auto piece = http::make_chunk(asio::buffer(data));
    auto [ec, n] = co_await asio::async_write(stream_, piece, kTuple);
    if (ec) co_return fail(ec);
    co_return Result<>{};
  }

  awaitable<Result<>> finish() override {
    beast::get_lowest_layer(stream_).expires_after(slow_);
    auto last = http::make_chunk_last();
    auto [ec, n] = co_await asio::async_write(stream_, last, kTuple);
    if (ec) co_return fail(ec);
    co_return Result<>{};
  }

  awaitable<Result<std::string>> read_some() override {
    raw_ = true;
    std::string out;
    if (buffer_.size() > 0) {  // bytes that arrived together with the request
      out.assign(static_cast<const char*>(buffer_.data().data()), buffer_.size());
      buffer_.consume(buffer_.size());
      co_return out;
    }
    beast::get_lowest_layer(stream_).expires_never();
    out.resize(16'384);
    auto space = asio::buffer(out);
    auto [ec, n] = co_await stream_.async_read_some(space, kTuple);
    out.resize(n);
    if (ec == asio::error::eof || ec == ssl::error::stream_truncated) co_return std::string();
    if (ec) co_return failed(ec, "read from the client");
    co_return out;
  }

  awaitable<Result<>> write(std::string data) override {
    raw_ = answered_ = true;
    auto piece = asio::buffer(data);
    auto [ec, n] = co_await asio::async_write(stream_, piece, kTuple);
    if (ec) co_return fail(ec);
    co_return Result<>{};
  }

  // Returns when the client has closed its side, or sends what nobody will read.
  awaitable<void> wait_gone() {
    beast::get_lowest_layer(stream_).expires_never();
    std::array<char, 512> unread;
    auto space = asio::buffer(unread);
    (void)co_await stream_.async_read_some(space, kTuple);
  }
  // The connection ends with this answer.
  void close_afterwards() { keep_alive_ = false; }

  bool answered() const { return answered_; }
  // False once the connection can not carry another request.
  bool reusable() const { return keep_alive_ && !raw_ && !broken_; }

 private:
  Error fail(error_code ec) {
    broken_ = true;
    return failed(ec, "write to the client");
  }
  TlsStream& stream_;
  beast::flat_buffer& buffer_;
  bool keep_alive_, head_;
  std::chrono::seconds slow_;
  bool answered_ = false, raw_ = false, broken_ = false;
};

class TlsServer final : public Server {
 public:
  TlsServer(asio::any_io_executor ex, store::Store& store, Options options)
      : ex_(ex),
        store_(store),
        options_(std::move(options)),
        throttle_(options_.limits),
        tasks_(ex),
        log_(base::logger("api")) {}

  Result<> prepare() {
    auto made = make_server_tls(options_);
    if (!made) return std::move(made).error();
    tls_ = std::move(*made);
    return {};
  }

  Result<> use_tls(std::string certificate_pem, std::string key_pem, std::string client_ca_pem) override {
    auto next = options_;
    next.certificate_pem = std::move(certificate_pem);
    next.key_pem = std::move(key_pem);
    next.client_ca_pem = std::move(client_ca_pem);
    auto made = make_server_tls(next);
    if (!made) return std::move(made).error();
    options_ = std::move(next);
    tls_ = std::move(*made);
    return {};
  }

  Result<> listen(base::UniqueFd socket) override {
    sockaddr_storage address{};
    socklen_t n = sizeof address;
    if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &n) < 0)
      return Error::from_errno(errno, "serve on a listening socket");
    auto acceptor = std::make_shared<tcp::acceptor>(ex_);
    error_code ec;
    acceptor->assign(address.ss_family == AF_INET6 ? tcp::v6() : tcp::v4(), socket.release(), ec);
    if (ec) return failed(ec, "serve on a listening socket");
    tasks_.spawn("accept", accept_loop(acceptor));
    return {};
  }

  awaitable<void> stop() override { co_await tasks_.stop(); }

 private:
  awaitable<void> accept_loop(std::shared_ptr<tcp::acceptor> acceptor) {
    for (;;) {
      while (tasks_.live() > options_.connections) co_await async::sleep_for(std::chrono::milliseconds(50));
      auto [ec, socket] = co_await acceptor->async_accept(kTuple);
      if (ec == asio::error::operation_aborted) co_return;
      if (ec) {
        // Out of descriptors or the like: accepting again at once would spin.
        accept_trouble_.failed([this](const std::string& line) { log_->warn("{}", line); },
                               failed(ec, "accept a connection"));
        co_await async::sleep_for(std::chrono::milliseconds(100));
        continue;
      }
      accept_trouble_.recovered([this](const std::string& line) { log_->info("accepting: {}", line); });
      tasks_.spawn("session", session(std::move(socket)));
    }
  }

  awaitable<void> session(tcp::socket socket) {
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    auto tls = tls_;  // a renewal must not take it away during the handshake
    TlsStream stream(beast::tcp_stream(std::move(socket)), *tls);
    beast::get_lowest_layer(stream).expires_after(options_.slow_client);
    auto [handshake] = co_await stream.async_handshake(ssl::stream_base::server, kTuple);
    if (handshake) {
      log_->debug("TLS handshake: {}", handshake.message());
      co_return;
    }
    auto who = peer_of(stream.native_handle());
    auto from = beast::get_lowest_layer(stream).socket().remote_endpoint(ignored);
    auto address = from.address().to_string();
    beast::flat_buffer buffer;
    bool more = true;
    while (more) more = co_await one_request(stream, buffer, who, address);
    beast::get_lowest_layer(stream).expires_after(std::chrono::seconds(1));
    (void)co_await stream.async_shutdown(kTuple);
  }

  // Reads a request and answers it; false when the connection is over.
  awaitable<bool> one_request(TlsStream& stream, beast::flat_buffer& buffer, const Peer& peer, std::string address) {
    http::request_parser<http::string_body> parser;
    parser.body_limit(kBodyLimit);
    parser.header_limit(kHeaderLimit);
    // Idle connections may wait; a request that has begun may not dawdle.
    beast::get_lowest_layer(stream).expires_after(kIdle);
    if (buffer.size() == 0) {
      auto space = buffer.prepare(8192);
      auto [ec, n] = co_await stream.async_read_some(space, kTuple);
      if (ec) co_return false;
      buffer.commit(n);
    }
    beast::get_lowest_layer(stream).expires_after(options_.slow_client);
    auto [header_ec, header_n] = co_await http::async_read_header(stream, buffer, parser, kTuple);
    if (header_ec) {
      co_await refuse(stream, buffer, header_ec);
      co_return false;
    }
    // kubectl and client-go send bodies at once; "Expect" is a courtesy to curl.
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      http::response<http::empty_body> go(http::status::continue_, 11);
      auto [ec, n] = co_await http::async_write(stream, go, kTuple);
      if (ec) co_return false;
    }
    bool upgrade = parser.get().find(http::field::upgrade) != parser.get().end();
    if (!upgrade) {
      auto [ec, n] = co_await http::async_read(stream, buffer, parser, kTuple);
      if (ec) {
        co_await refuse(stream, buffer, ec);
        co_return false;
      }
    }
    auto message = parser.release();
    beast::get_lowest_layer(stream).expires_never();
    bool head = message.method() == http::verb::head;
    TlsAnswer answer(stream, buffer, message.keep_alive() && !upgrade, head, options_.slow_client);
    auto target = parse_target(std::string_view(message.target()));
    if (!target) {
      auto bad = reply_status(api::Status::bad_request("the request's target does not parse"));
      (void)co_await answer.reply(std::move(bad));
      co_return answer.reusable();
    }
    Request request;
    request.method = std::string(message.method_string());
    request.path = std::move(target->path);
    request.query = std::move(target->query);
    request.target = std::string(message.target());
    for (const auto& field : message) {
      std::string name(field.name_string());
      for (auto& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      auto& slot = request.headers[name];
      slot += (slot.empty() ? "" : ", ") + std::string(field.value());
    }
    request.body = std::move(message.body());
    request.identity = peer.identity;
    auto refused = authenticate(request, address);
    // Kept-alive and resumed connections outlive the handshake that looked at the certificate.
    if (peer.has_ended(std::time(nullptr))) refused = api::Status::unauthorized();
    if (refused) {
      auto reply = reply_status(*refused);
      (void)co_await answer.reply(std::move(reply));
      co_return answer.reusable();
    }
    auto path = parse_resource(request.path);
    bool lasting = path && (is_watch(request, *path) || (is_raw(*path) && options_.raw));
    Ticket ticket(throttle_, request.identity, address, lasting);
    if (ticket.wait) {
      auto reply = reply_status(too_many(ticket.who, *ticket.wait));
      (void)co_await answer.reply(std::move(reply));
      co_return answer.reusable();
    }
    co_await respond(std::move(request), answer);
    co_return answer.reusable();
  }

  static api::Status too_many(const std::string& who, int retry_after) {
    api::Status s;
    s.code = 429;
    s.reason = "TooManyRequests";
    s.message = fmt::format("Too many requests from {}, please try again later", who);
    s.retry_after_seconds = retry_after;
    return s;
  }

  // A request among those of its client, for as long as it lasts.
  struct Ticket {
    Ticket(Throttle& all, const Identity& from, const std::string& address, bool lasting)
        : throttle(all), who(from.name.empty() ? address : from.name) {
      kind = lasting ? Throttle::Kind::stream : Throttle::Kind::request;
      auto roles = roles_of(from);
      counted = std::find(roles.begin(), roles.end(), Role::admin) == roles.end();
      if (counted) wait = throttle.enter(who, from.name.empty(), kind, Throttle::Clock::now());
    }
    ~Ticket() {
      if (counted && !wait) throttle.leave(who, kind);
    }
    Ticket(const Ticket&) = delete;
    Ticket& operator=(const Ticket&) = delete;
    Throttle& throttle;
    std::string who;
    Throttle::Kind kind = Throttle::Kind::request;
    bool counted = true;
    std::optional<int> wait;
  };

  // A bearer token counts only where no certificate speaks; a wrong one is an error, never "anonymous".
  std::optional<api::Status> authenticate(Request& request, const std::string& address) {
    auto authorization = request.header("authorization");
    if (authorization.empty() || !request.identity.name.empty()) return std::nullopt;
    constexpr std::string_view kBearer = "bearer ";
    if (authorization.size() <= kBearer.size() ||
        !beast::iequals(std::string_view(authorization).substr(0, kBearer.size()), kBearer) ||
        !options_.authenticate_token)
      return api::Status::unauthorized();
    // Who guesses tokens is soon not listened to any more.
    auto now = Throttle::Clock::now();
    if (!throttle_.may_try(address, now)) return too_many(address, 1);
    auto who = options_.authenticate_token(authorization.substr(kBearer.size()));
    if (!who) {
      throttle_.count_failure(address, now);
      return api::Status::unauthorized();
    }
    request.identity = std::move(*who);
    return std::nullopt;
  }

  awaitable<void> respond(Request request, TlsAnswer& answer) {
    log_->debug("{} {} {}", request.identity.name.empty() ? "system:anonymous" : request.identity.name, request.method,
                request.target);
    Context context{store_, options_};
    auto path = parse_resource(request.path);
    bool watch = path && is_watch(request, *path);
    bool raw = path && is_raw(*path) && options_.raw;
    if (!watch && !raw) {
      auto reply = co_await handle(context, std::move(request));
      (void)co_await answer.reply(std::move(reply));
      co_return;
    }
    if (auto refused = admit(context, request, *path)) {
      auto reply = reply_status(*refused);
      (void)co_await answer.reply(std::move(reply));
      co_return;
    }
    if (watch) {
      // A watch may be silent for an hour: that its client has left shows only in what can be read. The reader goes
      // first, while no deadline is set on the connection.
      using namespace asio::experimental::awaitable_operators;
      answer.close_afterwards();
      auto gone = answer.wait_gone();
      auto work = serve_watch(context, std::move(request), std::move(*path), answer);
      co_await (std::move(gone) || std::move(work));
      co_return;
    }
    SubresourcePath where;
    where.resource = std::string(path->kind->resource);
    where.ns = path->ns, where.name = path->name, where.subresource = path->subresource, where.rest = path->rest;
    co_await options_.raw(std::move(where), std::move(request), answer);
    if (!answer.answered()) {
      auto reply = reply_status(api::Status::internal("no answer"));
      (void)co_await answer.reply(std::move(reply));
    }
  }

  awaitable<void> refuse(TlsStream& stream, beast::flat_buffer& buffer, error_code ec) {
    api::Status s;
    if (ec == http::error::body_limit) {
      s.code = 413, s.reason = "RequestEntityTooLarge",
      s.message = fmt::format("Request entity too large: limit is {}", kBodyLimit);
    } else if (ec == http::error::header_limit || ec == http::error::buffer_overflow) {
      s.code = 431, s.reason = "BadRequest",
      s.message = fmt::format("request header too large: limit is {}", kHeaderLimit);
    } else if (ec.category() == make_error_code(http::error::bad_method).category() &&
               ec != http::error::end_of_stream) {
      s = api::Status::bad_request(fmt::format("this is not HTTP/1.1: {}", ec.message()));
    } else {
      co_return;  // gone, or too slow: nobody is there to read an answer
    }
    TlsAnswer answer(stream, buffer, false, false, options_.slow_client);
    auto reply = reply_status(s);
    (void)co_await answer.reply(std::move(reply));
  }

  asio::any_io_executor ex_;
  store::Store& store_;
  Options options_;
  std::shared_ptr<ssl::context> tls_;
  Throttle throttle_;
  async::TaskGroup tasks_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak accept_trouble_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::create(asio::any_io_executor ex, store::Store& store, Options options) {
  auto server = std::make_unique<TlsServer>(std::move(ex), store, std::move(options));
  if (auto ready = server->prepare(); !ready) return std::move(ready).error();
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace trama::server
