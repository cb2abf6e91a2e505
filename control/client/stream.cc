// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/stream.h"

#include <boost/asio/ssl/error.hpp>

namespace trama::client {

using base::Error;
using base::Result;

HttpStream::HttpStream(std::unique_ptr<Connection> connection, std::unique_ptr<BodyParser> parser,
                       std::size_t line_limit)
    : connection_(std::move(connection)), parser_(std::move(parser)), line_limit_(line_limit) {
  parser_->body_limit(boost::none);
  // Eager parsing would hold a chunk back until the next one begins.
  parser_->eager(false);
}

int HttpStream::status() const { return static_cast<int>(parser_->get().result_int()); }

awaitable<Result<std::string>> HttpStream::read(milliseconds limit) {
  if (auto rest = lines_.take(); !rest.empty()) co_return rest;
  co_return co_await more(limit);
}

awaitable<Result<std::string>> HttpStream::more(milliseconds limit) {
  auto& body = parser_->get().body();
  connection_->lowest().expires_after(limit);
  while (body.empty() && !parser_->is_done()) {
    auto ec = co_await async::read_some(*connection_->bytes, connection_->buffer, *parser_);
    if (ec) co_return answer_error(ec, "read the stream");
  }
  co_return std::exchange(body, {});
}

awaitable<Result<std::string>> HttpStream::read_line(milliseconds limit) {
  // For the whole line: a byte now and then is no sign of life.
  auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    if (auto line = lines_.next()) co_return std::move(*line);
    if (lines_.waiting() > line_limit_)
      co_return Error::text(fmt::format("the stream has a line of more than {} bytes", line_limit_),
                            std::errc::protocol_error);
    auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
    auto piece = co_await more(std::max(left, milliseconds(0)));
    if (!piece) co_return std::move(piece).error();
    if (piece->empty()) co_return Error::from_errno(ENODATA, "the stream has ended");
    lines_.add(*piece);
  }
}

TlsTunnel::TlsTunnel(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {
  connection_->lowest().expires_never();
}

awaitable<Result<std::string>> TlsTunnel::read() {
  auto& early = connection_->buffer;  // what came right behind the answer's head
  if (early.size() > 0) {
    std::string bytes(static_cast<const char*>(early.data().data()), early.size());
    early.consume(early.size());
    co_return bytes;
  }
  std::string bytes(16384, '\0');
  auto [ec, n] = co_await connection_->bytes->read_some(async::asio::buffer(bytes));
  if (ec == async::asio::error::eof || ec == async::asio::ssl::error::stream_truncated) co_return std::string();
  if (ec) co_return transport_error(ec, "read the tunnel");
  bytes.resize(n);
  co_return bytes;
}

awaitable<Result<>> TlsTunnel::write(std::string bytes) {
  std::vector<async::asio::const_buffer> all = {async::asio::buffer(bytes)};
  auto ec = co_await connection_->bytes->write(std::move(all));
  if (ec) co_return transport_error(ec, "write the tunnel");
  co_return Result<>();
}

void TlsTunnel::close() {
  boost::system::error_code ignored;
  connection_->lowest().socket().shutdown(tcp::socket::shutdown_both, ignored);
}

}  // namespace trama::client
