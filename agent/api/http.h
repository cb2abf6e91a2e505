// SPDX-License-Identifier: GPL-2.0-or-later
// HTTP/1.1 as the agent's pages see it: no HTTP library in here. Implemented by HttpServer.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/async/event.h"
#include "base/async/websocket.h"
#include "base/result.h"

namespace trama::agent {

using async::awaitable;

struct HttpRequest {
  std::string method;                                     // "GET"
  std::string path;                                       // still percent-encoded
  std::map<std::string, std::vector<std::string>> query;  // decoded
  std::string peer;                                       // CN of the client's certificate; "" on plain HTTP
  bool upgrade = false;                                   // asks for a WebSocket
  std::string parameter(const std::string& name) const;   // the first value, "" when absent
  bool flag(const std::string& name) const;               // "1" or "true"
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::map<std::string, std::string> headers;  // besides the usual ones
};

// One request's connection. Every call may fail because the client has gone away; then the caller just ends.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  // A complete answer: once, and instead of everything else.
  virtual awaitable<base::Result<>> reply(HttpReply reply) = 0;
  // A chunked answer: begin, any number of chunks, finish.
  virtual awaitable<base::Result<>> begin(int status, std::string content_type) = 0;
  virtual awaitable<base::Result<>> chunk(std::string data) = 0;
  virtual awaitable<base::Result<>> finish() = 0;
  // Returns when the client closes its side; for answers that may be silent for a long time.
  virtual awaitable<void> gone() = 0;
  // The first of `subprotocols` that the client offers; an error when it offers none of them (it has been told).
  // It must not outlive the exchange.
  virtual awaitable<base::Result<std::unique_ptr<async::WebSocket>>> websocket(
      std::vector<std::string> subprotocols) = 0;
};

// Both must live until the handler returns. Called on the server's executor.
using HttpHandler = std::function<awaitable<void>(HttpRequest request, HttpExchange& exchange)>;

// "?a=b&c" decoded; malformed escapes stay as they are.
std::map<std::string, std::vector<std::string>> parse_query(std::string_view query);
std::string percent_decode(std::string_view text);

}  // namespace trama::agent
