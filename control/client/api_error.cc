// SPDX-License-Identifier: GPL-2.0-or-later
// Answers of the server as errors: the code keeps the HTTP status, and AlreadyExists apart from Conflict.
#include "control/api/object.h"
#include "control/client/api_client.h"

namespace trama::client {

using base::Error;

namespace {

constexpr int kAlreadyExists = 1409;  // both are HTTP 409

class HttpCategory : public std::error_category {
 public:
  const char* name() const noexcept override { return "http"; }
  std::string message(int code) const override { return fmt::format("HTTP {}", code % 1000); }
  std::error_condition default_error_condition(int code) const noexcept override {
    switch (code) {
      case 400:
      case 422: return std::errc::invalid_argument;
      case 401:
      case 403: return std::errc::permission_denied;
      case 404: return std::errc::no_such_file_or_directory;
      case 408:
      case 504: return std::errc::timed_out;
      case kAlreadyExists: return std::errc::file_exists;
      case 409:
      case 429:
      case 503: return std::errc::resource_unavailable_try_again;
      default: return std::error_condition(code, *this);
    }
  }
};

const HttpCategory& http_category() {
  static const HttpCategory category;
  return category;
}

bool has_code(const Error& e, int code) { return e.code() == std::error_code(code, http_category()); }

}  // namespace

std::string Response::reason() const {
  if (ok()) return "";
  if (const auto* o = body.if_object()) return api::text_at(*o, "reason");
  return "";
}

std::string Response::message() const {
  if (const auto* o = body.if_object()) {
    auto said = api::text_at(*o, "message");
    if (!said.empty()) return said;
  }
  if (status >= 300 && status < 400) return fmt::format("the server answered HTTP {}: {}", status, odd);
  auto line = text.substr(0, text.find('\n'));
  return line.empty() ? fmt::format("the server answered HTTP {}", status)
                      : fmt::format("the server answered HTTP {}: {}", status, line.substr(0, 200));
}

Error error_of(const Response& answer) {
  int code = answer.status == 409 && answer.reason() == "AlreadyExists" ? kAlreadyExists : answer.status;
  return Error::text(answer.message(), std::error_code(code, http_category()));
}

int http_status(const Error& e) { return e.code().category() == http_category() ? e.code().value() % 1000 : 0; }
bool is_not_found(const Error& e) { return has_code(e, 404); }
bool is_already_exists(const Error& e) { return has_code(e, kAlreadyExists); }
bool is_conflict(const Error& e) { return has_code(e, 409); }
bool is_expired(const Error& e) { return has_code(e, 410); }
bool is_forbidden(const Error& e) { return has_code(e, 401) || has_code(e, 403); }

}  // namespace trama::client
