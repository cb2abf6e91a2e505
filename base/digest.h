// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace trama::base {

std::array<std::uint8_t, 32> sha256(std::string_view data);
std::string sha256_hex(std::string_view data);
// CRC-32C of data: a checksum against bit rot, not against malice.
std::uint32_t crc32c(std::string_view data);
// n bytes from the kernel's random source, as lower-case hex (2n characters).
std::string random_hex(std::size_t n);
// A random (version 4) UUID in its usual text form.
std::string random_uuid();

}  // namespace trama::base
