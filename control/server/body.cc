// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/body.h"

#include <charconv>

#include <fmt/format.h>

#include "control/api/json_text.h"
#include "control/api/protobuf.h"
#include "control/api/schema.h"
#include "control/server/storage_form.h"

namespace trama::server {
namespace {

namespace json = api::json;
using api::Answer;
using api::Key;
using api::Kind;
using api::Status;

// A patch can nest deeper than a body may: what is stored must stay readable.
bool is_too_deep(const json::value& v, std::size_t left) {
  if (left == 0) return v.is_object() || v.is_array();
  if (v.is_array())
    for (const auto& item : v.get_array())
      if (is_too_deep(item, left - 1)) return true;
  if (v.is_object())
    for (const auto& member : v.get_object())
      if (is_too_deep(member.value(), left - 1)) return true;
  return false;
}

constexpr std::string_view kProtobuf = "application/vnd.kubernetes.protobuf";

Answer<json::object> read_protobuf(std::string_view body, std::string_view message, std::string_view kind) {
  auto envelope = api::open_envelope(body);
  if (!envelope)
    return Status::bad_request(
        fmt::format("the object provided is unrecognized (must be of type {}): {}", kind, envelope.error().message));
  auto refused = [&](std::string_view why) {
    auto version = envelope->api_version.substr(envelope->api_version.rfind('/') + 1);
    return Status::bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: {}",
                                           envelope->kind.empty() ? kind : envelope->kind, version, kind, why));
  };
  // Another kind's numbers would be read as this one's.
  if (!envelope->kind.empty() && envelope->kind != kind) return refused("it is of another kind");
  auto object = api::decode_message(message, envelope->message);
  if (!object) return refused(object.error().message);
  if (!envelope->api_version.empty()) (*object)["apiVersion"] = envelope->api_version;
  if (!envelope->kind.empty()) (*object)["kind"] = envelope->kind;
  return object;
}

}  // namespace

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

Answer<json::value> parse_body(const std::string& text) {
  boost::system::error_code ec;
  auto value = api::parse_json(text, ec, api::kDeepestGiven);
  if (ec) return Status::bad_request(fmt::format("the body of the request is not JSON: {}", ec.message()));
  return value;
}

std::string media_type(const Request& r) {
  auto type = r.header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  return type;
}

Answer<json::object> read_object(const Request& r, std::string_view message, std::string_view kind) {
  auto type = media_type(r);
  if (type == kProtobuf) return read_protobuf(r.body, message, kind);
  if (!type.empty() && type != "application/json")
    return Status::unsupported_media_type(
        fmt::format("the body of the request was in an unknown format - accepted media types include: "
                    "application/json, {} (got {})",
                    kProtobuf, type));
  auto parsed = parse_body(r.body);
  if (!parsed) return parsed.error();
  if (!parsed->is_object()) return Status::bad_request("the body of the request is not an object");
  return std::move(parsed->get_object());
}

std::optional<Status> check_fields(const Request& r, const Kind& kind, json::object& body,
                                   std::vector<std::string>& warnings) {
  for (const auto& member : body)
    if (is_too_deep(member.value(), api::kDeepestGiven - 1))
      return Status::bad_request(fmt::format("the object nests deeper than {} levels", api::kDeepestGiven));
  api::Findings found;
  api::check_schema(kind, body, found);
  if (!found.mistyped.empty())
    return Status::bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: {}", kind.kind,
                                           kind.version, kind.kind, found.mistyped.front()));
  auto mode = r.parameter("fieldValidation");
  if (!mode.empty() && mode != "Strict" && mode != "Warn" && mode != "Ignore")
    return Status::bad_request(fmt::format(
        "fieldValidation: Unsupported value: \"{}\": supported values: \"Ignore\", \"Strict\", \"Warn\"", mode));
  if (mode == "Strict" && !found.unknown.empty()) {
    std::string list;
    for (const auto& one : found.unknown) list += (list.empty() ? "" : ", ") + one;
    return Status::bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                                           kind.kind, kind.version, kind.kind, list));
  }
  if (mode != "Ignore") warnings = std::move(found.unknown);
  if (!found.invalid.empty()) {
    Key key{std::string(storage_kind(kind).resource), "", api::text_at(body, "metadata.name")};
    return Status::invalid(key, kind.kind, std::move(found.invalid));
  }
  return std::nullopt;
}

std::optional<Status> check_identity(const ResourcePath& path, const json::object& body) {
  auto version = api::text_at(body, "apiVersion"), kind = api::text_at(body, "kind");
  if ((!version.empty() && version != path.kind->api_version()) || (!kind.empty() && kind != path.kind->kind))
    return Status::bad_request(
        fmt::format("the API version and kind in the data ({}, {}) do not match the expected ({}, {})", version, kind,
                    path.kind->api_version(), path.kind->kind));
  auto ns = api::text_at(body, "metadata.namespace");
  if (path.kind->namespaced && !ns.empty() && ns != path.ns)
    return Status::bad_request("the namespace of the provided object does not match the namespace sent on the request");
  auto name = api::text_at(body, "metadata.name");
  if (!path.name.empty() && !name.empty() && name != path.name)
    return Status::bad_request(
        fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, path.name));
  return std::nullopt;
}

}  // namespace trama::server
