// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/crc32c.h"

#include <array>
#include <cstring>

namespace trama::base {

namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli's, its bits reversed

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) std::uint32_t by_processor(std::string_view data) {
  std::uint64_t wide = ~0u;
  for (; data.size() >= 8; data.remove_prefix(8)) {
    std::uint64_t eight;
    std::memcpy(&eight, data.data(), 8);
    wide = __builtin_ia32_crc32di(wide, eight);
  }
  auto crc = static_cast<std::uint32_t>(wide);
  for (char c : data) crc = __builtin_ia32_crc32qi(crc, static_cast<unsigned char>(c));
  return ~crc;
}
#endif

}  // namespace

std::uint32_t crc32c_by_table(std::string_view data) {
  // Eight bytes a step: table 0 is for one byte, table k the same k bytes further on.
  static const auto tables = [] {
    std::array<std::array<std::uint32_t, 256>, 8> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1) ? (c >> 1) ^ kPolynomial : c >> 1;
      t[0][i] = c;
    }
    for (std::size_t k = 1; k < 8; ++k)
      for (std::size_t i = 0; i < 256; ++i) t[k][i] = t[0][t[k - 1][i] & 0xff] ^ (t[k - 1][i] >> 8);
    return t;
  }();
  auto byte = [&data](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(data[i])); };
  std::uint32_t crc = ~0u;
  for (; data.size() >= 8; data.remove_prefix(8)) {
    auto low = crc ^ (byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24);
    crc = tables[7][low & 0xff] ^ tables[6][(low >> 8) & 0xff] ^ tables[5][(low >> 16) & 0xff] ^ tables[4][low >> 24] ^
          tables[3][byte(4)] ^ tables[2][byte(5)] ^ tables[1][byte(6)] ^ tables[0][byte(7)];
  }
  for (std::size_t i = 0; i < data.size(); ++i) crc = tables[0][(crc ^ byte(i)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::optional<std::uint32_t> crc32c_by_processor(std::string_view data) {
#if defined(__x86_64__)
  static const bool able = __builtin_cpu_supports("sse4.2");
  if (able) return by_processor(data);
#else
  (void)data;
#endif
  return std::nullopt;
}

}  // namespace trama::base
