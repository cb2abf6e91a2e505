// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/byte_stream.h"

#include <type_traits>

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

 private:
  Stream& stream_;
};

template <bool isRequest>
awaitable<error_code> read_into(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                http::basic_parser<isRequest>& parser) {
  parser.eager(true);
  for (;;) {
    error_code ec;
    if (buffer.size() > 0) {
      buffer.consume(parser.put(buffer.data(), ec));
      if (ec && ec != http::error::need_more) co_return ec;
    }
    if (parser.is_done()) co_return error_code();
    auto room = buffer.prepare(kReadAtOnce);
    auto [failed, n] = co_await stream.read_some(room);
    if (failed == asio::error::eof) {
      if (!parser.got_some()) co_return http::error::end_of_stream;
      parser.put_eof(ec);
      co_return ec;
    }
    if (failed) co_return failed;
    buffer.commit(n);
  }
}
}  // namespace

std::unique_ptr<ByteStream> byte_stream(TcpStream& stream) { return std::make_unique<Over<TcpStream>>(stream); }
std::unique_ptr<ByteStream> byte_stream(TlsStream& stream) { return std::make_unique<Over<TlsStream>>(stream); }

awaitable<error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                   http::basic_parser<true>& parser) {
  return read_into(stream, buffer, parser);
}
awaitable<error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                   http::basic_parser<false>& parser) {
  return read_into(stream, buffer, parser);
}

}  // namespace trama::async
