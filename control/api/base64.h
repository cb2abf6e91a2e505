// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace trama::api {

// RFC 4648, padded: how JSON carries bytes.
std::string base64(std::string_view bytes);
// Line breaks are skipped, as Go skips them; nothing for anything else that is not padded base64.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace trama::api
