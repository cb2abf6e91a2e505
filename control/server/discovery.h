// SPDX-License-Identifier: GPL-2.0-or-later
// What clients ask before anything else: groups, versions, resources; the OpenAPI stubs that make kubectl leave
// validation to the server.
#pragma once

#include <optional>

#include "control/server/server.h"

namespace trama::server {

// The answer to a path that is no object, or nothing when the path is unknown.
std::optional<Reply> discover(const Request& request, const std::string& cluster_version);

}  // namespace trama::server
