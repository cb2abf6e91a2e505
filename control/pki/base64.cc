// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/base64.h"

#include <openssl/evp.h>

namespace trama::pki {

std::string to_base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                          reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

base::Result<std::string> from_base64(std::string_view text) {
  std::string plain;
  plain.reserve(text.size());
  for (char c : text)
    if (c != '\n' && c != '\r' && c != ' ' && c != '\t') plain += c;
  std::size_t padding = plain.ends_with("==") ? 2 : plain.ends_with("=") ? 1 : 0;
  std::string out(plain.size() / 4 * 3 + 3, '\0');
  int n = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                          reinterpret_cast<const unsigned char*>(plain.data()), static_cast<int>(plain.size()));
  if (n < 0 || plain.size() % 4 != 0) return base::Error::text("this is not base64");
  out.resize(static_cast<std::size_t>(n) - padding);
  return out;
}

}  // namespace trama::pki
