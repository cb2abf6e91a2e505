// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/websocket_handshake.h"

#include <boost/asio/ssl/error.hpp>
#include <boost/beast/websocket/stream.hpp>

#include "base/async/dial.h"

namespace trama::async {
namespace {
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using base::Result;
using boost::system::error_code;

constexpr std::size_t kOneRecord = 16 * 1024;  // of TLS: more at once is cut anyway

// A ByteStream as Beast wants its streams. Whatever Beast waits with is put away behind a std::function, so that what
// is below is not compiled again for each of its operations.
class Layer {
 public:
  using executor_type = asio::any_io_executor;
  Layer(std::shared_ptr<ByteStream> bytes, beast::flat_buffer early)
      : bytes_(std::move(bytes)), early_(std::move(early)) {}

  executor_type get_executor() { return bytes_->transport().get_executor(); }

  template <class Buffers, class Handler>
  void async_read_some(const Buffers& into, Handler&& handler) {
    auto kept = keep<Handler>(std::forward<Handler>(handler));
    if (early_.size() > 0) {
      auto n = asio::buffer_copy(into, early_.data());
      early_.consume(n);
      asio::post(get_executor(), [kept, n] { kept->finish(error_code(), n); });
      return;
    }
    asio::mutable_buffer first;
    for (auto it = asio::buffer_sequence_begin(into); first.size() == 0 && it != asio::buffer_sequence_end(into); ++it)
      first = *it;
    bytes_->start_read(first, kept->cancel.slot(), [kept](error_code ec, std::size_t n) { kept->finish(ec, n); });
  }

  template <class Buffers, class Handler>
  void async_write_some(const Buffers& from, Handler&& handler) {
    auto kept = keep<Handler>(std::forward<Handler>(handler));
    kept->bytes.resize(std::min(kOneRecord, asio::buffer_size(from)));  // a frame's header and its payload together
    asio::buffer_copy(asio::buffer(kept->bytes), from);
    bytes_->start_write(asio::buffer(std::as_const(kept->bytes)), kept->cancel.slot(),
                        [kept](error_code ec, std::size_t n) { kept->finish(ec, n); });
  }

  template <class Handler>
  friend void async_teardown(beast::role_type, Layer& layer, Handler&& handler) {
    auto kept = layer.keep<Handler>(std::forward<Handler>(handler));
    layer.bytes_->start_close(kept->cancel.slot(), [kept](error_code ec, std::size_t) {
      // Whoever closes without saying so in TLS had said so in the WebSocket.
      kept->finish(ec == asio::error::eof || ec == asio::ssl::error::stream_truncated ? error_code() : ec);
    });
  }
  friend void beast_close_socket(Layer& layer) {
    error_code ignored;
    layer.bytes_->transport().socket().close(ignored);
  }

 private:
  // An operation that waits: its handler, what it writes, and the way by which it is cancelled.
  template <class Handler>
  struct Kept {
    explicit Kept(Handler h) : handler(std::move(h)) {}
    template <class... Args>
    void finish(Args... args) {
      auto last = std::move(handler);
      std::move(last)(args...);
    }
    Handler handler;
    std::string bytes;
    asio::cancellation_signal cancel;
  };
  template <class H>
  std::shared_ptr<Kept<std::decay_t<H>>> keep(H&& handler) {
    using K = Kept<std::decay_t<H>>;
    auto kept = std::make_shared<K>(std::forward<H>(handler));
    auto slot = asio::get_associated_cancellation_slot(kept->handler);
    if (slot.is_connected())
      slot.assign([weak = std::weak_ptr<K>(kept)](asio::cancellation_type type) {
        if (auto still = weak.lock()) still->cancel.emit(type);
      });
    return kept;
  }

