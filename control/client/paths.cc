// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/client/paths.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::client {
namespace {

struct Entry {
  std::string_view resource;
  std::string_view group_path;
};

constexpr std::string_view kCore = "/api/v1";
constexpr Entry kEntries[] = {
    {"pods", kCore},
    {"services", kCore},
    {"nodes", kCore},
    {"namespaces", kCore},
    {"events", kCore},
    {"configmaps", kCore},
    {"secrets", kCore},
    {"endpoints", kCore},
    {"serviceaccounts", kCore},
    {"endpointslices", "/apis/discovery.k8s.io/v1"},
    {"deployments", "/apis/apps/v1"},
    {"replicasets", "/apis/apps/v1"},
    {"daemonsets", "/apis/apps/v1"},
    {"leases", "/apis/coordination.k8s.io/v1"},
    {"networkpolicies", "/apis/networking.k8s.io/v1"},
    {"certificatesigningrequests", "/apis/certificates.k8s.io/v1"},
};

}  // namespace

std::string group_path(std::string_view resource) {
  auto it =
      std::find_if(std::begin(kEntries), std::end(kEntries), [&](const Entry& e) { return e.resource == resource; });
  return it == std::end(kEntries) ? "" : std::string(it->group_path);
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
