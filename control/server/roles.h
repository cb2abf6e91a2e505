// SPDX-License-Identifier: GPL-2.0-or-later
// Who may do what, as one table: role x verbs x resources x which objects. The check, the answers to `kubectl auth` and
// `trama auth matrix` all read it; docs/roles.md says it in words, and a test holds the two against each other. Pure.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace trama::server {

// Who speaks: a client certificate's CN and O, or what a bearer token stands for. Empty name = anonymous.
struct Identity {
  std::string name;                 // "system:node:n1", "admin"
  std::vector<std::string> groups;  // "system:masters", "system:nodes", "system:bootstrappers"
  bool in(std::string_view group) const;
};

enum class Role { admin, edit, view, node, proxy, bootstrap, metrics, authenticated, anyone };
std::string_view to_string(Role role);

// A name or a group gives a role. One who has none may still ask what it may do.
struct Membership {
  Role role;
  std::string_view user;    // "" = whatever the name
  std::string_view group;   // "" = whatever the groups; "system:nodes" counts only together with the name of a node
  bool on_request = false;  // `trama kubeconfig --role` asks for a certificate with it
};
std::span<const Membership> memberships();
// The group that `trama kubeconfig` asks for; "" for a role (by its name) that it has none for.
std::string_view group_on_request(std::string_view role);

// Which of the objects of a resource a rule is about.
enum class Which {
  every,
  outside_system,     // in namespaces whose name does not begin with "kube-"; not across all namespaces
  own_node,           // the Node of the asker's name; what it may change of it: see authorize_object()
  own_lease,          // its lease in kube-node-lease
  own_pods,           // those bound to it; lists and watches only with spec.nodeName=<itself>
  own_events,         // about its Node, its pods, or an object that is nobody's; changed only by who reported them
  named_by_own_pods,  // Secrets and ConfigMaps that a pod bound to it names
  own_accounts,       // ServiceAccounts of pods bound to it; tokens bound to such a pod
  own_requests        // signing requests that it made
};

struct Rule {
  Role role;
  std::string_view verbs;      // "get list watch", "*"
  std::string_view resources;  // "pods pods/log", "*"; plural names are unique over all groups
  Which which = Which::every;
};
std::span<const Rule> rules();

// Paths that are no objects. "/api/*" stands for everything below "/api/".
struct PathRule {
  Role role;
  std::string_view paths;
};
std::span<const PathRule> path_rules();

// All roles of an identity; `anyone` always, `authenticated` for every name.
std::vector<Role> roles_of(const Identity& who);
// "n1" for system:node:n1 in system:nodes, "" for everybody else.
std::string node_name(const Identity& who);

// True when `word` is one of the words of `list`, or `list` is "*".
bool lists(std::string_view list, std::string_view word);
std::vector<std::string_view> words_of(std::string_view list);
bool path_matches(std::string_view pattern, std::string_view path);

}  // namespace trama::server
