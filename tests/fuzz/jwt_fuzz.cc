// SPDX-License-Identifier: GPL-2.0-or-later
// A token that is read says where it is from, and nothing but its signer makes it good.
#include <cstdint>
#include <cstdlib>

#include "control/pki/authority.h"
#include "control/pki/jwt.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::pki;
  static const Authority authority = std::move(*Authority::create("fuzz", 1'800'000'000));
  std::string text(reinterpret_cast<const char*>(data), size);
  auto token = parse_jwt(text);
  if (!token) {
    if (token.error().to_string().empty()) std::abort();
  } else {
    if (token->key_id.empty() || token->signature.size() != 64) std::abort();
    if (token->signed_text + "." + to_base64url(token->signature) != text) std::abort();
    if (verify_jwt(*token, authority.certificate())) std::abort();  // nobody knows this key
  }
  if (auto bytes = from_base64url(text); bytes && to_base64url(*bytes) != text) std::abort();
  return 0;
}
