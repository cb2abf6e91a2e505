// SPDX-License-Identifier: GPL-2.0-or-later
// The little of HTTP/1.1 that `trama echo` and `trama probe` speak. Bytes in, values out; no sockets.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trama::cli {

struct HttpRequest {
  std::string method;
  std::string path;                          // without the query
  std::map<std::string, std::string> query;  // of "?ms=5&n=2"; no percent-decoding: our values are numbers
  bool keep_alive = true;
  std::size_t body_bytes = 0;  // Content-Length; the body itself is skipped
};

constexpr std::size_t kLongestHttpHead = 16 * 1024;

struct HttpHead {
  HttpRequest request;
  std::size_t bytes = 0;  // of the head, blank line included
};
// The request at the start of `bytes`; nothing while its head is incomplete; an error for what is not HTTP, for a head
// longer than kLongestHttpHead and for a chunked body (which nobody who asks an echo server needs).
base::Result<std::optional<HttpHead>> parse_http_request(std::string_view bytes);

// One whole response with Content-Length.
std::string http_response(int status, std::string_view body, bool keep_alive);

struct HttpResponseHead {
  int status = 0;
  std::optional<std::size_t> body_bytes;  // nothing: the body ends with the connection
  bool keep_alive = true;
  std::size_t bytes = 0;
};
base::Result<std::optional<HttpResponseHead>> parse_http_response(std::string_view bytes);

}  // namespace trama::cli
