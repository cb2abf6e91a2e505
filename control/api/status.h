// SPDX-License-Identifier: GPL-2.0-or-later
// What the API answers when it does not do what was asked: code, reason and message in upstream's words.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include <boost/json.hpp>

#include "control/api/object.h"

namespace trama::api {

struct Cause {
  std::string reason;  // "FieldValueInvalid"
  std::string message;
  std::string field;  // "spec.ports[0].nodePort"
};

struct Status {
  int code = 500;
  std::string reason;  // "NotFound", "AlreadyExists", "Conflict", "Invalid", "BadRequest", "Forbidden", "Expired", ...
  std::string message;
  std::string kind;   // details.kind: the resource ("pods"), of an invalid object its kind ("Pod")
  std::string group;  // details.group
  std::string name;   // details.name
  std::vector<Cause> causes;
  int retry_after_seconds = 0;

  json::object to_json() const;

  static Status not_found(const Key&);
  static Status already_exists(const Key&);
  static Status conflict(const Key&, std::string_view why);
  static Status invalid(const Key&, std::string_view kind, std::vector<Cause> causes);
  static Status bad_request(std::string message);
  static Status forbidden(std::string message);
  static Status unauthorized();
  static Status method_not_allowed();
  static Status unsupported_media_type(std::string message);
  static Status expired(std::string message);  // 410
  static Status internal(std::string message);
  static Status unavailable(std::string message);
  static Status insufficient_storage(std::string message);  // 507
};

// A value or a Status.
template <class T>
class Answer {
 public:
  Answer() : v_(std::in_place_index<1>, Status{}) {}
  Answer(T value) : v_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit on purpose
  Answer(Status s) : v_(std::in_place_index<1>, std::move(s)) {}     // NOLINT: implicit on purpose
  explicit operator bool() const noexcept { return v_.index() == 0; }
  T& operator*() & { return std::get<0>(v_); }
  const T& operator*() const& { return std::get<0>(v_); }
  T&& operator*() && { return std::get<0>(std::move(v_)); }
  T* operator->() { return &std::get<0>(v_); }
  const T* operator->() const { return &std::get<0>(v_); }
  const Status& error() const { return std::get<1>(v_); }

 private:
  std::variant<T, Status> v_;
};

}  // namespace trama::api
