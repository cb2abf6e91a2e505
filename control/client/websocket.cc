// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/async/websocket_handshake.h"
#include "control/api/json_text.h"
#include "control/client/connection.h"

namespace trama::client {

using base::Result;

awaitable<Result<std::unique_ptr<WebSocket>>> open_websocket(std::unique_ptr<Connection> connection, Target target,
                                                             std::string path, std::string subprotocol, Headers headers,
                                                             milliseconds limit) {
  std::shared_ptr<Connection> owned = std::move(connection);
  std::shared_ptr<async::ByteStream> bytes(owned, owned->bytes.get());  // the socket keeps the connection
  async::WebSocketOptions options;
  options.subprotocol = std::move(subprotocol);
  options.headers = std::move(headers);
  options.handshake = limit;
  auto opened = co_await async::open_websocket(std::move(bytes), target.authority, path, std::move(options));
  if (!opened) co_return std::move(opened).error();
  if (opened->socket) co_return std::move(opened->socket);
  Response refusal;
  refusal.status = static_cast<int>(opened->refusal.result_int());
  refusal.content_type = std::string(opened->refusal[http::field::content_type]);
  refusal.text = opened->refusal.body();
  boost::system::error_code bad;
  auto body = api::parse_json(refusal.text, bad);
  if (!bad) refusal.body = std::move(body);
  co_return error_of(refusal);
}

}  // namespace trama::client
