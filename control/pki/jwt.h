// SPDX-License-Identifier: GPL-2.0-or-later
// JSON Web Tokens in the one form that is used here: compact, ES256 (RFC 7515, RFC 7518 section 3.4). Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "control/api/object.h"
#include "control/pki/certificate.h"
#include "control/pki/key.h"

namespace trama::pki {

namespace json = api::json;

// RFC 4648 section 5, without padding.
std::string to_base64url(std::string_view bytes);
base::Result<std::string> from_base64url(std::string_view text);  // strict: the one spelling of these bytes

// What is in a token, not verified.
struct Jwt {
  std::string key_id;  // header: kid
  json::object claims;
  std::string signed_text;  // what the signature is over
  std::string signature;    // r and s, 32 bytes each
};
// An error for anything but three parts, a header with alg ES256 and a kid and without crit, an object of claims, and
// 64 bytes of signature; and for more than 16 KiB.
base::Result<Jwt> parse_jwt(std::string_view text);
// True for three parts with dots between them: what else a bearer token may be has one or none.
bool looks_like_jwt(std::string_view text);

base::Result<std::string> sign_jwt(const PrivateKey& key, const std::string& key_id, const json::object& claims);
// False for any key but one of P-256.
bool verify_jwt(const Jwt& token, const Certificate& signer);
// The certificate's key as RFC 7517 has it; an error unless it is one of P-256.
base::Result<json::object> to_jwk(const Certificate& signer);

}  // namespace trama::pki
