// SPDX-License-Identifier: GPL-2.0-or-later
// Join tokens as the API stores them: Secrets of upstream's type bootstrap.kubernetes.io/token in kube-system, with one
// difference: the secret half is never stored, only its SHA-256. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "control/api/object.h"

namespace trama::pki {

constexpr std::string_view kTokenSecretType = "bootstrap.kubernetes.io/token";
constexpr std::string_view kTokenNamespace = "kube-system";

constexpr std::int64_t kUnlimited = -1;

struct TokenRecord {
  std::string id;           // six of [a-z0-9]
  std::string secret_hash;  // SHA-256 of the secret, hex
  std::chrono::system_clock::time_point expires;
  std::int64_t uses = 1;  // how many nodes may still join with it
  std::string node;       // "" = any name
  std::string description;
};

api::Key token_key(std::string_view id);
// The Secret's whole body, without uid and timestamps.
api::json::object token_body(const TokenRecord& record);
// Replaces upstream's plain "token-secret" by its hash; true when it was there. Runs before a Secret is stored.
bool hash_token_secret(api::json::object& body);
// Nothing when the Secret is not a well-formed, hashed token. Without "expiration" or "uses" there is no such limit.
std::optional<TokenRecord> token_of(const api::json::object& body);

// "id.secret" as a bearer token carries it; nothing when it is not of that form.
struct Bearer {
  std::string id;
  std::string secret;
};
std::optional<Bearer> parse_bearer(std::string_view text);
// Compares in constant time.
bool secret_matches(const TokenRecord& record, std::string_view secret);

std::string new_token_id();
std::string new_token_secret();

}  // namespace trama::pki
