// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/authorize.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::server {
namespace {

using api::Status;

constexpr std::string_view kNodePrefix = "system:node:";

Status refused(const Identity& who, const Attempt& what, std::string_view why = "") {
  auto user = who.name.empty() ? std::string("system:anonymous") : who.name;
  std::string resource(what.kind->resource);
  if (!what.subresource.empty()) resource += "/" + what.subresource;
  auto qualified = what.kind->group.empty() ? resource : fmt::format("{}.{}", resource, what.kind->group);
  auto message = fmt::format("{}{} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\"", qualified,
                             what.name.empty() ? "" : fmt::format(" \"{}\"", what.name), user, what.verb, resource,
                             what.kind->group);
  message += what.kind->namespaced && !what.ns.empty() ? fmt::format(" in the namespace \"{}\"", what.ns)
                                                       : " at the cluster scope";
  if (!why.empty()) message += fmt::format(": {}", why);
  auto s = Status::forbidden(std::move(message));
  s.kind = std::string(what.kind->resource);
  s.name = what.name;
  return s;
}

bool reads(const Attempt& a) { return a.verb == "get" || a.verb == "list" || a.verb == "watch"; }
bool writes(const Attempt& a) { return a.verb == "create" || a.verb == "update" || a.verb == "patch"; }

bool selects_own_pods(const Attempt& a, const std::string& node) {
  std::string_view rest = a.field_selector;
  while (!rest.empty()) {
    auto comma = rest.find(',');
    auto item = rest.substr(0, comma);
    if (item == "spec.nodeName=" + node || item == "spec.nodeName==" + node) return true;
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return false;
}

bool node_may(const Attempt& a, const std::string& node) {
  auto r = a.kind->resource;
  if (r == "services" || r == "endpointslices" || r == "namespaces" || r == "networkpolicies")
    return reads(a) && a.subresource.empty();
  if (r == "nodes") {
    if (reads(a)) return a.subresource.empty() || a.subresource == "status";
    // The name of a created object is in its body: authorize_object looks at it.
    if (a.verb == "create") return a.subresource.empty();
    return writes(a) && a.name == node && (a.subresource.empty() || a.subresource == "status");
  }
  if (r == "pods") {
    if (a.verb == "list" || a.verb == "watch") return selects_own_pods(a, node);
    if (a.verb == "get") return a.subresource.empty() || a.subresource == "status";
    if (a.verb == "delete") return a.subresource.empty();
    return (a.verb == "update" || a.verb == "patch") && a.subresource == "status";
  }
  if (r == "leases")
    return a.ns == "kube-node-lease" && (a.verb == "create" || ((a.verb == "get" || writes(a)) && a.name == node));
  if (r == "events") return a.verb == "create" || a.verb == "patch" || a.verb == "update";
  if (r == "certificatesigningrequests") return a.subresource.empty() && (a.verb == "create" || a.verb == "get");
  return false;
}

// Labels below kubernetes.io and k8s.io steer others' decisions; a node sets those that describe itself.
bool node_may_set_label(std::string_view key) {
  auto slash = key.find('/');
  if (slash == std::string_view::npos) return true;
  auto domain = key.substr(0, slash);
  auto below = [&](std::string_view parent) {
    return domain == parent || (domain.ends_with(parent) && domain[domain.size() - parent.size() - 1] == '.');
  };
  if (below("node-restriction.kubernetes.io")) return false;
  if (!below("kubernetes.io") && !below("k8s.io")) return true;
  if (below("kubelet.kubernetes.io") || below("node.kubernetes.io")) return true;
  static constexpr std::string_view kOwn[] = {"kubernetes.io/hostname",
                                              "kubernetes.io/arch",
                                              "kubernetes.io/os",
                                              "beta.kubernetes.io/arch",
                                              "beta.kubernetes.io/os",
                                              "beta.kubernetes.io/instance-type",
                                              "topology.kubernetes.io/region",
                                              "topology.kubernetes.io/zone",
                                              "failure-domain.beta.kubernetes.io/region",
                                              "failure-domain.beta.kubernetes.io/zone"};
  return std::find(std::begin(kOwn), std::end(kOwn), key) != std::end(kOwn);
}

// Absent, false and empty mean the same.
bool is_unset(const api::json::value* v) {
  if (!v || v->is_null()) return true;
  if (v->is_bool()) return !v->get_bool();
  return (v->is_array() && v->get_array().empty()) || (v->is_string() && v->get_string().empty());
}

// Why a node may not write its own Node like this; "" when it may. `old` is null at registration, when a node may say
// that it is not to be used yet (taints, unschedulable), but not where it stands in the cluster.
std::string node_object_refusal(const api::json::object* old, const api::json::object& body) {
  static const api::json::object kNothing;
  const auto& before = old ? *old : kNothing;
  auto changes = [&](std::string_view path) {
    const auto *a = api::at(before, path), *b = api::at(body, path);
    return is_unset(a) || is_unset(b) ? is_unset(a) != is_unset(b) : *a != *b;
  };
  if (old) {
    // An allow-list: labels of its own making, annotations, providerID.
    auto rest = [](api::json::object spec) {
      for (auto it = spec.begin(); it != spec.end();) it = is_unset(&it->value()) ? spec.erase(it) : it + 1;
      spec.erase("providerID");
      return spec;
    };
    if (rest(api::object_at(before, "spec")) != rest(api::object_at(body, "spec")))
      return "a node does not change its spec (taints, podCIDR, unschedulable)";
  }
  for (const char* path : {"spec.podCIDR", "spec.podCIDRs", "metadata.ownerReferences"})
    if (changes(path)) return fmt::format("a node does not set or change {} of its Node", path);
  if (old && changes("metadata.finalizers")) return "a node does not change the finalizers of its Node";
  auto had = api::strings_at(before, "metadata.labels"), has = api::strings_at(body, "metadata.labels");
  for (const auto* side : {&had, &has})
    for (const auto& [key, value] : *side) {
      auto was = had.find(key), is = has.find(key);
      bool changed = was == had.end() || is == has.end() || was->second != is->second;
      if (changed && !node_may_set_label(key)) return fmt::format("a node does not set the label {}", key);
    }
  return "";
}

}  // namespace

std::string node_name(const Identity& who) {
  if (!who.in("system:nodes") || who.name.compare(0, kNodePrefix.size(), kNodePrefix) != 0) return "";
  return who.name.substr(kNodePrefix.size());
}

std::optional<Status> authorize(const Identity& who, const Attempt& what) {
  if (who.in("system:masters")) return std::nullopt;
  if (who.name.empty()) {
    auto s = refused(who, what);
    return s;
  }
  if (auto node = node_name(who); !node.empty() && node_may(what, node)) return std::nullopt;
  if (who.in("system:bootstrappers") && what.kind->resource == "certificatesigningrequests" &&
      what.subresource.empty() && (what.verb == "create" || what.verb == "get"))
    return std::nullopt;
  return refused(who, what);
}

std::optional<Status> authorize_object(const Identity& who, const Attempt& what, const api::Object* old,
                                       const api::json::object* body) {
  if (who.in("system:masters")) return std::nullopt;
  auto r = what.kind->resource;
  if (r == "certificatesigningrequests") {
    if (old && api::text_at(old->body, "spec.username") != who.name)
      return refused(who, what, "the request was made by somebody else");
    return std::nullopt;
  }
  auto node = node_name(who);
  if (node.empty()) return std::nullopt;
  if (r == "pods" && old && api::text_at(old->body, "spec.nodeName") != node)
    return refused(who, what, "the pod is not bound to this node");
  if (r == "leases" && body && api::text_at(*body, "metadata.name") != node)
    return refused(who, what, "a node holds its own lease only");
  if (r != "nodes" || !body) return std::nullopt;
  if (api::text_at(*body, "metadata.name") != node) return refused(who, what, "a node writes its own Node only");
  if (!what.subresource.empty()) return std::nullopt;  // status: everything else is carried over
  if (auto why = node_object_refusal(old ? &old->body : nullptr, *body); !why.empty()) return refused(who, what, why);
  return std::nullopt;
}

std::optional<Status> authorize_path(const Identity& who, const std::string& path) {
  for (const char* open : {"/healthz", "/livez", "/readyz", "/version"})
    if (path == open || path.rfind(std::string(open) + "/", 0) == 0) return std::nullopt;
  if (who.name.empty())
    return Status::forbidden(fmt::format("forbidden: User \"system:anonymous\" cannot get path \"{}\"", path));
  if (path == "/metrics" && !who.in("system:masters"))
    return Status::forbidden(fmt::format("forbidden: User \"{}\" cannot get path \"{}\"", who.name, path));
  return std::nullopt;
}

}  // namespace trama::server
