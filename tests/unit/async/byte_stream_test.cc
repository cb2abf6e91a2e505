// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/byte_stream.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/run_coroutine.h"

namespace trama::async {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using namespace std::chrono_literals;

// A connection over loopback: what the test writes into one end is read as HTTP at the other.
class Wire : public ::testing::Test {
 protected:
  Wire() {
    tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    far.connect(acceptor.local_endpoint());
    acceptor.accept(near.socket());
    stream = byte_stream(near);
    near.expires_after(5s);
  }
  void say(std::string_view text) { asio::write(far, asio::buffer(text)); }
  error_code read(http::request_parser<http::string_body>& parser) {
    error_code out;
    asio::co_spawn(
        context, [&]() -> awaitable<void> { out = co_await read_message(*stream, buffer, parser); }, throw_on);
    run();
    return out;
  }
  void run() {
    context.restart();
    context.run();
  }
  static void throw_on(std::exception_ptr e) {
    if (e) std::rethrow_exception(e);
  }
  std::string heard() {
    far.shutdown(tcp::socket::shutdown_send);
    near.socket().shutdown(tcp::socket::shutdown_send);
    std::string out;
    error_code ec;
    asio::read(far, asio::dynamic_buffer(out), ec);
    return out;
  }

  asio::io_context context;
  TcpStream near{context};
  tcp::socket far{context};
  std::unique_ptr<ByteStream> stream;
  boost::beast::flat_buffer buffer;
};

TEST_F(Wire, MessagesComeOneAfterTheOtherHoweverTheyAreCut) {
  const std::string first = "POST /a HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", second = "GET /b HTTP/1.1\r\n\r\n";
  const std::string both = first + second;
  for (std::size_t cut = 1; cut < both.size(); ++cut) {
    SCOPED_TRACE(cut);
    say(both.substr(0, cut));
    http::request_parser<http::string_body> one, two;
    bool whole = cut >= first.size();
    if (!whole) {
      error_code out;
      asio::co_spawn(
          context, [&]() -> awaitable<void> { out = co_await read_message(*stream, buffer, one); }, throw_on);
      context.restart();
      context.poll();
      say(both.substr(cut));
      context.run();
      ASSERT_FALSE(out) << out.message();
    } else {
      ASSERT_FALSE(read(one));
      say(both.substr(cut));
    }
    ASSERT_FALSE(read(two));
    EXPECT_EQ(one.get().body(), "hello");
    EXPECT_EQ(two.get().target(), "/b");
    EXPECT_EQ(buffer.size(), 0u);
  }
}

TEST_F(Wire, TheEndBetweenMessagesIsNoError) {
  far.shutdown(tcp::socket::shutdown_send);
  http::request_parser<http::string_body> parser;
  EXPECT_EQ(read(parser), http::error::end_of_stream);
}

TEST_F(Wire, TheEndWithinAMessageIs) {
  say("GET / HTTP/1.1\r\nHos");
  far.shutdown(tcp::socket::shutdown_send);
  http::request_parser<http::string_body> parser;
  EXPECT_EQ(read(parser), http::error::partial_message);
}

// Like a watch: what has come is handed on, without waiting for what comes next.
TEST_F(Wire, AnEndlessAnswerIsReadAsItComes) {
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  std::vector<std::string> seen;
  error_code last;
  auto work = [&]() -> awaitable<void> {
    last = co_await read_header(*stream, buffer, parser);
    seen.push_back("header, body " + parser.get().body());
    while (!last && !parser.is_done()) {
      last = co_await read_some(*stream, buffer, parser);
      if (auto& body = parser.get().body(); !body.empty()) seen.push_back(std::exchange(body, {}));
    }
  };
  asio::co_spawn(context, work, throw_on);
  context.restart();
  for (const char* piece :
       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "\r\n5\r\nhello\r\n", "5\r\nth", "ere\r\n"}) {
    say(piece);
    context.run_for(20ms);
  }
  EXPECT_THAT(seen, ::testing::ElementsAre("header, body ", "hello", "th", "ere"));
  say("1\r\n!\r\n0\r\n\r\n");
  context.run();
  EXPECT_FALSE(last) << last.message();
  EXPECT_EQ(seen.back(), "!");
}

