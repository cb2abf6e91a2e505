// SPDX-License-Identifier: GPL-2.0-or-later
// What is UTF-8 is what a slow reader finds that decodes each character and writes it again.
#include <cstdint>
#include <cstdlib>

#include "base/utf8.h"

namespace {

// Bytes of the character at `at`, by its number; 0 = none.
std::size_t by_number(std::string_view text, std::size_t at) {
  auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[at + i])); };
  std::uint32_t first = byte(0);
  std::size_t length = (first & 0x80) == 0 ? 1 : (first & 0xe0) == 0xc0 ? 2 : (first & 0xf0) == 0xe0 ? 3 : 4;
  if (length == 4 && (first & 0xf8) != 0xf0) return 0;
  if (at + length > text.size()) return 0;
  std::uint32_t number = length == 1 ? first : first & (0xffu >> (length + 1));
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return 0;
    number = number << 6 | (byte(i) & 0x3f);
  }
  std::size_t shortest = number < 0x80 ? 1 : number < 0x800 ? 2 : number < 0x10000 ? 3 : 4;
  bool surrogate = number >= 0xd800 && number < 0xe000;
  return shortest == length && !surrogate && number <= 0x10ffff ? length : 0;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::base;
  std::string text(reinterpret_cast<const char*>(data), size);
  bool good = true;
  std::size_t characters = 0, lost = 0;
  for (std::size_t at = 0; at < size; ++characters) {
    auto length = by_number(text, at);
    if (utf8_length(std::string_view(text).substr(at)) != length) std::abort();
    good = good && length > 0;
    lost += length == 0;
    at += length == 0 ? 1 : length;
  }
  if (is_utf8(text) != good) std::abort();
  auto clean = to_utf8(text);
  if (!is_utf8(clean) || (clean == text) != good || to_utf8(clean) != clean) std::abort();
  if (clean.size() != size + 2 * lost) std::abort();
  return 0;
}
