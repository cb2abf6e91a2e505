// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

namespace trama::api {

// RFC 4648, padded: how JSON carries bytes.
std::string base64(std::string_view bytes);

}  // namespace trama::api
