// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/join_token.h"

#include <charconv>
#include <ctime>

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include "base/digest.h"
#include "control/pki/base64.h"

namespace trama::pki {

namespace json = api::json;

namespace {

std::string rfc3339(std::chrono::system_clock::time_point t) {
  std::time_t raw = std::chrono::system_clock::to_time_t(t);
  std::tm tm{};
  gmtime_r(&raw, &tm);
  char text[32];
  auto n = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
  return std::string(text, n);
}

std::optional<std::chrono::system_clock::time_point> parse_time(const std::string& text) {
  std::tm tm{};
  const char* end = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &tm);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return std::chrono::system_clock::from_time_t(timegm(&tm));
}

bool is_id(std::string_view id) {
  return id.size() == 6 && id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789") == std::string_view::npos;
}

}  // namespace

api::Key token_key(std::string_view id) {
  api::Key key;
  key.resource = "secrets";
  key.ns = kTokenNamespace;
  key.name = "bootstrap-token-" + std::string(id);
  return key;
}

json::object token_body(const TokenRecord& record) {
  auto key = token_key(record.id);
  json::object metadata;
  metadata["name"] = key.name;
  metadata["namespace"] = key.ns;
  json::object data;
  data["token-id"] = to_base64(record.id);
  data["token-secret-sha256"] = to_base64(record.secret_hash);
  if (record.expires != std::chrono::system_clock::time_point::max())
    data["expiration"] = to_base64(rfc3339(record.expires));
  data["usage-bootstrap-authentication"] = to_base64("true");
  if (record.uses != kUnlimited) data["uses"] = to_base64(std::to_string(record.uses));
  if (!record.node.empty()) data["node"] = to_base64(record.node);
  if (!record.description.empty()) data["description"] = to_base64(record.description);
  json::object body;
  body["apiVersion"] = "v1";
  body["kind"] = "Secret";
  body["metadata"] = std::move(metadata);
  body["type"] = kTokenSecretType;
  body["data"] = std::move(data);
  return body;
}

std::optional<TokenRecord> token_of(const json::object& body) {
  if (api::text_at(body, "type") != kTokenSecretType) return std::nullopt;
  const auto& data = api::object_at(body, "data");
  auto field = [&data](std::string_view name) {
    const auto* v = data.if_contains(name);
    return v != nullptr && v->is_string() ? from_base64(v->get_string()).value_or("") : std::string();
  };
  TokenRecord r;
  r.id = field("token-id");
  r.secret_hash = field("token-secret-sha256");
  r.node = field("node");
  r.description = field("description");
  // A limit that can not be read is a limit that is over.
  if (data.contains("expiration")) r.expires = parse_time(field("expiration")).value_or(decltype(r.expires)());
  if (data.contains("uses")) {
    auto uses = field("uses");
    auto [end, ec] = std::from_chars(uses.data(), uses.data() + uses.size(), r.uses);
    if (ec != std::errc() || end != uses.data() + uses.size() || r.uses < 0) r.uses = 0;
  }
  bool ok = is_id(r.id) && r.secret_hash.size() == 64 && field("usage-bootstrap-authentication") == "true" &&
            api::text_at(body, "metadata.name") == token_key(r.id).name;
  if (!ok) return std::nullopt;
  return r;
}

bool hash_token_secret(json::object& body) {
  if (api::text_at(body, "type") != kTokenSecretType) return false;
  for (const char* part : {"data", "stringData"}) {
    auto* map = body.if_contains(part);
    auto* plain = map != nullptr && map->is_object() ? map->get_object().if_contains("token-secret") : nullptr;
    if (plain == nullptr) continue;
    std::string text = plain->is_string() ? std::string(plain->get_string()) : std::string();
    auto secret = part == std::string_view("data") ? from_base64(text).value_or("") : text;
    map->get_object().erase("token-secret");
    api::make_object_at(body, "data")["token-secret-sha256"] = to_base64(base::sha256_hex(secret));
    return true;
  }
  return false;
}

std::optional<Bearer> parse_bearer(std::string_view text) {
  auto dot = text.find('.');
  if (dot == std::string_view::npos || !is_id(text.substr(0, dot)) || text.size() - dot - 1 > 128) return std::nullopt;
  return Bearer{std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
}

bool secret_matches(const TokenRecord& record, std::string_view secret) {
  auto hash = base::sha256_hex(secret);
  return hash.size() == record.secret_hash.size() &&
         CRYPTO_memcmp(hash.data(), record.secret_hash.data(), hash.size()) == 0;
}

std::string new_token_id() {
  constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789";
  std::string id;
  while (id.size() < 6) {
    unsigned char c = 0;
    if (RAND_bytes(&c, 1) == 1 && c < 252) id += kAlphabet[c % kAlphabet.size()];  // 252 = 7 * 36: no bias
  }
  return id;
}

std::string new_token_secret() { return base::random_hex(16); }

}  // namespace trama::pki
