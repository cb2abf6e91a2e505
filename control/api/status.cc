// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/status.h"

#include <fmt/format.h>

#include "control/api/kinds.h"

namespace trama::api {
namespace {

// "pods", "deployments.apps": how upstream names a resource in messages.
std::string qualified(const std::string& resource) {
  auto* kind = kind_of_resource(resource);
  return kind && !kind->group.empty() ? fmt::format("{}.{}", resource, kind->group) : resource;
}

Status about(const Key& key, int code, std::string reason, std::string message) {
  Status s;
  s.code = code;
  s.reason = std::move(reason);
  s.message = std::move(message);
  s.kind = key.resource;
  s.name = key.name;
  if (auto* kind = kind_of_resource(key.resource)) s.group = kind->group;
  return s;
}

Status plain(int code, std::string reason, std::string message) {
  return about(Key{}, code, std::move(reason), std::move(message));
}

}  // namespace

json::object Status::to_json() const {
  json::object out;
  out["kind"] = "Status";
  out["apiVersion"] = "v1";
  out["metadata"] = json::object();
  out["status"] = "Failure";
  out["message"] = message;
  out["reason"] = reason;
  json::object details;
  if (!name.empty()) details["name"] = name;
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  if (!causes.empty()) {
    json::array list;
    for (const auto& cause : causes) {
      json::object one;
      one["reason"] = cause.reason;
      one["message"] = cause.message;
      if (!cause.field.empty()) one["field"] = cause.field;
      list.push_back(std::move(one));
    }
    details["causes"] = std::move(list);
  }
  if (retry_after_seconds > 0) details["retryAfterSeconds"] = retry_after_seconds;
  // kubectl debug looks into the details of every 404, be there something or not.
  if (!details.empty() || code == 404) out["details"] = std::move(details);
  out["code"] = code;
  return out;
}

Status Status::not_found(const Key& key) {
  return about(key, 404, "NotFound", fmt::format("{} \"{}\" not found", qualified(key.resource), key.name));
}
Status Status::already_exists(const Key& key) {
  return about(key, 409, "AlreadyExists", fmt::format("{} \"{}\" already exists", qualified(key.resource), key.name));
}
Status Status::conflict(const Key& key, std::string_view why) {
  return about(key, 409, "Conflict",
               fmt::format("Operation cannot be fulfilled on {} \"{}\": {}", qualified(key.resource), key.name, why));
}
Status Status::invalid(const Key& key, std::string_view kind, std::vector<Cause> causes) {
  std::string list;
  for (const auto& cause : causes) {
    if (!list.empty()) list += ", ";
    list += cause.field.empty() ? cause.message : cause.field + ": " + cause.message;
  }
  if (causes.size() > 1) list = "[" + list + "]";
  auto* row = kind_of_resource(key.resource);
  auto where = row && !row->group.empty() ? fmt::format("{}.{}", kind, row->group) : std::string(kind);
  auto s = about(key, 422, "Invalid", fmt::format("{} \"{}\" is invalid: {}", where, key.name, list));
  s.kind = kind;
  s.causes = std::move(causes);
  return s;
}
Status Status::bad_request(std::string message) { return plain(400, "BadRequest", std::move(message)); }
Status Status::forbidden(std::string message) { return plain(403, "Forbidden", std::move(message)); }
Status Status::unauthorized() { return plain(401, "Unauthorized", "Unauthorized"); }
Status Status::method_not_allowed() {
  return plain(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}
Status Status::unsupported_media_type(std::string message) {
  return plain(415, "UnsupportedMediaType", std::move(message));
}
Status Status::expired(std::string message) { return plain(410, "Expired", std::move(message)); }
Status Status::internal(std::string message) {
  return plain(500, "InternalError", "Internal error occurred: " + std::move(message));
}
Status Status::unavailable(std::string message) {
  auto s = plain(503, "ServiceUnavailable", std::move(message));
  s.retry_after_seconds = 1;
  return s;
}
Status Status::insufficient_storage(std::string message) {
  return plain(507, "InsufficientStorage", std::move(message));
}

}  // namespace trama::api
