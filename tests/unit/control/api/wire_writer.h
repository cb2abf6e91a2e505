// SPDX-License-Identifier: GPL-2.0-or-later
// Protobuf by hand, from the wire format's own description: shares nothing with the decoder.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trama::api::wire {

inline std::string varint(std::uint64_t n) {
  std::string out;
  for (; n > 0x7f; n >>= 7) out += static_cast<char>(0x80 | (n & 0x7f));
  return out + static_cast<char>(n);
}
inline std::string number(unsigned field, std::int64_t n) {
  return varint(field << 3) + varint(static_cast<std::uint64_t>(n));
}
// Text, bytes or a message.
inline std::string bytes(unsigned field, std::string_view content) {
  return varint(field << 3 | 2) + varint(content.size()) + std::string(content);
}
inline std::string entry(unsigned field, std::string_view key, std::string_view value) {
  return bytes(field, bytes(1, key) + bytes(2, value));
}
inline std::string envelope(std::string_view api_version, std::string_view kind, std::string_view message) {
  return std::string("k8s\0", 4) + bytes(1, bytes(1, api_version) + bytes(2, kind)) + bytes(2, message) + bytes(3, "") +
         bytes(4, "");
}

}  // namespace trama::api::wire
