// SPDX-License-Identifier: GPL-2.0-or-later
// Wall-clock instants and their RFC 3339 text: with nanoseconds in container logs and statuses, without in API objects.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trama::base {

using Timestamp = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

Timestamp now();
std::string format_timestamp(Timestamp t);  // "2026-01-02T15:04:05.000000001Z", always nine digits, so texts sort
std::string format_micros(Timestamp t);     // "2026-01-02T15:04:05.000001Z", Kubernetes' MicroTime: always six digits
std::string format_seconds(Timestamp t);    // "2026-01-02T15:04:05Z"
// Any RFC 3339 time of the years 1700 to 2250: fraction of any length, Z or an offset. A leap second counts as the next
// minute.
Result<Timestamp> parse_timestamp(std::string_view text);

}  // namespace trama::base
