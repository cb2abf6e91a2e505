// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/api_client.h"

#include <list>

#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>

#include "control/api/json_text.h"
#include "control/client/stream.h"

namespace trama::client {

using base::Error;
using base::Result;
namespace asio = async::asio;

namespace {

using Request = http::request<http::string_body>;

Response to_response(http::response<http::string_body> answer) {
  Response r;
  r.status = static_cast<int>(answer.result_int());
  r.content_type = std::string(answer[http::field::content_type]);
  for (auto [it, end] = answer.equal_range(http::field::warning); it != end; ++it)
    r.warnings.emplace_back("Warning", std::string(it->value()));
  std::string coding(answer[http::field::content_encoding]);
  if (!coding.empty() && coding != "identity") {
    r.odd = fmt::format("it is encoded ({}), which was not asked for", coding);
  } else if (r.status >= 300 && r.status < 400) {
    r.odd = fmt::format("it points to {}; that is not followed: give the API server's own address",
                        std::string(answer[http::field::location]));
  } else if (r.content_type.starts_with("application/json")) {
    boost::system::error_code bad;
    auto value = api::parse_json(answer.body(), bad);
    if (!bad) {
      r.body = std::move(value);
      return r;
    }
    r.odd = fmt::format("its JSON is broken: {}", bad.message());
  } else {
    r.odd = fmt::format("it is {}", r.content_type.empty() ? "of no type" : r.content_type);
  }
  r.text = std::move(answer.body());
  return r;
}

// An answer's head, or all of it; what only says that the answer is still to come (1xx) is passed over.
enum class Part { all, head, no_body };  // no_body: an answer to HEAD, whatever length it names
awaitable<boost::system::error_code> read_answer(Connection& c, std::unique_ptr<BodyParser>& parser, std::size_t limit,
                                                 Part part) {
  constexpr int kMostInterim = 16;
  for (int i = 0; i < kMostInterim; ++i) {
    parser = std::make_unique<BodyParser>();
    parser->body_limit(limit);
    parser->skip(part == Part::no_body);
    auto ec = co_await async::read_header(*c.bytes, c.buffer, *parser);
    if (ec) co_return ec;
    auto status = parser->get().result_int();
    if (status >= 100 && status < 200 && status != 101) continue;
    if (part == Part::all && !parser->is_done()) ec = co_await async::read_message(*c.bytes, c.buffer, *parser);
    co_return ec;
  }
  co_return http::error::bad_status;
}

awaitable<boost::system::error_code> send(Connection& c, const Request& message) {
  http::request_serializer<http::string_body> whole(message);
  co_return co_await async::write_message(*c.bytes, whole);
}

class Client final : public ApiClient {
 public:
  Client(asio::any_io_executor ex, ClientOptions options, std::vector<Target> targets, std::shared_ptr<TlsSetup> tls)
      : ex_(std::move(ex)), options_(std::move(options)), targets_(std::move(targets)), tls_(std::move(tls)) {}

  awaitable<Result<Response>> request(std::string method, std::string path, std::string body, std::string content_type,
                                      Headers extra) override {
    auto message = compose(method, path, std::move(body), content_type, extra);
    auto part = method == "HEAD" ? Part::no_body : Part::all;
    for (;;) {
      auto connection = co_await acquire();
      if (!connection) co_return std::move(connection).error().in(fmt::format("{} {}", method, path));
      auto c = std::move(*connection);
      auto at = c->server;
      message.set(http::field::host, targets_[at].authority);
      bool reused = c->used;
      c->lowest().expires_after(options_.request_timeout);
      auto sent_ec = co_await send(*c, message);
      std::unique_ptr<BodyParser> parser;
      boost::system::error_code ec = sent_ec;
      if (!ec) ec = co_await read_answer(*c, parser, options_.response_limit, part);
      if (ec) {
        // The server may close an idle connection just as we use it. POST is not repeated: it may have been done.
        bool nothing_came = !parser || !parser->got_some();
        bool closed = ec != beast::error::timeout && ec != asio::error::operation_aborted;
        if (reused && nothing_came && closed && (method != "POST" || sent_ec)) continue;
        auto failed = answer_error(ec, fmt::format("{} https://{}{}", method, targets_[at].authority, path));
        if (ec != asio::error::operation_aborted) leave(at);
        co_return failed;
      }
      // Bytes that nobody asked for would be taken for the next answer.
      bool keep = parser->get().keep_alive() && c->buffer.size() == 0;
      auto answer = to_response(parser->release());
      if (answer.status == 503) leave(at);
      if (keep && at == current_) give_back(std::move(c));
      co_return answer;
    }
  }

