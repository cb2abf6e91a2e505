// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/jwt.h"

#include <algorithm>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "base/c_ptr.h"
#include "control/pki/base64.h"

namespace trama::pki {

using base::Error;
using base::Result;

namespace {

constexpr std::size_t kLongest = 16 * 1024;
constexpr std::size_t kHalf = 32;

using Context = base::CPtr<EVP_MD_CTX, EVP_MD_CTX_free>;
using Signature = base::CPtr<ECDSA_SIG, ECDSA_SIG_free>;

const unsigned char* bytes(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }

bool is_p256(EVP_PKEY* key) {
  char group[64] = {};
  return key && EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof group, nullptr) == 1 &&
         std::string_view(group) == "prime256v1";
}

Result<json::object> parse_part(std::string_view text, std::string_view what) {
  auto decoded = from_base64url(text);
  if (!decoded) return std::move(decoded).error().in(std::string(what));
  json::parse_options options;
  options.max_depth = 8;
  boost::system::error_code ec;
  auto value = json::parse(*decoded, ec, {}, options);
  if (ec || !value.is_object()) return Error::text(fmt::format("the token's {} is no JSON object", what));
  return std::move(value.get_object());
}

std::string text_of(const json::object& o, std::string_view member) {
  const auto* v = o.if_contains(member);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

}  // namespace

std::string to_base64url(std::string_view data) {
  auto out = to_base64(data);
  while (out.ends_with('=')) out.pop_back();
  std::replace(out.begin(), out.end(), '+', '-');
  std::replace(out.begin(), out.end(), '/', '_');
  return out;
}

Result<std::string> from_base64url(std::string_view text) {
  std::string usual(text);
  for (char& c : usual) {
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!plain) return Error::text("not base64url");
    c = c == '-' ? '+' : c == '_' ? '/' : c;
  }
  usual.append((4 - usual.size() % 4) % 4, '=');
  auto out = from_base64(usual);
  if (!out || to_base64url(*out) != text) return Error::text("not base64url");
  return out;
}

bool looks_like_jwt(std::string_view text) { return std::count(text.begin(), text.end(), '.') == 2; }

Result<Jwt> parse_jwt(std::string_view text) {
  if (text.size() > kLongest) return Error::text("the token is longer than 16 KiB");
  if (!looks_like_jwt(text)) return Error::text("a token has three parts");
  auto first = text.find('.'), second = text.rfind('.');
  auto header = parse_part(text.substr(0, first), "header");
  if (!header) return std::move(header).error();
  // Decided here, never by the token: there is one algorithm, and "none" is not it.
  if (text_of(*header, "alg") != "ES256") return Error::text("the token is not signed with ES256");
  if (header->contains("crit")) return Error::text("the token asks for extensions that are not known");
  Jwt out;
  out.key_id = text_of(*header, "kid");
  if (out.key_id.empty()) return Error::text("the token does not say by which key it is signed");
  auto claims = parse_part(text.substr(first + 1, second - first - 1), "claims");
  if (!claims) return std::move(claims).error();
  out.claims = std::move(*claims);
  auto signature = from_base64url(text.substr(second + 1));
  if (!signature || signature->size() != 2 * kHalf) return Error::text("the token's signature is not one of ES256");
  out.signature = std::move(*signature);
  out.signed_text = text.substr(0, second);
  return out;
}

Result<std::string> sign_jwt(const PrivateKey& key, const std::string& key_id, const json::object& claims) {
  if (!is_p256(key.get())) return Error::text("tokens are signed with keys of P-256");
  json::object header{{"alg", "ES256"}, {"kid", key_id}, {"typ", "JWT"}};
  auto text = to_base64url(json::serialize(header)) + "." + to_base64url(json::serialize(claims));
  Context context(EVP_MD_CTX_new());
  std::size_t size = 0;
  if (!context || EVP_DigestSignInit(context.get(), nullptr, EVP_sha256(), nullptr, key.get()) != 1 ||
      EVP_DigestSign(context.get(), nullptr, &size, bytes(text), text.size()) != 1)
    return openssl_error("sign a token");
  std::string der(size, '\0');
  if (EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(der.data()), &size, bytes(text), text.size()) != 1)
    return openssl_error("sign a token");
  const unsigned char* at = bytes(der);
  Signature signature(d2i_ECDSA_SIG(nullptr, &at, static_cast<long>(size)));
  std::string raw(2 * kHalf, '\0');
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  if (!signature || BN_bn2binpad(ECDSA_SIG_get0_r(signature.get()), out, kHalf) != kHalf ||
      BN_bn2binpad(ECDSA_SIG_get0_s(signature.get()), out + kHalf, kHalf) != kHalf)
    return openssl_error("sign a token");
  return text + "." + to_base64url(raw);
}

bool verify_jwt(const Jwt& token, const Certificate& signer) {
  auto* key = X509_get0_pubkey(signer.get());
  if (!is_p256(key) || token.signature.size() != 2 * kHalf) return false;
  Signature signature(ECDSA_SIG_new());
  auto* r = BN_bin2bn(bytes(token.signature), kHalf, nullptr);
  auto* s = BN_bin2bn(bytes(token.signature) + kHalf, kHalf, nullptr);
  if (!signature || !r || !s || ECDSA_SIG_set0(signature.get(), r, s) != 1) {
    BN_free(r);
    BN_free(s);
    return false;
  }
  unsigned char* der = nullptr;
  int size = i2d_ECDSA_SIG(signature.get(), &der);
  if (size <= 0) return false;
  Context context(EVP_MD_CTX_new());
  bool good = context && EVP_DigestVerifyInit(context.get(), nullptr, EVP_sha256(), nullptr, key) == 1 &&
              EVP_DigestVerify(context.get(), der, static_cast<std::size_t>(size), bytes(token.signed_text),
                               token.signed_text.size()) == 1;
  OPENSSL_free(der);
  if (!good) (void)openssl_error("");  // an empty queue for whoever comes next
  return good;
}

Result<json::object> to_jwk(const Certificate& signer) {
  auto* key = X509_get0_pubkey(signer.get());
  unsigned char point[1 + 2 * kHalf];
  std::size_t size = 0;
  if (!is_p256(key) || EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &size) != 1 ||
      size != sizeof point || point[0] != 4)
    return Error::text("not a key of P-256");
  std::string_view raw(reinterpret_cast<const char*>(point) + 1, 2 * kHalf);
  return json::object{{"use", "sig"},
                      {"kty", "EC"},
                      {"kid", signer.spki_pin()},
                      {"crv", "P-256"},
                      {"alg", "ES256"},
                      {"x", to_base64url(raw.substr(0, kHalf))},
                      {"y", to_base64url(raw.substr(kHalf))}};
}

}  // namespace trama::pki
