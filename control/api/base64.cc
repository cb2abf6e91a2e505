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

}  // namespace trama::api
