// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/byte_stream.h"

#include <type_traits>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>

namespace trama::async {
namespace {
using boost::system::error_code;

constexpr std::size_t kOnePiece = 64 * 1024;
constexpr std::size_t kReadAtOnce = 16 * 1024;

template <class Stream>
class Over final : public ByteStream {
 public:
  explicit Over(Stream& stream) : stream_(stream) {}

  awaitable<Read> read_some(asio::mutable_buffer into) override {
    auto [ec, n] = co_await stream_.async_read_some(into, kTuple);
    co_return Read{ec, n};
  }

  awaitable<error_code> write(std::vector<asio::const_buffer> from) override {
    std::string together;
    if (from.size() > 1 && asio::buffer_size(from) <= kOnePiece) {
      together.reserve(asio::buffer_size(from));
      for (const auto& piece : from) together.append(static_cast<const char*>(piece.data()), piece.size());
      from.assign(1, asio::buffer(together));
    }
    for (auto piece : from)
      while (piece.size() > 0) {
        auto [ec, n] = co_await stream_.async_write_some(piece, kTuple);
        if (ec) co_return ec;
        piece += n;
      }
    co_return error_code();
  }

  awaitable<void> close() override {
    if constexpr (std::is_same_v<Stream, TlsStream>) {
      auto [ec] = co_await stream_.async_shutdown(kTuple);
      (void)ec;
    }
    error_code ignored;
    transport().socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  }

  TcpStream& transport() override { return boost::beast::get_lowest_layer(stream_); }

  void start_read(asio::mutable_buffer into, asio::cancellation_slot cancel, Done done) override {
    stream_.async_read_some(into, asio::bind_cancellation_slot(cancel, std::move(done)));
  }
  void start_write(asio::const_buffer from, asio::cancellation_slot cancel, Done done) override {
    stream_.async_write_some(from, asio::bind_cancellation_slot(cancel, std::move(done)));
  }
  void start_close(asio::cancellation_slot cancel, Done done) override {
    auto ended = [this, done = std::move(done)](error_code ec) {
      error_code ignored;
      transport().socket().shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
      done(ec, 0);
    };
    if constexpr (std::is_same_v<Stream, TlsStream>)
      stream_.async_shutdown(asio::bind_cancellation_slot(cancel, std::move(ended)));
    else
      asio::post(stream_.get_executor(), [ended = std::move(ended)] { ended({}); });
  }

 private:
  Stream& stream_;
};

// Feeds the parser until `enough`: a question about the parser and whether it has taken something just now.
template <bool isRequest, class Enough>
awaitable<error_code> feed(ByteStream& stream, boost::beast::flat_buffer& buffer, http::basic_parser<isRequest>& parser,
                           Enough enough) {
  for (;;) {
    error_code ec;
    std::size_t taken = 0;
    if (buffer.size() > 0) {
      taken = parser.put(buffer.data(), ec);
      buffer.consume(taken);
      if (ec && ec != http::error::need_more) co_return ec;
    }
    if (enough(taken > 0)) co_return error_code();
    if (taken > 0 && !ec) continue;
    auto room = buffer.prepare(kReadAtOnce);
    auto [failed, n] = co_await stream.read_some(room);
    if (failed == asio::error::eof) {
      if (!parser.got_some()) co_return http::error::end_of_stream;
      ec = {};
      parser.put_eof(ec);
      co_return ec;
    }
    if (failed) co_return failed;
    buffer.commit(n);
  }
}

template <bool isRequest>
awaitable<error_code> feed_header(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                  http::basic_parser<isRequest>& parser) {
  parser.eager(false);
  auto enough = [&parser](bool) { return parser.is_header_done(); };
  co_return co_await feed(stream, buffer, parser, enough);
}

template <bool isRequest>
awaitable<error_code> feed_all(ByteStream& stream, boost::beast::flat_buffer& buffer,
                               http::basic_parser<isRequest>& parser) {
  parser.eager(true);
  auto enough = [&parser](bool) { return parser.is_done(); };
  if (enough(false)) co_return error_code();
  co_return co_await feed(stream, buffer, parser, enough);
}
}  // namespace

std::unique_ptr<ByteStream> byte_stream(TcpStream& stream) { return std::make_unique<Over<TcpStream>>(stream); }
std::unique_ptr<ByteStream> byte_stream(TlsStream& stream) { return std::make_unique<Over<TlsStream>>(stream); }

awaitable<error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                   http::basic_parser<true>& parser) {
  return feed_all(stream, buffer, parser);
}
awaitable<error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                   http::basic_parser<false>& parser) {
  return feed_all(stream, buffer, parser);
}
awaitable<error_code> read_header(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                  http::basic_parser<true>& parser) {
  return feed_header(stream, buffer, parser);
}
awaitable<error_code> read_header(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                  http::basic_parser<false>& parser) {
  return feed_header(stream, buffer, parser);
}
awaitable<error_code> read_some(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                http::basic_parser<false>& parser) {
  auto enough = [&parser](bool took) { return took || parser.is_done(); };
  co_return co_await feed(stream, buffer, parser, enough);
}

}  // namespace trama::async
