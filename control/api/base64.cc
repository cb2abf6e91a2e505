// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/base64.h"

#include <cstdint>

namespace trama::api {

std::string base64(std::string_view in) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < in.size(); i += 3) {
    std::uint32_t v = 0;
    for (std::size_t k = 0; k < 3; ++k) v = v << 8 | (i + k < in.size() ? static_cast<unsigned char>(in[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= in.size() ? kLetters[v >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::optional<std::string> decode_base64(std::string_view text) {
  auto digit = [](char c) -> int {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
  };
  std::string out;
  out.reserve(text.size() / 4 * 3);
  std::uint32_t v = 0;
  std::size_t digits = 0, padding = 0;
  for (char c : text) {
    if (c == '\n' || c == '\r') continue;
    auto d = digit(c);
    if (c == '=' && digits % 4 >= 2)
      ++padding, d = 0;
    else if (d < 0 || padding > 0)
      return std::nullopt;
    v = v << 6 | static_cast<std::uint32_t>(d);
    if (++digits % 4 != 0) continue;
    for (std::size_t k = 0; k + padding < 3; ++k) out += static_cast<char>(v >> (16 - 8 * k) & 0xff);
    v = 0;
  }
  return digits % 4 == 0 ? std::optional(std::move(out)) : std::nullopt;
}

}  // namespace trama::api
