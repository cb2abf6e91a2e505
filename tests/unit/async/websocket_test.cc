// SPDX-License-Identifier: GPL-2.0-or-later
// Both ends of a WebSocket over a loopback connection, and what the wire says where one end is written by hand.
#include <boost/asio/connect.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/parser.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/async/websocket_handshake.h"
#include "tests/support/run_coroutine.h"

namespace trama::async {
namespace {

using asio::ip::tcp;
using base::Result;
using boost::system::error_code;
using namespace std::chrono_literals;
using test::run_coroutine;

using Accepted = Result<std::unique_ptr<WebSocket>>;

struct Ends : ::testing::Test {
  Ends() {
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    near.socket().connect(acceptor.local_endpoint());
    acceptor.accept(far.socket());
  }
  // Reads the request as a server does, and accepts.
  awaitable<Accepted> accept(WebSocketOptions options) {
    std::shared_ptr<ByteStream> stream = byte_stream(far);
    http::request_parser<http::string_body> parser;
    boost::beast::flat_buffer buffer;
    auto ec = co_await read_message(*stream, buffer, parser);
    if (ec) co_return transport_failure(ec);
    auto request = parser.release();
    seen = request;
    co_return co_await accept_websocket(stream, std::move(request), std::move(buffer), std::move(options));
  }
  static base::Error transport_failure(error_code ec) { return base::Error(ec, "read the request"); }

  // The two ends, connected.
  void join(WebSocketOptions server_options = {}) {
    auto both = [&]() -> awaitable<int> {
      using namespace asio::experimental::awaitable_operators;
      WebSocketOptions offer;
      offer.subprotocol = "v5.channel.k8s.io";
      offer.headers = {{"Authorization", "Bearer abc"}};
      server_options.subprotocol = "v5.channel.k8s.io";
      std::shared_ptr<ByteStream> stream = byte_stream(near);
      std::string host = "example:1", target = "/exec?command=ls";
      auto theirs = accept(server_options);
      auto ours = open_websocket(stream, host, target, offer);
      auto [accepted, opened] = co_await (std::move(theirs) && std::move(ours));
      if (accepted) server = std::move(*accepted);
      if (opened) client = std::move(opened->socket);
      co_return 0;
    };
    run_coroutine(context, both());
    ASSERT_TRUE(server);
    ASSERT_TRUE(client);
  }
  Result<std::string> read(WebSocket& from) { return run_coroutine(context, from.read()); }
  Result<> write(WebSocket& to, std::string text) { return run_coroutine(context, to.write(std::move(text))); }

  asio::io_context context;
  TcpStream near{context}, far{context};
  http::request<http::string_body> seen;
  std::unique_ptr<WebSocket> server, client;
};

TEST_F(Ends, MeetAndSaySomething) {
  join();
  EXPECT_EQ(seen[http::field::host], "example:1");
  EXPECT_EQ(seen.target(), "/exec?command=ls");
  EXPECT_EQ(seen[http::field::authorization], "Bearer abc");
  EXPECT_EQ(client->subprotocol(), "v5.channel.k8s.io");
  EXPECT_EQ(server->subprotocol(), "v5.channel.k8s.io");
  ASSERT_TRUE(write(*client, "hello"));
  EXPECT_EQ(*read(*server), "hello");
  ASSERT_TRUE(write(*server, std::string("\0\1\2", 3)));
  EXPECT_EQ(*read(*client), std::string("\0\1\2", 3));
  ASSERT_TRUE(write(*server, ""));
  EXPECT_EQ(*read(*client), "");
}

// More than a TLS record, more than a frame of 64 KiB, more than the socket takes at once.
TEST_F(Ends, LargeMessagesStayWhole) {
  join();
  for (std::size_t size : {125u, 126u, 16383u, 16384u, 65535u, 65536u, 3u << 20}) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; i += 97) text[i] = static_cast<char>(i);
    for (auto [from, to] : {std::pair(client.get(), server.get()), std::pair(server.get(), client.get())}) {
      auto both = [&, from = from, to = to]() -> awaitable<bool> {
        using namespace asio::experimental::awaitable_operators;
        auto writing = from->write(text);
        auto reading = to->read();
        auto [sent, got] = co_await (std::move(writing) && std::move(reading));
        co_return sent&& got&&* got == text;
      };
      EXPECT_TRUE(run_coroutine(context, both())) << size;
    }
  }
}

