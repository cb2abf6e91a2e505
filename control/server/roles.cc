// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/roles.h"

#include <algorithm>

namespace trama::server {

namespace {

using enum Role;
using enum Which;

constexpr std::string_view kNodePrefix = "system:node:";

constexpr Membership kMemberships[] = {
    {admin, "", "system:masters"},     // never signed on request: only the controller makes such certificates
    {admin, "", "trama:admin", true},  // a certificate that an administrator approved
    {edit, "", "trama:edit", true},          {view, "", "trama:view", true},
    {node, "system:node:*", "system:nodes"}, {proxy, "", "system:node-proxier", true},
    {proxy, "system:kube-proxy", ""},  // upstream's user of that role
    {bootstrap, "", "system:bootstrappers"}, {metrics, "", "system:monitoring", true},
};

constexpr std::string_view kRead = "get list watch";
constexpr std::string_view kWrite = "create update patch delete deletecollection";
// What may be shown to people who must not see secrets.
constexpr std::string_view kOpen =
    "namespaces namespaces/status nodes nodes/status pods pods/status services services/status events configmaps "
    "serviceaccounts deployments deployments/status deployments/scale replicasets replicasets/status "
    "replicasets/scale daemonsets daemonsets/status jobs jobs/status networkpolicies endpointslices endpoints "
    "controllerrevisions leases";

constexpr Rule kRules[] = {
    {admin, "*", "*"},

    {edit, kRead, kOpen},
    {edit, "get", "pods/log"},
    {edit, "create", "tokenreviews"},
    {edit, kRead, "secrets", outside_system},
    {edit, kWrite,
     "pods services configmaps secrets serviceaccounts deployments replicasets daemonsets jobs networkpolicies leases",
     outside_system},
    {edit, "update patch", "deployments/scale replicasets/scale", outside_system},
    {edit, "create", "pods/eviction serviceaccounts/token", outside_system},
    {edit, "get create", "pods/exec", outside_system},
    {edit, "create update patch", "events", outside_system},

    {view, kRead, kOpen},
    {view, "get", "pods/log"},
    {view, "create", "tokenreviews"},

    {node, kRead, "services endpointslices namespaces networkpolicies nodes"},
    {node, "get", "nodes/status"},
    {node, "create update patch", "nodes", own_node},
    {node, "update patch", "nodes/status", own_node},
    {node, "get list watch delete", "pods", own_pods},
    {node, "get update patch", "pods/status", own_pods},
    {node, "create get update patch", "leases", own_lease},
    {node, "create update patch", "events", own_events},
    {node, kRead, "secrets configmaps", named_by_own_pods},
    {node, "create", "serviceaccounts/token", own_accounts},
    {node, "create get", "certificatesigningrequests", own_requests},

    {proxy, kRead, "services endpointslices nodes"},
    {proxy, "create update patch", "events"},

    {bootstrap, "create get", "certificatesigningrequests", own_requests},

    {authenticated, "create", "selfsubjectaccessreviews selfsubjectrulesreviews selfsubjectreviews"},
};

constexpr PathRule kPathRules[] = {
    {admin, "*"},
    {metrics, "/metrics"},
    {authenticated,
     "/api /api/* /apis /apis/* /openapi /openapi/* /trama/ca /openid/v1/jwks "
     "/.well-known/openid-configuration"},
    {anyone, "/healthz /healthz/* /livez /livez/* /readyz /readyz/* /version /version/*"},
};

}  // namespace

std::string_view to_string(Role role) {
  switch (role) {
    case admin: return "admin";
    case edit: return "edit";
    case view: return "view";
    case node: return "node";
    case proxy: return "proxy";
    case bootstrap: return "bootstrap";
    case metrics: return "metrics";
    case authenticated: return "authenticated";
    case anyone: return "anyone";
  }
  return "";
}

std::span<const Membership> memberships() { return kMemberships; }
std::string_view group_on_request(std::string_view role) {
  for (const auto& m : kMemberships)
    if (m.on_request && to_string(m.role) == role) return m.group;
  return "";
}
std::span<const Rule> rules() { return kRules; }
std::span<const PathRule> path_rules() { return kPathRules; }

bool Identity::in(std::string_view group) const {
  return std::find(groups.begin(), groups.end(), group) != groups.end();
}

std::string node_name(const Identity& who) {
  if (!who.in("system:nodes") || !std::string_view(who.name).starts_with(kNodePrefix)) return "";
  return who.name.substr(kNodePrefix.size());
}

std::vector<Role> roles_of(const Identity& who) {
  std::vector<Role> out{anyone};
  if (who.name.empty()) return out;
  out.push_back(authenticated);
  auto is_called = [&who](std::string_view user) {
    if (!user.ends_with('*')) return user == who.name;
    user.remove_suffix(1);
    return std::string_view(who.name).starts_with(user) && who.name.size() > user.size();
  };
  for (const auto& m : kMemberships) {
    if (!m.user.empty() && !is_called(m.user)) continue;
    if (!m.group.empty() && !who.in(m.group)) continue;
    if (std::find(out.begin(), out.end(), m.role) == out.end()) out.push_back(m.role);
  }
  return out;
}

std::vector<std::string_view> words_of(std::string_view list) {
  std::vector<std::string_view> out;
  while (!list.empty()) {
    auto end = std::min(list.find(' '), list.size());
    if (end > 0) out.push_back(list.substr(0, end));
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return out;
}

bool lists(std::string_view list, std::string_view word) {
  if (list == "*") return true;
  auto words = words_of(list);
  return std::find(words.begin(), words.end(), word) != words.end();
}

bool path_matches(std::string_view pattern, std::string_view path) {
  if (!pattern.ends_with('*')) return pattern == path;
  pattern.remove_suffix(1);
  return path.starts_with(pattern);
}

}  // namespace trama::server
