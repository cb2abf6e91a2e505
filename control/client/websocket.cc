// SPDX-License-Identifier: GPL-2.0-or-later
#include <boost/asio/ssl/error.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/beast/websocket.hpp>
#include <boost/beast/websocket/ssl.hpp>

#include "control/client/connection.h"

namespace trama::client {

using base::Error;
using base::Result;
namespace websocket = beast::websocket;

namespace {

class TlsWebSocket final : public WebSocket {
 public:
  explicit TlsWebSocket(std::unique_ptr<Connection> c) : tls_(c->tls), stream_(std::move(c->stream)) {}

  awaitable<Result<>> handshake(Target target, std::string path, std::string subprotocol, Headers headers,
                                milliseconds limit) {
    websocket::stream_base::timeout timeouts{limit, websocket::stream_base::none(), false};
    stream_.set_option(timeouts);
    beast::get_lowest_layer(stream_).expires_never();
    auto decorate = [&](websocket::request_type& request) {
      if (!subprotocol.empty()) request.set(http::field::sec_websocket_protocol, subprotocol);
      for (const auto& [name, value] : headers) request.set(name, value);
    };
    stream_.set_option(websocket::stream_base::decorator(decorate));
    websocket::response_type answer;
    auto [ec] = co_await stream_.async_handshake(answer, target.authority, path, async::kTuple);
    if (ec == websocket::error::upgrade_declined) {
      Response refusal;
      refusal.status = static_cast<int>(answer.result_int());
      refusal.content_type = std::string(answer[http::field::content_type]);
      boost::system::error_code bad;
      refusal.text = answer.body();
      auto body = json::parse(refusal.text, bad);
      if (!bad) refusal.body = std::move(body);
      co_return error_of(refusal);
    }
    if (ec) co_return transport_error(ec, "WebSocket handshake");
    subprotocol_ = std::string(answer[http::field::sec_websocket_protocol]);
    stream_.binary(true);
    co_return Result<>();
  }

  std::string subprotocol() const override { return subprotocol_; }

  awaitable<Result<std::string>> read() override {
    beast::flat_buffer buffer;
    auto [ec, n] = co_await stream_.async_read(buffer, async::kTuple);
    if (ec == websocket::error::closed || ec == async::asio::error::eof ||
        ec == async::asio::ssl::error::stream_truncated)
      co_return Error::from_errno(ENODATA, "the peer has closed the WebSocket");
    if (ec) co_return transport_error(ec, "read the WebSocket");
    co_return std::string(static_cast<const char*>(buffer.data().data()), n);
  }

  awaitable<Result<>> write(std::string message) override {
    auto [ec, n] = co_await stream_.async_write(async::asio::buffer(message), async::kTuple);
    if (ec) co_return transport_error(ec, "write the WebSocket");
    co_return Result<>();
  }

  awaitable<void> close() override {
    websocket::close_reason why(websocket::close_code::normal);
    co_await stream_.async_close(why, async::kTuple);
  }

 private:
  std::shared_ptr<TlsSetup> tls_;
  websocket::stream<TlsStream, false> stream_;  // nothing to compress
  std::string subprotocol_;
};

}  // namespace

awaitable<Result<std::unique_ptr<WebSocket>>> open_websocket(std::unique_ptr<Connection> connection, Target target,
                                                             std::string path, std::string subprotocol, Headers headers,
                                                             milliseconds limit) {
  auto socket = std::make_unique<TlsWebSocket>(std::move(connection));
  auto done = co_await socket->handshake(target, path, subprotocol, headers, limit);
  if (!done) co_return std::move(done).error();
  co_return std::unique_ptr<WebSocket>(std::move(socket));
}

}  // namespace trama::client
