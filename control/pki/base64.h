// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace trama::pki {

std::string to_base64(std::string_view bytes);
// White space is skipped; anything else that is not base64 is an error.
base::Result<std::string> from_base64(std::string_view text);

}  // namespace trama::pki
