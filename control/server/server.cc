// SPDX-License-Identifier: GPL-2.0-or-later
// Sockets, TLS, and requests as values. Besides http_answer.cc the only file that knows the HTTP library.
#include "control/server/server.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <set>

#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include "base/async/byte_stream.h"
#include "base/async/task_group.h"
#include "base/log.h"
#include "control/server/answers.h"
#include "control/server/handlers.h"
#include "control/server/http_answer.h"
#include "control/server/tls.h"
#include "control/server/watch_stream.h"

namespace trama::server {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace ssl = asio::ssl;
using asio::ip::tcp;
using async::ByteStream;
using async::kTuple;
using async::TcpStream;
using async::TlsStream;
using base::Error;
using base::Result;
using boost::system::error_code;

constexpr std::size_t kBodyLimit = 3 << 20;
constexpr std::uint32_t kHeaderLimit = 16 << 10;
constexpr std::chrono::milliseconds kLastWords{1'000};

Error failed(error_code ec, std::string what) {
  return Error(std::error_code(ec.value(), std::system_category()), std::move(what));
}

class TlsServer final : public Server {
 public:
  TlsServer(asio::any_io_executor ex, store::Store& store, Options options)
      : ex_(ex),
        store_(store),
        options_(std::move(options)),
        pods_(NodePods::of(store)),
        throttle_(options_.limits),
        tasks_(ex),
        log_(base::logger("api")) {}

  Result<> prepare() {
    auto made = make_server_tls(options_);
    if (!made) return std::move(made).error();
    tls_ = std::move(*made);
    trusted_ = pins_of(options_.client_ca_pem);
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
    trusted_ = pins_of(options_.client_ca_pem);
    // Whoever came in by a CA that has been dropped since is out, watches included.
    for (auto* client : clients_)
      if (!is_trusted(client->peer)) client->stream.transport().close();
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
      error_code gone;
      auto address = socket.remote_endpoint(gone).address().to_string();
      if (gone || crowded(address)) continue;
      tasks_.spawn("session", session(std::move(socket), std::move(address)));
    }
  }

  // Whoever opens connections without end and says nothing in them takes no room from the others.
  bool crowded(const std::string& address) {
    auto it = strangers_.find(address);
    if (it == strangers_.end() || it->second < options_.strangers_per_address) return false;
    auto now = Throttle::Clock::now();
    if (now >= crowd_told_ + std::chrono::minutes(1)) {
      log_->warn("{} has {} connections open that do not say who they are; more are closed", address, it->second);
      crowd_told_ = now;
    }
    return true;
  }

  // A connection among those of its address, until it has said who it is.
  class Stranger {
   public:
    Stranger(std::map<std::string, std::size_t>& all, const std::string& address)
        : all_(all), it_(all.try_emplace(address, 0).first) {
      ++it_->second;
    }
    ~Stranger() { known(); }
    Stranger(const Stranger&) = delete;
    Stranger& operator=(const Stranger&) = delete;
    void known() {
      if (known_) return;
      known_ = true;
      if (--it_->second == 0) all_.erase(it_);
    }
    bool is_known() const { return known_; }

   private:
    std::map<std::string, std::size_t>& all_;
    std::map<std::string, std::size_t>::iterator it_;
    bool known_ = false;
  };

  bool is_trusted(const Peer& peer) const { return peer.authority.empty() || trusted_.count(peer.authority) != 0; }

  // One connection and who is at its other end.
  struct Client {
    ByteStream& stream;
    Peer peer;
    std::string address;
    Stranger& stranger;
    beast::flat_buffer buffer = {};
  };

  struct Listed {
    Listed(std::set<Client*>& all, Client& one) : all_(all), one_(&one) { all_.insert(one_); }
    ~Listed() { all_.erase(one_); }
    Listed(const Listed&) = delete;
    Listed& operator=(const Listed&) = delete;
    std::set<Client*>& all_;
    Client* one_;
  };

  awaitable<void> session(tcp::socket socket, std::string address) {
    Stranger stranger(strangers_, address);
    error_code ignored;
    socket.set_option(tcp::no_delay(true), ignored);
    socket.set_option(asio::socket_base::keep_alive(true), ignored);
    auto tls = tls_;  // a renewal must not take it away during the handshake
    TcpStream tcp(std::move(socket));
    TlsStream stream(std::move(tcp), *tls);
    auto bytes = async::byte_stream(stream);
    bytes->transport().expires_after(options_.slow_client);
    auto [handshake] = co_await stream.async_handshake(ssl::stream_base::server, kTuple);
    if (handshake) {
      log_->debug("TLS handshake: {}", handshake.message());
      co_await last_words(*bytes);
      co_return;
    }
    Client client{*bytes, peer_of(stream.native_handle()), std::move(address), stranger};
    if (!client.peer.identity.name.empty()) stranger.known();
    {
      Listed listed(clients_, client);
      bool more = is_trusted(client.peer);
      while (more) more = co_await one_request(client);
    }
    bytes->transport().expires_after(std::chrono::seconds(1));
    co_await bytes->close();
  }

  // Lets the peer read why it was refused: a socket that is closed with something unread takes that back.
  awaitable<void> last_words(ByteStream& stream) {
    auto& transport = stream.transport();
    error_code ec;
    transport.socket().shutdown(tcp::socket::shutdown_send, ec);
    if (ec) co_return;
    transport.expires_after(std::min(options_.slow_client, kLastWords));
    auto below = async::byte_stream(transport);
    std::array<char, 512> unread;
    auto space = asio::buffer(unread);
    std::size_t n = 1;
    while (n > 0 && !ec) {
      auto [failed, size] = co_await below->read_some(space);
      ec = failed, n = size;
    }
  }

  // Reads a request and answers it; false when the connection is over.
  awaitable<bool> one_request(Client& client) {
    auto& stream = client.stream;
    auto& buffer = client.buffer;
    http::request_parser<http::string_body> parser;
    parser.body_limit(kBodyLimit);
    parser.header_limit(kHeaderLimit);
    // Idle connections may wait; a request that has begun may not dawdle.
    stream.transport().expires_after(client.stranger.is_known() ? options_.idle : options_.slow_client);
    if (buffer.size() == 0) {
      auto space = buffer.prepare(8192);
      auto [ec, n] = co_await stream.read_some(space);
      if (ec) co_return false;
      buffer.commit(n);
    }
    stream.transport().expires_after(options_.slow_client);
    auto header_ec = co_await async::read_header(stream, buffer, parser);
    if (header_ec) {
      co_await refuse(stream, buffer, header_ec);
      co_return false;
    }
    // kubectl and client-go send bodies at once; "Expect" is a courtesy to curl.
    if (beast::iequals(parser.get()[http::field::expect], "100-continue")) {
      HttpAnswer first(stream, buffer, true, false, options_.slow_client);
      if (!co_await first.go_on()) co_return false;
    }
    bool upgrade = parser.get().find(http::field::upgrade) != parser.get().end();
    if (!upgrade && !parser.is_done()) {
      auto ec = co_await async::read_message(stream, buffer, parser);
      if (ec) {
        co_await refuse(stream, buffer, ec);
        co_return false;
      }
    }
    auto message = parser.release();
    stream.transport().expires_never();
    bool head = message.method() == http::verb::head;
    HttpAnswer answer(stream, buffer, message.keep_alive() && !upgrade, head, options_.slow_client);
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
    request.identity = client.peer.identity;
    request.authority = client.peer.authority;
    auto refused = authenticate(request, client.address);
    if (!refused && !request.identity.name.empty()) client.stranger.known();
    // Kept-alive and resumed connections outlive the handshake that looked at the certificate.
    if (client.peer.has_ended(std::time(nullptr))) refused = api::Status::unauthorized();
    if (refused) {
      auto reply = reply_status(*refused);
      (void)co_await answer.reply(std::move(reply));
      co_return answer.reusable();
    }
    auto path = parse_resource(request.path);
    bool lasting = path && (is_watch(request, *path) || (is_raw(*path) && options_.raw));
    Ticket ticket(throttle_, request.identity, client.address, lasting);
    if (ticket.wait) {
      auto reply = reply_status(too_many(ticket.who, *ticket.wait));
      (void)co_await answer.reply(std::move(reply));
      co_return answer.reusable();
    }
    co_await respond(std::move(request), std::move(path), answer);
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

  awaitable<void> respond(Request request, std::optional<ResourcePath> path, HttpAnswer& answer) {
    log_->debug("{} {} {}", request.identity.name.empty() ? "system:anonymous" : request.identity.name, request.method,
                request.target);
    Context context{store_, options_, pods_.get()};
    bool watch = path && is_watch(request, *path);
    bool raw = path && is_raw(*path) && options_.raw;
    if (!watch && !raw) {
      auto reply = co_await handle(context, std::move(request), std::move(path));
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

  awaitable<void> refuse(ByteStream& stream, beast::flat_buffer& buffer, error_code ec) {
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
    HttpAnswer answer(stream, buffer, false, false, options_.slow_client);
    auto reply = reply_status(s);
    (void)co_await answer.reply(std::move(reply));
  }

  asio::any_io_executor ex_;
  store::Store& store_;
  Options options_;
  std::shared_ptr<const NodePods> pods_;
  std::shared_ptr<ssl::context> tls_;
  Throttle throttle_;
  async::TaskGroup tasks_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak accept_trouble_;
  Throttle::Clock::time_point crowd_told_{};
  std::map<std::string, std::size_t> strangers_;  // connections by address
  std::set<Client*> clients_;
  std::set<std::string> trusted_;  // key pins of the CAs whose certificates count
};

}  // namespace

Result<std::unique_ptr<Server>> Server::create(asio::any_io_executor ex, store::Store& store, Options options) {
  auto server = std::make_unique<TlsServer>(std::move(ex), store, std::move(options));
  if (auto ready = server->prepare(); !ready) return std::move(ready).error();
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace trama::server
