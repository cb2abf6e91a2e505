// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/kinds.h"

#include <algorithm>

namespace trama::api {

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> table = {
      {"", "v1", "namespaces", "namespace", "Namespace", false, {"ns"}, {"status"}, {}},
      {"", "v1", "nodes", "node", "Node", false, {"no"}, {"status", "proxy"}, {}},
      {"", "v1", "pods", "pod", "Pod", true, {"po"}, {"status", "binding", "eviction", "log", "exec"}, {"all"}},
      {"", "v1", "services", "service", "Service", true, {"svc"}, {"status"}, {"all"}},
      {"", "v1", "endpoints", "endpoints", "Endpoints", true, {"ep"}, {}, {}},
      {"", "v1", "events", "event", "Event", true, {"ev"}, {}, {}},
      {"", "v1", "configmaps", "configmap", "ConfigMap", true, {"cm"}, {}, {}},
      {"", "v1", "secrets", "secret", "Secret", true, {}, {}, {}},
      {"", "v1", "serviceaccounts", "serviceaccount", "ServiceAccount", true, {"sa"}, {"token"}, {}},
      {"apps", "v1", "deployments", "deployment", "Deployment", true, {"deploy"}, {"status", "scale"}, {"all"}},
      {"apps", "v1", "replicasets", "replicaset", "ReplicaSet", true, {"rs"}, {"status", "scale"}, {"all"}},
      {"apps", "v1", "daemonsets", "daemonset", "DaemonSet", true, {"ds"}, {"status"}, {"all"}},
      {"apps", "v1", "controllerrevisions", "controllerrevision", "ControllerRevision", true, {}, {}, {}},
      {"batch", "v1", "jobs", "job", "Job", true, {}, {"status"}, {"all"}},
      {"networking.k8s.io", "v1", "networkpolicies", "networkpolicy", "NetworkPolicy", true, {"netpol"}, {}, {}},
      {"discovery.k8s.io", "v1", "endpointslices", "endpointslice", "EndpointSlice", true, {}, {}, {}},
      {"coordination.k8s.io", "v1", "leases", "lease", "Lease", true, {}, {}, {}},
      {"certificates.k8s.io",
       "v1",
       "certificatesigningrequests",
       "certificatesigningrequest",
       "CertificateSigningRequest",
       false,
       {"csr"},
       {"status", "approval"},
       {}},
      {"events.k8s.io", "v1", "events", "event", "Event", true, {"ev"}, {}, {}, "events"},
  };
  return table;
}

std::string Kind::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + "/" + std::string(version);
}

bool Kind::has(std::string_view subresource) const {
  return std::find(subresources.begin(), subresources.end(), subresource) != subresources.end();
}

const Kind* find_kind(std::string_view group, std::string_view version, std::string_view resource) {
  for (const auto& k : kinds())
    if (k.group == group && k.version == version && k.resource == resource) return &k;
  return nullptr;
}

const Kind* kind_of_resource(std::string_view resource) {
  for (const auto& k : kinds())
    if (k.resource == resource && k.served_as.empty()) return &k;
  return nullptr;
}

const Kind* kind_of_manifest(std::string_view api_version, std::string_view kind) {
  for (const auto& k : kinds())
    if (k.kind == kind && k.api_version() == api_version) return &k;
  return nullptr;
}

}  // namespace trama::api