TEST_F(Ends, TooLargeAMessageEndsIt) {
  WebSocketOptions small;
  small.largest_message = 1000;
  join(small);
  ASSERT_TRUE(write(*client, std::string(1000, 'x')));
  EXPECT_TRUE(read(*server));
  ASSERT_TRUE(write(*client, std::string(1001, 'x')));
  auto over = read(*server);
  ASSERT_FALSE(over);
  EXPECT_NE(over.error().code(), std::error_code(ENODATA, std::system_category())) << over.error().to_string();
}

TEST_F(Ends, ClosingIsToldAndIsNoFailure) {
  join();
  auto both = [&]() -> awaitable<Result<std::string>> {
    using namespace asio::experimental::awaitable_operators;
    auto closing = server->close();
    auto reading = client->read();
    auto got = co_await (std::move(closing) && std::move(reading));
    co_return got;
  };
  auto got = run_coroutine(context, both());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), std::error_code(ENODATA, std::system_category())) << got.error().to_string();
}

TEST_F(Ends, APeerThatHangsUpIsNoFailureEither) {
  join();
  error_code ignored;
  near.socket().close(ignored);
  auto got = read(*server);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code(), std::error_code(ENODATA, std::system_category())) << got.error().to_string();
}

// Whoever reads may be told to stop; the socket below is then free to go.
TEST_F(Ends, AReaderCanBeCancelled) {
  join();
  auto race = [&]() -> awaitable<int> {
    using namespace asio::experimental::awaitable_operators;
    auto reading = server->read();
    auto other = sleep_for(20ms);
    auto winner = co_await (std::move(reading) || std::move(other));
    co_return static_cast<int>(winner.index());
  };
  EXPECT_EQ(run_coroutine(context, race()), 1);
  server.reset();
}

TEST_F(Ends, ARefusalIsHandedOver) {
  auto both = [&]() -> awaitable<Result<WebSocketAnswer>> {
    using namespace asio::experimental::awaitable_operators;
    auto refuse = [&]() -> awaitable<int> {
      std::string head, no = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno";
      (void)co_await asio::async_read_until(far.socket(), asio::dynamic_buffer(head), "\r\n\r\n", kTuple);
      (void)co_await asio::async_write(far.socket(), asio::buffer(no), kTuple);
      co_return 0;
    };
    std::shared_ptr<ByteStream> stream = byte_stream(near);
    std::string host = "h", target = "/";
    WebSocketOptions options;
    auto theirs = refuse();
    auto ours = open_websocket(stream, host, target, options);
    auto [zero, answer] = co_await (std::move(theirs) && std::move(ours));
    co_return std::move(answer);
  };
  auto answer = run_coroutine(context, both());
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_FALSE(answer->socket);
  EXPECT_EQ(answer->refusal.result_int(), 403u);
  EXPECT_EQ(answer->refusal.body(), "no");
}

// What a client sends before it has its answer is not lost (`early`), and a ping is answered.
TEST_F(Ends, EarlyFramesCount) {
  const std::string request =
      "GET /exec HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
  const std::string hello("\x82\x85\x01\x02\x03\x04\x69\x67\x6f\x68\x6e", 11);  // "hello", masked with 01020304
  const std::string ping("\x89\x80\x01\x02\x03\x04", 6);
  asio::write(near.socket(), asio::buffer(request + hello + ping + hello));
  WebSocketOptions options;
  auto accepted = run_coroutine(context, accept(options));
  ASSERT_TRUE(accepted) << accepted.error().to_string();
  EXPECT_EQ(*read(**accepted), "hello");
  EXPECT_EQ(*read(**accepted), "hello");
  std::string answer;
  error_code ec;
  near.socket().non_blocking(false);
  auto head = asio::read_until(near.socket(), asio::dynamic_buffer(answer), "\r\n\r\n", ec);
  EXPECT_THAT(answer, testing::HasSubstr("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));  // RFC 6455, section 1.3
  answer.erase(0, head);
  while (answer.size() < 2 && !ec) {
    char more[2];
    auto n = near.socket().read_some(asio::buffer(more), ec);
    answer.append(more, n);
  }
  EXPECT_EQ(answer.substr(0, 2), std::string("\x8a\x00", 2)) << "a pong";
}

}  // namespace
}  // namespace trama::async