  std::shared_ptr<ByteStream> bytes_;
  beast::flat_buffer early_;
};

class Socket final : public WebSocket {
 public:
  Socket(std::shared_ptr<ByteStream> bytes, beast::flat_buffer early, const WebSocketOptions& options,
         beast::role_type role)
      : ws_(std::move(bytes), std::move(early)) {
    using Timeout = websocket::stream_base::timeout;
    Timeout timeout{options.handshake, websocket::stream_base::none(), false};
    if (options.pings) timeout = {options.handshake, Timeout::suggested(role).idle_timeout, true};
    ws_.set_option(timeout);
    ws_.read_message_max(options.largest_message);
    ws_.binary(true);
    ws_.auto_fragment(false);
  }
  websocket::stream<Layer, false>& stream() { return ws_; }  // nothing to compress
  void speaks(std::string subprotocol) { subprotocol_ = std::move(subprotocol); }

  std::string subprotocol() const override { return subprotocol_; }

  awaitable<Result<std::string>> read() override {
    beast::flat_buffer buffer;
    auto [ec, n] = co_await ws_.async_read(buffer, kTuple);
    if (ec == websocket::error::closed || ec == asio::error::eof || ec == asio::ssl::error::stream_truncated)
      co_return base::Error::from_errno(ENODATA, "the peer has closed the WebSocket");
    if (ec) co_return transport_error(ec, "read the WebSocket");
    co_return std::string(static_cast<const char*>(buffer.data().data()), n);
  }

  awaitable<Result<>> write(std::string message) override {
    auto [ec, n] = co_await ws_.async_write(asio::buffer(message), kTuple);
    if (ec) co_return transport_error(ec, "write the WebSocket");
    co_return Result<>();
  }

  awaitable<void> close() override {
    websocket::close_reason why(websocket::close_code::normal);
    co_await ws_.async_close(why, kTuple);
  }

 private:
  websocket::stream<Layer, false> ws_;
  std::string subprotocol_;
};

}  // namespace

awaitable<Result<std::unique_ptr<WebSocket>>> accept_websocket(std::shared_ptr<ByteStream> stream,
                                                               http::request<http::string_body> request,
                                                               beast::flat_buffer early, WebSocketOptions options) {
  stream->transport().expires_never();  // Beast has its own times
  auto socket = std::make_unique<Socket>(stream, std::move(early), options, beast::role_type::server);
  auto decorate = [options](websocket::response_type& answer) {
    for (const auto& [name, value] : options.headers) answer.set(name, value);
    if (!options.subprotocol.empty()) answer.set(http::field::sec_websocket_protocol, options.subprotocol);
  };
  socket->stream().set_option(websocket::stream_base::decorator(decorate));
  auto [ec] = co_await socket->stream().async_accept(request, kTuple);
  if (ec) co_return transport_error(ec, "accept the WebSocket");
  socket->speaks(options.subprotocol);
  std::unique_ptr<WebSocket> out = std::move(socket);
  co_return out;
}

awaitable<Result<WebSocketAnswer>> open_websocket(std::shared_ptr<ByteStream> stream, std::string host,
                                                  std::string target, WebSocketOptions options) {
  stream->transport().expires_never();
  auto socket = std::make_unique<Socket>(stream, beast::flat_buffer(), options, beast::role_type::client);
  auto decorate = [options](websocket::request_type& request) {
    for (const auto& [name, value] : options.headers) request.set(name, value);
    if (!options.subprotocol.empty()) request.set(http::field::sec_websocket_protocol, options.subprotocol);
  };
  socket->stream().set_option(websocket::stream_base::decorator(decorate));
  websocket::response_type answer;
  auto [ec] = co_await socket->stream().async_handshake(answer, host, target, kTuple);
  WebSocketAnswer out;
  if (ec == websocket::error::upgrade_declined) {
    out.refusal = std::move(answer);
    co_return out;
  }
  if (ec) co_return transport_error(ec, "WebSocket handshake");
  socket->speaks(std::string(answer[http::field::sec_websocket_protocol]));
  out.socket = std::move(socket);
  co_return out;
}

}  // namespace trama::async
