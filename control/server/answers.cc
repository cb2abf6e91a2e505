// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/answers.h"

#include <fmt/format.h>

#include "control/server/storage_form.h"

namespace trama::server {

namespace json = api::json;
using api::Key;
using api::Kind;
using api::ObjectPtr;
using api::Status;

api::Time now() { return std::chrono::system_clock::now(); }

Reply reply_json(const json::object& body, int status) {
  Reply out;
  out.status = status;
  out.body = json::serialize(body);
  return out;
}

Reply reply_status(const Status& status) {
  auto out = reply_json(status.to_json(), status.code);
  if (status.retry_after_seconds > 0)
    out.headers.emplace_back("Retry-After", std::to_string(status.retry_after_seconds));
  return out;
}

bool wants_table(const Request& r) {
  auto accept = r.header("accept");
  return accept.find("as=Table") != std::string::npos && accept.find("v=v1") != std::string::npos;
}

api::RowObject include_object(const Request& r) {
  auto v = r.parameter("includeObject");
  return v == "Object" ? api::RowObject::object : v == "None" ? api::RowObject::none : api::RowObject::metadata;
}

Reply reply_object(const Request& r, const Kind& kind, const ObjectPtr& object, int status,
                   const std::vector<std::string>& warnings) {
  Reply out;
  if (wants_table(r)) {
    auto table = api::make_table(storage_kind(kind), {object}, api::RowObject::metadata, now());
    table["metadata"].get_object()["resourceVersion"] = std::to_string(object->revision);
    out = reply_json(table, status);
  } else if (kind.served_as.empty()) {
    out.status = status;
    out.body = object->text();
  } else {
    out = reply_json(view_of(kind, *object), status);
  }
  for (const auto& w : warnings) {
    std::string safe;
    for (char c : w) safe += c == '"' ? "'" : c == '\\' || static_cast<unsigned char>(c) < 32 ? " " : std::string(1, c);
    out.headers.emplace_back("Warning", fmt::format("299 - \"{}\"", safe));
  }
  return out;
}

Reply success(const Key& key, const std::string& uid) {
  json::object out, details;
  out["kind"] = "Status";
  out["apiVersion"] = "v1";
  out["metadata"] = json::object();
  out["status"] = "Success";
  details["name"] = key.name;
  details["kind"] = key.resource;
  details["uid"] = uid;
  out["details"] = std::move(details);
  return reply_json(out);
}

}  // namespace trama::server
