// SPDX-License-Identifier: GPL-2.0-or-later
// Quantities as the API writes them: "100m", "1.5", "64Mi", "1e3".
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "control/api/object.h"

namespace trama::api {

// The value in thousandths, rounded away from zero; saturated at +-2^63-1. Nothing when the text is no quantity.
std::optional<std::int64_t> parse_milli(std::string_view text);
// The value in units, rounded away from zero.
std::optional<std::int64_t> parse_units(std::string_view text);
// The same for a JSON string or number; 0 for anything else.
std::int64_t milli_of(const json::value& v);
std::int64_t units_of(const json::value& v);

}  // namespace trama::api
