// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace trama::cli {

// Seconds since 1970 of an RFC 3339 UTC time; 0 when it is none.
std::int64_t unix_seconds(std::string_view rfc3339);
// Since `then`, in seconds since 1970, until now.
std::string age_since(std::int64_t then);
// Since `rfc3339` until now; "<unknown>" when it is no time.
std::string age_of(std::string_view rfc3339);

}  // namespace trama::cli
