// SPDX-License-Identifier: GPL-2.0-or-later
// Wall-clock instants and their RFC 3339 text with nanoseconds, as container logs and statuses carry them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trama::netns {

using Timestamp = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

Timestamp now();
std::string format_timestamp(Timestamp t);  // "2026-01-02T15:04:05.000000001Z", always nine digits, so texts sort
// Any RFC 3339 time: fraction of any length, Z or an offset.
base::Result<Timestamp> parse_timestamp(std::string_view text);

}  // namespace trama::netns
