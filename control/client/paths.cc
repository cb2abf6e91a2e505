// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/paths.h"

#include <fmt/format.h>

#include "control/api/kinds.h"

namespace trama::client {

std::string group_path(std::string_view resource) {
  const auto* kind = api::kind_of_resource(resource);
  if (kind == nullptr) return "";
  return kind->group.empty() ? fmt::format("/api/{}", kind->version)
                             : fmt::format("/apis/{}/{}", kind->group, kind->version);
}

std::string collection_path(std::string_view resource, std::string_view ns) {
  auto base = group_path(resource);
  return ns.empty() ? fmt::format("{}/{}", base, resource) : fmt::format("{}/namespaces/{}/{}", base, ns, resource);
}

std::string object_path(const api::Key& key, std::string_view subresource) {
  auto path = fmt::format("{}/{}", collection_path(key.resource, key.ns), key.name);
  return subresource.empty() ? path : fmt::format("{}/{}", path, subresource);
}

}  // namespace trama::client
