// SPDX-License-Identifier: GPL-2.0-or-later
// The two ways to CRC-32C, behind base::crc32c() of digest.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace trama::base {

std::uint32_t crc32c_by_table(std::string_view data);
// The processor's own instruction, many times as fast; nothing where there is none.
std::optional<std::uint32_t> crc32c_by_processor(std::string_view data);

}  // namespace trama::base
