// SPDX-License-Identifier: GPL-2.0-or-later
// The resources that are served: one row each. Everything that lists resources (discovery, routes, the store's
// resource names, `get all`) reads this table.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trama::api {

struct Kind {
  std::string_view group;     // "" for the core group
  std::string_view version;   // "v1"
  std::string_view resource;  // plural, unique over all groups: also the store's name
  std::string_view singular;
  std::string_view kind;
  bool namespaced = true;
  std::vector<std::string_view> short_names;
  std::vector<std::string_view> subresources;  // "status", "scale", "log", "exec", "binding", "eviction", "approval"
  std::vector<std::string_view> categories;    // "all"
  std::string_view served_as = "";             // the resource whose objects these are (events.k8s.io events); "" = own
  std::string api_version() const;             // "v1", "apps/v1"
  bool has(std::string_view subresource) const;
};

const std::vector<Kind>& kinds();
// By group, version and plural; null when not served.
const Kind* find_kind(std::string_view group, std::string_view version, std::string_view resource);
// By the store's resource name.
const Kind* kind_of_resource(std::string_view resource);
// By apiVersion and kind as written in a manifest.
const Kind* kind_of_manifest(std::string_view api_version, std::string_view kind);

}  // namespace trama::api
