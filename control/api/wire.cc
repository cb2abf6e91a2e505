// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/wire.h"

#include <limits>

#include <fmt/format.h>

namespace trama::api {

std::optional<Tag> WireReader::tag() {
  if (rest_.empty()) return std::nullopt;
  auto key = varint();
  if (failed()) return std::nullopt;
  auto number = key >> 3;
  auto type = static_cast<unsigned>(key & 7);
  if (number == 0 || number > (1u << 29) - 1 || type > 5) {
    fail(fmt::format("proto: illegal tag {} (wire type {})", number, type));
    return std::nullopt;
  }
  return Tag{static_cast<unsigned>(number), static_cast<WireType>(type)};
}

std::uint64_t WireReader::varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (rest_.empty()) {
      fail("unexpected EOF");
      return 0;
    }
    auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
  fail("proto: integer overflow");
  return 0;
}

std::string_view WireReader::bytes() {
  auto size = varint();
  if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    fail("proto: negative length found during unmarshaling");
    return {};
  }
  return fixed(size);
}

std::string_view WireReader::fixed(std::size_t size) {
  if (failed() || size > rest_.size()) {
    fail("unexpected EOF");
    return {};
  }
  auto out = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return out;
}

void WireReader::skip(Tag first) {
  int depth = 0;
  std::optional<Tag> next = first;
  do {
    switch (next->type) {
      case WireType::varint: varint(); break;
      case WireType::fixed64: fixed(8); break;
      case WireType::bytes: bytes(); break;
      case WireType::fixed32: fixed(4); break;
      case WireType::group:
        if (++depth > 64) fail("proto: groups nest too deep");
        break;
      case WireType::end_group:
        if (--depth < 0) fail("proto: unexpected end of group");
        break;
    }
    if (depth > 0 && !failed()) {
      next = tag();
      if (!next) fail("unexpected EOF");
    }
  } while (depth > 0 && !failed());
}

}  // namespace trama::api
