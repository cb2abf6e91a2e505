// SPDX-License-Identifier: GPL-2.0-or-later
// A connected stream of bytes, plain or TLS, behind one type, so that what is spoken over it is compiled once and not
// for each kind of stream: Asio's and Beast's operations on TLS streams are among the dearest things to compile.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <tuple>
#include <vector>

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/serializer.hpp>

#include "base/async/event.h"

namespace trama::async {

using TcpStream = boost::beast::tcp_stream;
using TlsStream = asio::ssl::stream<TcpStream>;

// One reader and one writer at a time.
class ByteStream {
 public:
  virtual ~ByteStream() = default;
  using Read = std::tuple<boost::system::error_code, std::size_t>;
  virtual awaitable<Read> read_some(asio::mutable_buffer into) = 0;
  // All of it; what is small in one piece, so that it is not a segment each.
  virtual awaitable<boost::system::error_code> write(std::vector<asio::const_buffer> from) = 0;
  // Ends with what TLS ends with; the peer may be gone already.
  virtual awaitable<void> close() = 0;
  // What waits longer than that, from now on, fails with beast::error::timeout.
  virtual TcpStream& transport() = 0;

  // The same for what is not a coroutine (websocket.h): `done` is called once, later, from the executor; `cancel` ends
  // it early. A write may take a part only.
  using Done = std::function<void(boost::system::error_code, std::size_t)>;
  virtual void start_read(asio::mutable_buffer into, asio::cancellation_slot cancel, Done done) = 0;
  virtual void start_write(asio::const_buffer from, asio::cancellation_slot cancel, Done done) = 0;
  virtual void start_close(asio::cancellation_slot cancel, Done done) = 0;
};

// The stream must outlive what this returns.
std::unique_ptr<ByteStream> byte_stream(TcpStream& stream);
std::unique_ptr<ByteStream> byte_stream(TlsStream& stream);

// ---- HTTP over it
namespace http = boost::beast::http;

// Reads until the parser has the whole message; what came after it stays in `buffer`. http::error::end_of_stream when
// the peer closed between two messages.
awaitable<boost::system::error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                                  http::basic_parser<true>& parser);
awaitable<boost::system::error_code> read_message(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                                  http::basic_parser<false>& parser);

// The header alone; the parser then reads no further than it must (eager(false)). read_message() reads the rest.
awaitable<boost::system::error_code> read_header(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                                 http::basic_parser<true>& parser);
awaitable<boost::system::error_code> read_header(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                                 http::basic_parser<false>& parser);
// Some more of the message, if only what has come already.
awaitable<boost::system::error_code> read_some(ByteStream& stream, boost::beast::flat_buffer& buffer,
                                               http::basic_parser<false>& parser);

// Writes what the serializer has, or its header alone when it is told to split.
template <class Serializer>
awaitable<boost::system::error_code> write_message(ByteStream& stream, Serializer& serializer) {
  boost::system::error_code ec;
  while (serializer.split() ? !serializer.is_header_done() : !serializer.is_done()) {
    std::vector<asio::const_buffer> pieces;
    std::size_t size = 0;
    auto collect = [&](boost::system::error_code&, const auto& buffers) {
      for (auto it = asio::buffer_sequence_begin(buffers); it != asio::buffer_sequence_end(buffers); ++it) {
        pieces.emplace_back(*it);
        size += pieces.back().size();
      }
    };
    serializer.next(ec, collect);
    if (!ec && size > 0) ec = co_await stream.write(std::move(pieces));
    if (ec) co_return ec;
    serializer.consume(size);
  }
  co_return ec;
}

}  // namespace trama::async