  awaitable<Result<Upgraded>> upgrade(std::string method, std::string path, Headers headers) override {
    auto opened = co_await connect();
    if (!opened) co_return std::move(opened).error().in(fmt::format("{} {}", method, path));
    auto c = std::move(*opened);
    auto message = compose(method, path, "", "", headers);
    message.set(http::field::connection, "Upgrade");
    c->lowest().expires_after(options_.request_timeout);
    auto sent_ec = co_await send(*c, message);
    if (sent_ec) co_return transport_error(sent_ec, fmt::format("{} {}", method, path));
    std::unique_ptr<BodyParser> parser;
    auto ec = co_await read_answer(*c, parser, options_.response_limit, Part::head);
    if (ec) co_return answer_error(ec, fmt::format("{} {}", method, path));
    Upgraded result;
    const auto& head = parser->get();
    result.status = static_cast<int>(head.result_int());
    result.head = fmt::format("HTTP/1.1 {} {}\r\n", head.result_int(), std::string(head.reason()));
    for (const auto& field : head) {
      result.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
      result.head += fmt::format("{}: {}\r\n", result.headers.back().first, result.headers.back().second);
    }
    result.head += "\r\n";
    if (result.status == 101) {
      result.tunnel = std::make_unique<TlsTunnel>(std::move(c));
      co_return result;
    }
    if (!parser->is_done()) {
      auto body_ec = co_await async::read_message(*c->bytes, c->buffer, *parser);
      if (body_ec) co_return answer_error(body_ec, fmt::format("{} {}", method, path));
    }
    result.refusal = to_response(parser->release());
    co_return result;
  }

  awaitable<Result<std::unique_ptr<WebSocket>>> websocket(std::string path, std::string subprotocol) override {
    auto opened = co_await connect();
    if (!opened) co_return std::move(opened).error().in(path);
    auto headers = own_headers();
    auto target = targets_[(*opened)->server];
    co_return co_await open_websocket(std::move(*opened), std::move(target), path, subprotocol, headers,
                                      options_.request_timeout);
  }

  awaitable<Result<std::unique_ptr<Stream>>> stream(std::string path, Headers extra = {}) override {
    auto opened = co_await connect();
    if (!opened) co_return std::move(opened).error().in(fmt::format("GET {}", path));
    auto c = std::move(*opened);
    auto message = compose("GET", path, "", "", extra);
    c->lowest().expires_after(options_.request_timeout);
    auto sent_ec = co_await send(*c, message);
    if (sent_ec) co_return transport_error(sent_ec, fmt::format("GET {}", path));
    std::unique_ptr<BodyParser> parser;
    auto ec = co_await read_answer(*c, parser, options_.response_limit, Part::head);
    if (ec) co_return answer_error(ec, fmt::format("GET {}", path));
    auto status = parser->get().result_int();
    if (status < 200 || status > 299) {
      if (!parser->is_done()) {
        auto body_ec = co_await async::read_message(*c->bytes, c->buffer, *parser);
        if (body_ec) co_return answer_error(body_ec, fmt::format("GET {}", path));
      }
      auto refusal = to_response(parser->release());
      if (refusal.status == 503) leave(c->server);
      co_return error_of(refusal);
    }
    if (auto coding = parser->get()[http::field::content_encoding]; !coding.empty() && coding != "identity")
      co_return Error::text(
          fmt::format("GET {}: the answer is encoded ({}), which was not asked for", path, std::string(coding)),
          std::errc::protocol_error);
    co_return std::unique_ptr<Stream>(
        std::make_unique<HttpStream>(std::move(c), std::move(parser), options_.line_limit));
  }

  void close_idle() override { idle_.clear(); }

  void close_all() override {
    idle_.clear();
    for (auto* c : *open_) {
      boost::system::error_code ignored;
      c->lowest().socket().shutdown(tcp::socket::shutdown_both, ignored);
    }
  }

  Result<> use_certificate(std::string certificate_pem, std::string key_pem) override {
    auto changed = options_;
    changed.certificate_pem = std::move(certificate_pem);
    changed.key_pem = std::move(key_pem);
    return use(std::move(changed));
  }

