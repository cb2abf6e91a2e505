// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/etcd/gateway.h"

#include "base/async/dial.h"
#include "base/line_buffer.h"
#include "control/etcd/connection.h"

namespace trama::etcd {

using base::Error;
using base::Result;

namespace {

class Lines final : public LineStream {
 public:
  Lines(std::unique_ptr<Connection> connection, std::unique_ptr<Parser> parser)
      : connection_(std::move(connection)), parser_(std::move(parser)) {
    connection_->lowest().expires_never();
  }
  awaitable<Result<std::string>> next() override {
    for (;;) {
      if (closed_) co_return Error::from_errno(ECANCELED, "the watch was closed");
      if (auto line = lines_.next()) co_return std::move(*line);
      auto& body = parser_->get().body();
      while (body.empty()) {
        if (parser_->is_done()) co_return Error::from_errno(ENODATA, "the watch has ended");
        auto more = co_await read_more(*connection_, *parser_);
        if (!more) co_return std::move(more).error();
        heard_ = std::chrono::steady_clock::now();
      }
      lines_.add(body);
      body.clear();
    }
  }
  void close() override {
    closed_ = true;
    boost::system::error_code ignored;
    connection_->lowest().socket().shutdown(tcp::socket::shutdown_both, ignored);
  }
  const std::string& member() const override { return connection_->member.url; }
  std::chrono::steady_clock::time_point last_heard() const override { return heard_; }

 private:
  std::unique_ptr<Connection> connection_;
  std::unique_ptr<Parser> parser_;
  base::LineBuffer lines_;
  std::chrono::steady_clock::time_point heard_ = std::chrono::steady_clock::now();
  bool closed_ = false;
};

Failure no_answer(const Error& why) { return {Code::no_answer, why.to_string()}; }

class HttpGateway final : public Gateway {
 public:
  HttpGateway(asio::any_io_executor ex, GatewayOptions options, std::vector<Member> members,
              std::shared_ptr<asio::ssl::context> context)
      : ex_(std::move(ex)), options_(std::move(options)), members_(std::move(members)), context_(std::move(context)) {
    idle_.resize(members_.size());
  }

  awaitable<Reply> call(std::string path, std::string body) override {
    Reply reply;
    for (std::size_t tried = 0; tried < members_.size(); ++tried) {
      auto at = current_;
      auto connection = take_idle(at);
      if (!connection) {
        auto opened = co_await connect(ex_, members_[at], context_, options_.connect_timeout);
        if (!opened) {
          reply.failure = no_answer(opened.error());
          leave(at);
          continue;
        }
        connection = std::move(*opened);
      }
      Parser parser;
      parser.body_limit(options_.answer_limit);
      connection->lowest().expires_after(options_.request_timeout);
      auto done = co_await exchange(*connection, path, body, parser, true);
      if (!done) {
        leave(at);
        reply.failure = no_answer(done.error());
        reply.maybe = true;
        co_return reply;
      }
      auto status = static_cast<int>(parser.get().result_int());
      reply.text = std::move(parser.get().body());
      reply.failure = status == 200 ? Failure{Code::ok, ""} : parse_failure(status, reply.text);
      // Whoever has no leader, or waited for one in vain, does not know what will become of a request.
      reply.maybe = reply.failure.code == Code::unavailable || reply.failure.code == Code::unknown;
      if (reply.maybe) leave(at);
      if (parser.get().keep_alive()) {
        connection->lowest().expires_never();
        idle_[at].push_back(std::move(connection));
      }
      co_return reply;
    }
    co_return reply;
  }

  awaitable<Result<std::unique_ptr<LineStream>>> watch(std::string body) override {
    auto to = members_[watch_at_++ % members_.size()];
    auto connection = co_await connect(ex_, to, context_, options_.connect_timeout);
    if (!connection) co_return std::move(connection).error();
    auto parser = std::make_unique<Parser>();
    parser->body_limit(boost::none);
    parser->eager(false);  // an eager parser holds a line back until the next one begins
    (*connection)->lowest().expires_after(options_.request_timeout);
    auto begun = co_await exchange(**connection, "/v3/watch", std::move(body), *parser, false);
    if (!begun) co_return std::move(begun).error();
    auto status = static_cast<int>(parser->get().result_int());
    if (status != 200)
      co_return Error::text(fmt::format("{} refuses to be watched: HTTP {}", to.url, status),
                            std::errc::protocol_error);
    co_return std::unique_ptr<LineStream>(std::make_unique<Lines>(std::move(*connection), std::move(parser)));
  }

  std::size_t members() const override { return members_.size(); }

 private:
  void leave(std::size_t member) {
    idle_[member].clear();
    if (current_ == member) current_ = (member + 1) % members_.size();
  }
  std::unique_ptr<Connection> take_idle(std::size_t member) {
    auto& idle = idle_[member];
    while (!idle.empty()) {
      auto c = std::move(idle.back());
      idle.pop_back();
      if (async::looks_alive(c->lowest().socket())) return c;
    }
    return nullptr;
  }

  asio::any_io_executor ex_;
  GatewayOptions options_;
  std::vector<Member> members_;
  std::shared_ptr<asio::ssl::context> context_;
  std::vector<std::vector<std::unique_ptr<Connection>>> idle_;
  std::size_t current_ = 0, watch_at_ = 0;
};

}  // namespace

Error Reply::error() const {
  auto code = failure.code == Code::no_answer || failure.code == Code::unavailable ? std::errc::not_connected
              : failure.code == Code::exhausted                                    ? std::errc::no_space_on_device
                                                                                   : std::errc::protocol_error;
  return Error::text("etcd: " + failure.message, code);
}

awaitable<Reply> Gateway::call_again(std::string path, std::string body) {
  Reply reply;
  for (std::size_t n = 0; n < 2 * members(); ++n) {
    if (n > 0) co_await async::sleep_for(milliseconds(n % members() == 0 ? 200 : 20));
    reply = co_await call(path, body);
    if (!reply.maybe && reply.failure.code != Code::no_answer) co_return reply;
  }
  co_return reply;
}

Result<std::unique_ptr<Gateway>> Gateway::make(asio::any_io_executor ex, GatewayOptions options) {
  std::vector<Member> members;
  bool tls = false;
  for (const auto& url : options.urls) {
    auto member = parse_member(url);
    if (!member) return std::move(member).error();
    tls |= member->tls;
    members.push_back(std::move(*member));
  }
  if (members.empty()) return Error::text("no etcd member is given: expected etcd:http://HOST:2379[,URL…]");
  std::shared_ptr<asio::ssl::context> context;
  if (tls) {
    auto made = make_context(options);
    if (!made) return std::move(made).error();
    context = std::move(*made);
  }
  return std::unique_ptr<Gateway>(
      std::make_unique<HttpGateway>(std::move(ex), std::move(options), std::move(members), std::move(context)));
}

}  // namespace trama::etcd
