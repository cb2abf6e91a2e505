// SPDX-License-Identifier: GPL-2.0-or-later
// ConfigMaps, Secrets, ServiceAccounts.
#include <algorithm>

#include "control/api/base64.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

constexpr std::size_t kMostBytes = 1 << 20;
constexpr std::string_view kFixed = "field is immutable when `immutable` is set";

std::string key_path(std::string_view map, std::string_view key) { return fmt::format("{}[{}]", map, key); }

void config_key(Causes& out, std::string_view map, std::string_view key) {
  auto wrong = [&](std::string_view why) { invalid(out, key_path(map, key), in_quotes(key), why); };
  bool plain = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
  if (key.size() > 253) wrong("must be no more than 253 characters");
  if (!plain)
    wrong(
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME', "
        " or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')");
  if (key == ".")
    wrong("must not be '.'");
  else if (key == "..")
    wrong("must not be '..'");
  else if (key.starts_with(".."))
    wrong("must not start with '..'");
}

// Bytes in the values of a map from names to base64.
std::size_t check_bytes(Causes& out, const json::object& body, std::string_view map) {
  std::size_t size = 0;
  for (const auto& [key, value] : object_at(body, map)) {
    config_key(out, map, key);
    if (!value.is_string()) continue;
    if (auto bytes = decode_base64(std::string_view(value.get_string())))
      size += bytes->size();
    else
      invalid(out, key_path(map, key), "\"<contents redacted>\"", "must be valid base64 (RFC 4648, padded)");
  }
  return size;
}

void too_long(Causes& out, std::string field) {
  out.push_back({"FieldValueTooLong", fmt::format("Too long: must have at most {} bytes", kMostBytes), field});
}

// What an object that was made immutable has, it keeps.
void immutable_content(Causes& out, const json::object& body, const json::object& old,
                       std::initializer_list<const char*> maps) {
  if (!bool_at(old, "immutable")) return;
  if (!bool_at(body, "immutable")) forbidden(out, "immutable", kFixed);
  for (const char* map : maps)
    if (object_at(body, map) != object_at(old, map)) forbidden(out, map, kFixed);
}

void must_have(Causes& out, const json::object& body, std::string_view key) {
  if (!object_at(body, "data").contains(key)) required(out, key_path("data", key));
}

void must_be_json(Causes& out, const json::object& body, std::string_view key) {
  must_have(out, body, key);
  const auto* value = object_at(body, "data").if_contains(key);
  auto text = value && value->is_string() ? decode_base64(std::string_view(value->get_string())) : std::nullopt;
  if (!text) return;
  json::parse_options options;
  options.max_depth = 64;
  boost::system::error_code ec;
  (void)json::parse(*text, ec, {}, options);
  if (ec) invalid(out, key_path("data", key), "\"<secret contents redacted>\"", "must be valid JSON: " + ec.message());
}

void secret_of_type(Causes& out, const json::object& body, std::string_view type) {
  const auto& data = object_at(body, "data");
  if (type == "kubernetes.io/tls") {
    must_have(out, body, "tls.crt");
    must_have(out, body, "tls.key");
  } else if (type == "kubernetes.io/dockerconfigjson") {
    must_be_json(out, body, ".dockerconfigjson");
  } else if (type == "kubernetes.io/dockercfg") {
    must_be_json(out, body, ".dockercfg");
  } else if (type == "kubernetes.io/basic-auth") {
    if (data.contains("username") || data.contains("password")) return;
    must_have(out, body, "username");
    must_have(out, body, "password");
  } else if (type == "kubernetes.io/ssh-auth") {
    const auto* key = data.if_contains("ssh-privatekey");
    if (!key || !key->is_string() || key->get_string().empty()) required(out, key_path("data", "ssh-privatekey"));
  } else if (type == "kubernetes.io/service-account-token") {
    constexpr std::string_view kName = "kubernetes.io/service-account.name";
    const auto& annotations = object_at(body, "metadata.annotations");
    const auto* name = annotations.if_contains(kName);
    if (!name || !name->is_string() || name->get_string().empty())
      required(out, key_path("metadata.annotations", kName));
  }
}

}  // namespace

void validate_config_map(Causes& out, const json::object& body, const json::object* old) {
  std::size_t size = 0;
  const auto& binary = object_at(body, "binaryData");
  for (const auto& [key, value] : object_at(body, "data")) {
    config_key(out, "data", key);
    if (binary.contains(key))
      invalid(out, key_path("data", key), in_quotes(std::string_view(key)), "duplicate of key present in binaryData");
    if (value.is_string()) size += value.get_string().size();
  }
  size += check_bytes(out, body, "binaryData");
  if (size > kMostBytes) too_long(out, "[]");
  if (old) immutable_content(out, body, *old, {"data", "binaryData"});
}

void validate_service_account(Causes& out, const json::object& body) {
  constexpr std::string_view kRole = "trama.dev/role";
  const auto* role = object_at(body, "metadata.annotations").if_contains(kRole);
  if (!role || !role->is_string() || role->get_string() == "view" || role->get_string() == "edit") return;
  invalid(out, key_path("metadata.annotations", kRole), in_quotes(std::string_view(role->get_string())),
          "must be view or edit: a token may do no more than whoever may make it");
}

void validate_secret(Causes& out, const json::object& body, const json::object* old) {
  if (check_bytes(out, body, "data") > kMostBytes) too_long(out, "data");
  auto type = text_at(body, "type");
  secret_of_type(out, body, type);
  if (!old) return;
  if (text_at(*old, "type") != type) invalid(out, "type", in_quotes(type), "field is immutable");
  immutable_content(out, body, *old, {"data"});
}

}  // namespace trama::api
