// SPDX-License-Identifier: GPL-2.0-or-later
// URLs as requests for objects. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/status.h"

namespace trama::server {

using Query = std::map<std::string, std::vector<std::string>>;

struct Target {
  std::string path;  // percent-decoded
  Query query;
};
// Splits and decodes a request target; nothing when it is malformed.
std::optional<Target> parse_target(std::string_view target);

// A path below /api/v1 or /apis/GROUP/VERSION that names a resource.
struct ResourcePath {
  const api::Kind* kind = nullptr;
  std::string ns, name, subresource;
  std::string rest;    // what follows the subresource: "/status" of nodes/n1/proxy/status
  bool watch = false;  // the old /watch/ prefix form
};
// Nothing for paths that are no resources ("/api", "/version", an unknown resource).
std::optional<ResourcePath> parse_resource(std::string_view path);

}  // namespace trama::server
