// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/http_answer.h"

#include <array>

#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>
#include <fmt/format.h>

#include "base/async/dial.h"

namespace trama::server {

namespace asio = async::asio;
namespace http = async::http;
using base::Result;
using boost::system::error_code;

Result<> HttpAnswer::outcome(const error_code& ec) {
  if (!ec) return {};
  broken_ = true;
  return async::transport_error(ec, "write to the client");
}

awaitable<Result<>> HttpAnswer::reply(Reply reply) {
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
  http::response_serializer<http::string_body> whole(out);
  be_patient();
  auto ec = co_await async::write_message(stream_, whole);
  co_return outcome(ec);
}

awaitable<Result<>> HttpAnswer::begin(int status, std::string content_type) {
  answered_ = true;
  http::response<http::empty_body> out;
  out.version(11);
  out.result(static_cast<unsigned>(status));
  out.set(http::field::content_type, content_type);
  out.keep_alive(keep_alive_);
  out.chunked(true);
  http::response_serializer<http::empty_body> head(out);
  head.split(true);
  be_patient();
  auto ec = co_await async::write_message(stream_, head);
  co_return outcome(ec);
}

awaitable<Result<>> HttpAnswer::send(std::vector<asio::const_buffer> pieces) {
  auto ec = co_await stream_.write(std::move(pieces));
  co_return outcome(ec);
}

awaitable<Result<>> HttpAnswer::chunk(std::string data) {
  if (data.empty()) co_return Result<>{};
  auto head = fmt::format("{:x}\r\n", data.size());
  std::vector<asio::const_buffer> pieces = {asio::buffer(head), asio::buffer(data), asio::buffer("\r\n", 2)};
  be_patient();
  co_return co_await send(std::move(pieces));
}

awaitable<Result<>> HttpAnswer::finish() {
  std::vector<asio::const_buffer> last = {asio::buffer("0\r\n\r\n", 5)};
  be_patient();
  co_return co_await send(std::move(last));
}

awaitable<Result<>> HttpAnswer::go_on() {
  std::vector<asio::const_buffer> go = {asio::buffer("HTTP/1.1 100 Continue\r\n\r\n", 25)};
  co_return co_await send(std::move(go));
}

awaitable<Result<std::string>> HttpAnswer::read_some() {
  raw_ = true;
  std::string out;
  if (buffer_.size() > 0) {  // bytes that arrived together with the request
    out.assign(static_cast<const char*>(buffer_.data().data()), buffer_.size());
    buffer_.consume(buffer_.size());
    co_return out;
  }
  stream_.transport().expires_never();
  out.resize(16'384);
  auto space = asio::buffer(out);
  auto [ec, n] = co_await stream_.read_some(space);
  out.resize(n);
  if (ec == asio::error::eof || ec == asio::ssl::error::stream_truncated) co_return std::string();
  if (ec) co_return async::transport_error(ec, "read from the client");
  co_return out;
}

awaitable<Result<>> HttpAnswer::write(std::string data) {
  raw_ = answered_ = true;
  std::vector<asio::const_buffer> all = {asio::buffer(data)};
  co_return co_await send(std::move(all));
}

awaitable<void> HttpAnswer::wait_gone() {
  stream_.transport().expires_never();
  std::array<char, 512> unread;
  auto space = asio::buffer(unread);
  co_await stream_.read_some(space);
}

}  // namespace trama::server