  Result<> use_trust(std::string ca_pem) override {
    auto changed = options_;
    changed.ca_pem = std::move(ca_pem);
    changed.ca_pin.clear();
    return use(std::move(changed));
  }

  void use_token(std::string token) override { options_.bearer_token = std::move(token); }

  std::string verified_ca_pem() const override { return ca_pem_; }
  std::string current_server() const override { return "https://" + targets_[current_].authority; }
  const ClientOptions& options() const override { return options_; }

 private:
  Result<> use(ClientOptions changed) {
    auto tls = make_tls(changed);
    if (!tls) return std::move(tls).error();
    tls_ = std::move(*tls);
    options_ = std::move(changed);
    idle_.clear();
    return {};
  }

  Headers own_headers() const {
    Headers headers;
    headers.emplace_back("User-Agent", options_.user_agent);
    if (!options_.bearer_token.empty()) headers.emplace_back("Authorization", "Bearer " + options_.bearer_token);
    return headers;
  }

  Request compose(const std::string& method, const std::string& path, std::string body, const std::string& content_type,
                  const Headers& extra) const {
    Request message;
    message.version(11);
    message.method_string(method);
    message.target(path);
    message.set(http::field::host, targets_[current_].authority);
    message.set(http::field::accept, "application/json");
    for (const auto& [name, value] : own_headers()) message.set(name, value);
    if (!body.empty()) message.set(http::field::content_type, content_type);
    message.body() = std::move(body);
    for (const auto& [name, value] : extra) message.set(name, value);
    // Methods with a body say its length even when it is empty; GET stays without.
    if (!message.body().empty() || method == "POST" || method == "PUT" || method == "PATCH")
      message.content_length(message.body().size());
    return message;
  }

  // To the server that was used last, or the first of the others that can be reached.
  awaitable<Result<std::unique_ptr<Connection>>> connect() {
    std::string errors;
    for (std::size_t i = 0;; ++i) {
      auto at = current_;
      auto opened = co_await open_connection(ex_, tls_, targets_[at], options_.connect_timeout);
      if (opened) {
        ca_pem_ = root_of_verified_chain((*opened)->stream.native_handle());
        (*opened)->server = at;
        (*opened)->list_in(open_);
        co_return opened;
      }
      if (opened.error().is(std::errc::operation_canceled) || targets_.size() == 1) co_return opened;
      leave(at);
      errors += (errors.empty() ? "" : "; ") + opened.error().to_string();
      if (i + 1 == targets_.size()) co_return Error::text(errors, std::errc::host_unreachable);
    }
  }

  // This server is of no use now: the next one's turn. Several requests may find that out at once.
  void leave(std::size_t at) {
    if (targets_.size() == 1 || at != current_) return;
    current_ = (at + 1) % targets_.size();
    idle_.clear();
  }

  awaitable<Result<std::unique_ptr<Connection>>> acquire() {
    while (!idle_.empty()) {
      auto c = std::move(idle_.back());  // the most recently used one is the least likely to be stale
      idle_.pop_back();
      if (c->looks_alive()) co_return c;
    }
    co_return co_await connect();
  }

  void give_back(std::unique_ptr<Connection> c) {
    if (c->tls != tls_) return;  // opened with credentials that have been replaced
    c->used = true;
    c->lowest().expires_never();
    idle_.push_back(std::move(c));
    if (idle_.size() > options_.idle_connections) idle_.pop_front();
  }

  asio::any_io_executor ex_;
  ClientOptions options_;
  std::vector<Target> targets_;
  std::size_t current_ = 0;  // the one that is used
  std::shared_ptr<TlsSetup> tls_;
  std::shared_ptr<OpenConnections> open_ = std::make_shared<OpenConnections>();
  std::list<std::unique_ptr<Connection>> idle_;
  std::string ca_pem_;
};

}  // namespace

Result<std::unique_ptr<ApiClient>> ApiClient::make(asio::any_io_executor ex, ClientOptions options) {
  auto targets = parse_targets(options);
  if (!targets) return std::move(targets).error();
  auto tls = make_tls(options);
  if (!tls) return std::move(tls).error();
  return std::unique_ptr<ApiClient>(
      std::make_unique<Client>(std::move(ex), std::move(options), std::move(*targets), std::move(*tls)));
}

}  // namespace trama::client
