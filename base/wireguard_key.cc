// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/wireguard_key.h"

#include <stdexcept>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

namespace trama::base {

namespace {
constexpr std::size_t kText = 44;
}

std::string WireguardKey::to_string() const {
  std::array<unsigned char, kText + 1> text{};
  EVP_EncodeBlock(text.data(), octets.data(), static_cast<int>(octets.size()));
  return {reinterpret_cast<const char*>(text.data()), kText};
}

std::optional<WireguardKey> WireguardKey::parse(std::string_view text) {
  if (text.size() != kText) return std::nullopt;
  std::array<unsigned char, kText / 4 * 3> raw{};
  auto* begin = reinterpret_cast<const unsigned char*>(text.data());
  if (EVP_DecodeBlock(raw.data(), begin, static_cast<int>(text.size())) != static_cast<int>(raw.size()))
    return std::nullopt;
  WireguardKey key;
  std::copy_n(raw.begin(), key.octets.size(), key.octets.begin());
  // One text for one key: white space, missing padding and stray bits in the last character are refused.
  if (key.is_zero() || key.to_string() != text) return std::nullopt;
  return key;
}

WireguardKey WireguardKey::random() {
  WireguardKey key;
  if (RAND_priv_bytes(key.octets.data(), static_cast<int>(key.octets.size())) != 1)
    throw std::runtime_error("no random numbers");
  // As RFC 7748, 5 wants it; the kernel does the same to what it is given.
  key.octets.front() &= 0xf8;
  key.octets.back() = static_cast<std::uint8_t>((key.octets.back() & 0x7f) | 0x40);
  return key;
}

void WireguardKey::wipe() { OPENSSL_cleanse(octets.data(), octets.size()); }

}  // namespace trama::base
