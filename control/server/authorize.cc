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
  if (r == "services" || r == "endpointslices" || r == "namespaces") return reads(a) && a.subresource.empty();
  if (r == "nodes") {
    if (reads(a)) return a.subresource.empty() || a.subresource == "status";
    // The name of a created object is in its body: authorize_object looks at it.
    return writes(a) && (a.name == node || a.verb == "create") && (a.subresource.empty() || a.subresource == "status");
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
  if (!old) {
    // A new Node says what it is; where it stands in the cluster is for others to say.
    if (api::at(*body, "spec.podCIDR")) return refused(who, what, "a node does not choose its podCIDR");
    return std::nullopt;
  }
  // An allow-list: labels of its own making, annotations, status. Nothing in spec.
  if (api::object_at(old->body, "spec") != api::object_at(*body, "spec"))
    return refused(who, what, "a node does not change its spec (taints, podCIDR, unschedulable)");
  auto before = api::strings_at(old->body, "metadata.labels"), after = api::strings_at(*body, "metadata.labels");
  for (const auto& labels : {before, after})
    for (const auto& [key, value] : labels) {
      auto was = before.find(key), is = after.find(key);
      bool changed = was == before.end() || is == after.end() || was->second != is->second;
      bool reserved = key.find("kubernetes.io/") != std::string::npos || key.find("k8s.io/") != std::string::npos;
      bool own = key == "kubernetes.io/hostname" || key == "kubernetes.io/arch" || key == "kubernetes.io/os";
      if (changed && reserved && !own) return refused(who, what, fmt::format("a node does not set the label {}", key));
    }
  if (api::array_at(old->body, "metadata.ownerReferences") != api::array_at(*body, "metadata.ownerReferences"))
    return refused(who, what, "a node does not change its owners");
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