TEST_F(Wire, AnEndlessAnswerThatBreaksOffIsAnError) {
  http::response_parser<http::string_body> parser;
  say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  far.shutdown(tcp::socket::shutdown_send);
  error_code last;
  auto work = [&]() -> awaitable<void> {
    last = co_await read_header(*stream, buffer, parser);
    while (!last && !parser.is_done()) last = co_await read_some(*stream, buffer, parser);
  };
  asio::co_spawn(context, work, throw_on);
  run();
  EXPECT_EQ(last, http::error::partial_message);
}

TEST_F(Wire, LimitsAndGarbageEndIt) {
  struct Case {
    std::string text;
    error_code why;
  };
  const Case cases[] = {
      {"GET / HTTP/1.1\r\nX: " + std::string(9000, 'x'), http::error::header_limit},
      {"POST / HTTP/1.1\r\nContent-Length: 2000\r\n\r\n", http::error::body_limit},
      {"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" + std::string(2000, 'x'),
       http::error::body_limit},
      {"\x16\x03\x01\x02\x01 TLS, perhaps\r\n\r\n", http::error::bad_method},
      {"GET / HTTP/9.9\r\n\r\n", http::error::bad_version},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.text.substr(0, 60));
    say(c.text);
    http::request_parser<http::string_body> parser;
    parser.header_limit(8000);
    parser.body_limit(1000);
    EXPECT_EQ(read(parser), c.why);
    buffer.clear();
    error_code ec;
    near.socket().non_blocking(true);
    char rest[65536];
    while (near.socket().read_some(asio::buffer(rest), ec) > 0) {
    }
  }
}

TEST_F(Wire, SilenceEndsIt) {
  near.expires_after(50ms);
  http::request_parser<http::string_body> parser;
  EXPECT_EQ(read(parser), boost::beast::error::timeout);
}

TEST_F(Wire, AMessageGoesOutWholeOrItsHeaderFirst) {
  http::response<http::string_body> answer(http::status::ok, 11);
  answer.body() = "hello";
  answer.prepare_payload();
  http::response_serializer<http::string_body> whole(answer);
  http::response<http::empty_body> begun(http::status::ok, 11);
  begun.chunked(true);
  http::response_serializer<http::empty_body> head(begun);
  head.split(true);
  std::vector<error_code> out;
  asio::co_spawn(
      context,
      [&]() -> awaitable<void> {
        out.push_back(co_await write_message(*stream, whole));
        out.push_back(co_await write_message(*stream, head));
      },
      throw_on);
  run();
  EXPECT_THAT(out, ::testing::Each(error_code()));
  EXPECT_EQ(heard(),
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

TEST_F(Wire, MuchGoesOutWhole) {
  std::string big(3u << 20, 'x'), small = "end";
  std::string got(big.size() + small.size(), 0);
  error_code out, in;
  asio::co_spawn(
      context,
      [&]() -> awaitable<void> {
        std::vector<asio::const_buffer> pieces = {asio::buffer(big), asio::buffer(small)};
        out = co_await stream->write(std::move(pieces));
      },
      throw_on);
  asio::async_read(far, asio::buffer(got), [&](error_code ec, std::size_t) { in = ec; });
  run();
  EXPECT_FALSE(out);
  EXPECT_FALSE(in);
  EXPECT_EQ(got, big + small);
}

TEST_F(Wire, APeerThatIsGoneIsAnError) {
  far.set_option(tcp::socket::linger(true, 0));
  far.close();
  std::string text(1u << 20, 'x');
  error_code out;
  asio::co_spawn(
      context,
      [&]() -> awaitable<void> {
        for (int i = 0; i < 50 && !out; ++i) {
          std::vector<asio::const_buffer> pieces = {asio::buffer(text)};
          out = co_await stream->write(std::move(pieces));
        }
        co_await stream->close();
      },
      throw_on);
  run();
  EXPECT_TRUE(out);
}

}  // namespace
}  // namespace trama::async
