// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/digest.h"

#include <stdexcept>
#include <vector>

#include <fmt/format.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include "base/crc32c.h"

namespace trama::base {

std::array<std::uint8_t, 32> sha256(std::string_view data) {
  std::array<std::uint8_t, 32> out{};
  unsigned n = 0;
  // Looked for once: OpenSSL 3 otherwise asks its providers for it each time, which takes longer than a short digest.
  static const EVP_MD* const kind = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  if (!kind || EVP_Digest(data.data(), data.size(), out.data(), &n, kind, nullptr) != 1)
    throw std::runtime_error("SHA-256 is not available");
  return out;
}

namespace {
std::string hex(const std::uint8_t* p, std::size_t n) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string s(n * 2, ' ');
  for (std::size_t i = 0; i < n; ++i) s[2 * i] = kDigits[p[i] >> 4], s[2 * i + 1] = kDigits[p[i] & 15];
  return s;
}
std::vector<std::uint8_t> random_bytes(std::size_t n) {
  std::vector<std::uint8_t> raw(n);
  std::size_t got = 0;
  while (got < n) {
    ssize_t r = getrandom(raw.data() + got, n - got, 0);
    if (r > 0) got += static_cast<std::size_t>(r);
  }
  return raw;
}
}  // namespace

std::string sha256_hex(std::string_view data) {
  auto d = sha256(data);
  return hex(d.data(), d.size());
}

std::uint32_t crc32c(std::string_view data) {
  auto quick = crc32c_by_processor(data);
  return quick ? *quick : crc32c_by_table(data);
}

std::string random_hex(std::size_t n) {
  auto raw = random_bytes(n);
  return hex(raw.data(), n);
}

std::string random_uuid() {
  auto r = random_bytes(16);
  r[6] = static_cast<std::uint8_t>((r[6] & 0x0f) | 0x40);
  r[8] = static_cast<std::uint8_t>((r[8] & 0x3f) | 0x80);
  auto h = hex(r.data(), 16);
  return h.substr(0, 8) + '-' + h.substr(8, 4) + '-' + h.substr(12, 4) + '-' + h.substr(16, 4) + '-' + h.substr(20);
}

}  // namespace trama::base
