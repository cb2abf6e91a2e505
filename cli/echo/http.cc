// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/echo/http.h"

#include <algorithm>
#include <charconv>
#include <functional>

namespace trama::cli {
namespace {

using base::Error;
using base::Result;

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    auto low = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    return low(x) == low(y);
  });
}

std::string_view trimmed(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t' || s.back() == '\r')) s.remove_suffix(1);
  return s;
}

// Nothing while the blank line is missing; otherwise the head's length with it.
Result<std::optional<std::size_t>> head_length(std::string_view bytes) {
  auto end = bytes.substr(0, kLongestHttpHead).find("\r\n\r\n");
  if (end != std::string_view::npos) return std::optional<std::size_t>(end + 4);
  if (bytes.size() >= kLongestHttpHead) return Error::text("HTTP head longer than 16 KiB");
  return std::optional<std::size_t>();
}

// Calls field(name, value) for every header line behind the first line.
Result<> for_each_field(std::string_view head,
                        const std::function<Result<>(std::string_view, std::string_view)>& field) {
  auto at = head.find("\r\n");
  while (at != std::string_view::npos) {
    auto next = head.find("\r\n", at + 2);
    if (next == std::string_view::npos || next == at + 2) break;
    auto line = head.substr(at + 2, next - at - 2);
    auto colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0) return Error::text("not an HTTP header line");
    if (auto r = field(line.substr(0, colon), trimmed(line.substr(colon + 1))); !r) return r;
    at = next;
  }
  return {};
}

Result<std::size_t> length_of(std::string_view value) {
  std::size_t n = 0;
  auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
  if (ec != std::errc() || end != value.data() + value.size()) return Error::text("Content-Length is not a number");
  return n;
}

void parse_query(std::string_view text, std::map<std::string, std::string>& into) {
  while (!text.empty()) {
    auto item = text.substr(0, text.find('&'));
    text.remove_prefix(std::min(text.size(), item.size() + 1));
    auto equals = item.find('=');
    if (equals == std::string_view::npos) continue;
    into[std::string(item.substr(0, equals))] = std::string(item.substr(equals + 1));
  }
}

const char* reason_of(int status) {
  switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 503: return "Service Unavailable";
    default: return "Answer";
  }
}

}  // namespace

Result<std::optional<HttpHead>> parse_http_request(std::string_view bytes) {
  auto length = head_length(bytes);
  if (!length) return std::move(length).error();
  if (!*length) return std::optional<HttpHead>();
  auto head = bytes.substr(0, **length);
  auto first = head.substr(0, head.find("\r\n"));
  auto a = first.find(' ');
  auto b = first.rfind(' ');
  if (a == std::string_view::npos || b == a || a == 0) return Error::text("not an HTTP request line");
  auto target = first.substr(a + 1, b - a - 1);
  auto version = first.substr(b + 1);
  if (!version.starts_with("HTTP/1.") || target.empty() || target.front() != '/')
    return Error::text("not an HTTP/1 request for a path");
  HttpHead out;
  out.bytes = **length;
  out.request.method = std::string(first.substr(0, a));
  out.request.keep_alive = version != "HTTP/1.0";
  auto question = target.find('?');
  out.request.path = std::string(target.substr(0, question));
  if (question != std::string_view::npos) parse_query(target.substr(question + 1), out.request.query);
  auto fields = for_each_field(head, [&](std::string_view name, std::string_view value) -> Result<> {
    if (equal_ignoring_case(name, "connection")) {
      if (equal_ignoring_case(value, "close")) out.request.keep_alive = false;
      if (equal_ignoring_case(value, "keep-alive")) out.request.keep_alive = true;
    } else if (equal_ignoring_case(name, "content-length")) {
      auto n = length_of(value);
      if (!n) return std::move(n).error();
      out.request.body_bytes = *n;
    } else if (equal_ignoring_case(name, "transfer-encoding")) {
      return Error::text("chunked requests are not served");
    }
    return {};
  });
  if (!fields) return std::move(fields).error();
  return std::optional<HttpHead>(std::move(out));
}

std::string http_response(int status, std::string_view body, bool keep_alive) {
  return fmt::format("HTTP/1.1 {} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n{}",
                     status, reason_of(status), body.size(), keep_alive ? "keep-alive" : "close", body);
}

Result<std::optional<HttpResponseHead>> parse_http_response(std::string_view bytes) {
  auto length = head_length(bytes);
  if (!length) return std::move(length).error();
  if (!*length) return std::optional<HttpResponseHead>();
  auto head = bytes.substr(0, **length);
  HttpResponseHead out;
  out.bytes = **length;
  if (!head.starts_with("HTTP/1.") || head.size() < 12) return Error::text("the answer is not HTTP/1");
  out.keep_alive = head[7] == '1';
  auto status = head.substr(9, 3);
  auto [end, ec] = std::from_chars(status.data(), status.data() + 3, out.status);
  if (ec != std::errc() || end != status.data() + 3) return Error::text("the answer has no HTTP status");
  auto fields = for_each_field(head, [&](std::string_view name, std::string_view value) -> Result<> {
    if (equal_ignoring_case(name, "connection") && equal_ignoring_case(value, "close")) out.keep_alive = false;
    if (equal_ignoring_case(name, "content-length")) {
      auto n = length_of(value);
      if (!n) return std::move(n).error();
      out.body_bytes = *n;
    }
    return {};
  });
  if (!fields) return std::move(fields).error();
  if (out.status == 204 || out.status == 304) out.body_bytes = 0;
  return std::optional<HttpResponseHead>(std::move(out));
}

}  // namespace trama::cli
