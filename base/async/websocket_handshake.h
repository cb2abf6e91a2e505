// SPDX-License-Identifier: GPL-2.0-or-later
// How a byte stream becomes a WebSocket (RFC 6455), at either end. Beast's implementation, compiled once for everybody:
// over each kind of stream anew it is the dearest thing to compile that there is.
#pragma once

#include <boost/beast/http/message.hpp>
#include <boost/beast/http/string_body.hpp>

#include "base/async/byte_stream.h"
#include "base/async/websocket.h"

namespace trama::async {

struct WebSocketOptions {
  std::string subprotocol;                                   // offered, or chosen from what was offered; may be empty
  std::vector<std::pair<std::string, std::string>> headers;  // more of the request, or of the answer
  std::chrono::milliseconds handshake{30'000};               // for the handshake, and for the closing one
  bool pings = false;                                        // a peer that is silent for five minutes is gone
  std::size_t largest_message = 16u << 20;                   // a larger one ends the connection
};

// The server's end. `request` asks for a WebSocket (websocket::is_upgrade) and has been read from `stream`; `early` is
// what came behind it.
awaitable<base::Result<std::unique_ptr<WebSocket>>> accept_websocket(std::shared_ptr<ByteStream> stream,
                                                                     http::request<http::string_body> request,
                                                                     boost::beast::flat_buffer early,
                                                                     WebSocketOptions options);

struct WebSocketAnswer {
  std::unique_ptr<WebSocket> socket;          // null when the server declined
  http::response<http::string_body> refusal;  // what it said then
};
// The client's end. `host` is what the Host header says.
awaitable<base::Result<WebSocketAnswer>> open_websocket(std::shared_ptr<ByteStream> stream, std::string host,
                                                        std::string target, WebSocketOptions options);

}  // namespace trama::async
