// SPDX-License-Identifier: GPL-2.0-or-later
// The meta.k8s.io/v1 Table form of objects: upstream's columns, so that kubectl and trama print the same.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"

namespace trama::api {

// What a row carries beside its cells (the includeObject parameter).
enum class RowObject { metadata, none, object };

json::object make_table(const Kind& kind, const std::vector<ObjectPtr>& objects, RowObject include,
                        std::chrono::system_clock::time_point now);

// Seconds since the epoch of an RFC 3339 time; 0 when it does not parse.
std::int64_t parse_time(std::string_view rfc3339);

}  // namespace trama::api
