// SPDX-License-Identifier: GPL-2.0-or-later
// Plain YAML scalars as JSON values and back.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::cli {

// YAML 1.2's core schema: null, true, false, integers (decimal, 0x, 0o, and 0644 as octal like kubectl), floats;
// everything else is a string. Infinity and NaN are errors: JSON has no such numbers.
base::Result<boost::json::value> plain_scalar(std::string_view text);
// Whether a string must be quoted so that it comes back as the same string (from YAML 1.1 readers too).
bool needs_quotes(std::string_view text);

}  // namespace trama::cli
