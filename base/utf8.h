// SPDX-License-Identifier: GPL-2.0-or-later
// What is UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing beyond U+10FFFF): one judgement.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace trama::base {

// Bytes of the character at the beginning of `text`, 1 to 4; 0 = there is none.
std::size_t utf8_length(std::string_view text);
// Nothing but characters; the empty text is.
bool is_utf8(std::string_view text);
// The same text with U+FFFD in the place of each byte that belongs to no character, as Go does it.
std::string to_utf8(std::string_view bytes);

}  // namespace trama::base
