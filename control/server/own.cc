// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/own.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::server {

namespace {

namespace json = api::json;

constexpr const char* kSystem = "namespaces whose names begin with kube- are the administrators'";
constexpr const char* kNotBound = "the pod is not bound to this node";
constexpr const char* kNotNamed = "no pod of this node names it";

bool is_whole(const Attempt& a) { return a.verb == "list" || a.verb == "watch" || a.verb == "deletecollection"; }

// What a field selector asks of `field`; "" = nothing.
std::string selected(const Attempt& a, std::string_view field) {
  std::string_view rest = a.field_selector;
  while (!rest.empty()) {
    auto comma = rest.find(',');
    auto item = rest.substr(0, comma);
    if (item.starts_with(field) && item.substr(field.size()).starts_with('=')) {
      item.remove_prefix(field.size() + 1);
      if (item.starts_with('=')) item.remove_prefix(1);
      return std::string(item);
    }
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return "";
}

bool is_bound(const api::Object& pod, const std::string& node) {
  return api::text_at(pod.body, "spec.nodeName") == node;
}

api::ObjectPtr find(const store::Store& store, std::string_view resource, std::string ns, std::string name) {
  api::Key key{std::string(resource), std::move(ns), std::move(name)};
  return store.get(key);
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

// Any member called `member` below `v` that is an object with this name.
bool refers(const json::value& v, std::string_view member, std::string_view key, std::string_view name) {
  if (v.is_array())
    return std::any_of(v.get_array().begin(), v.get_array().end(),
                       [&](const json::value& item) { return refers(item, member, key, name); });
  if (!v.is_object()) return false;
  for (const auto& [k, inner] : v.get_object()) {
    if (k == member && inner.is_object() && api::text_at(inner.get_object(), key) == name) return true;
    if (refers(inner, member, key, name)) return true;
  }
  return false;
}

// Whether a pod of the node's in the namespace of `what` is one that `holds`.
template <class Holds>
bool some_pod(Known known, const std::string& node, const Attempt& what, Holds holds) {
  auto fits = [&](const api::ObjectPtr& pod) { return pod && is_bound(*pod, node) && holds(*pod); };
  if (known.pods) {
    const auto& bound = known.pods->on(node, what.ns);
    return std::any_of(bound.begin(), bound.end(),
                       [&](const std::string& name) { return fits(find(known.store, "pods", what.ns, name)); });
  }
  auto all = known.store.list("pods", what.ns);
  return std::any_of(all.begin(), all.end(), fits);
}

bool some_pod_names(Known known, const std::string& node, const Attempt& what) {
  return some_pod(known, node, what,
                  [&](const api::Object& pod) { return names(pod.body, what.kind->resource, what.name); });
}

bool some_pod_is_of(Known known, const std::string& node, const Attempt& what) {
  return some_pod(known, node, what, [&](const api::Object& pod) { return account_of(pod) == what.name; });
}

// "" when the token that is asked for ends with a pod of the node's own.
std::string token_refusal(const json::object& request, const std::string& node, const Attempt& what,
                          const store::Store& store) {
  auto kind = api::text_at(request, "spec.boundObjectRef.kind"),
       name = api::text_at(request, "spec.boundObjectRef.name");
  auto pod = kind == "Pod" ? find(store, "pods", what.ns, name) : nullptr;
  if (!pod) return "a node asks for tokens that are bound to its pods (spec.boundObjectRef)";
  if (!is_bound(*pod, node)) return kNotBound;
  return account_of(*pod) == what.name ? "" : "the pod has another account";
}

// "" when an Event may be about this object: the node itself, a pod of the node or one that is gone already, or
// something that belongs to no node.
std::string event_refusal(const json::object& event, const std::string& node, const store::Store& store) {
  auto kind = api::text_at(event, "involvedObject.kind"), name = api::text_at(event, "involvedObject.name");
  if (kind == "Node" && name != node) return "a node reports nothing about another node";
  if (kind != "Pod") return "";
  auto pod = find(store, "pods", api::text_at(event, "involvedObject.namespace"), name);
  return pod && !is_bound(*pod, node) ? kNotBound : "";
}

std::string reported_by(const json::object& event) {
  auto host = api::text_at(event, "source.host");
  return host.empty() ? api::text_at(event, "reportingInstance") : host;
}

}  // namespace

std::string account_of(const api::Object& pod) {
  auto name = api::text_at(pod.body, "spec.serviceAccountName");
  return name.empty() ? "default" : name;
}

bool names(const json::object& pod, std::string_view resource, std::string_view name) {
  bool secret = resource == "secrets";
  const auto& spec = api::object_at(pod, "spec");
  for (const char* part : {"containers", "initContainers", "ephemeralContainers"})
    if (const auto* list = spec.if_contains(part))
      for (const char* member : {secret ? "secretKeyRef" : "configMapKeyRef", secret ? "secretRef" : "configMapRef"})
        if (refers(*list, member, "name", name)) return true;
  if (const auto* volumes = spec.if_contains("volumes")) {
    if (refers(*volumes, secret ? "secret" : "configMap", secret ? "secretName" : "name", name)) return true;
    // Sources of a projected volume name their secret like everybody else.
    if (secret && refers(*volumes, "secret", "name", name)) return true;
  }
  if (!secret) return false;
  for (const auto& reference : api::array_at(pod, "spec.imagePullSecrets"))
    if (reference.is_object() && api::text_at(reference.get_object(), "name") == name) return true;
  return false;
}

std::string why_not(Which which, const Identity& who, const Attempt& what, Known known) {
  auto node = node_name(who);
  switch (which) {
    case Which::every: return "";
    case Which::outside_system:
      if (what.ns.empty()) return "only in one namespace at a time: name it (-n)";
      return what.ns.starts_with("kube-") ? kSystem : "";
    case Which::own_node:
      // The name of a created object stands in its body.
      return what.name == node || (what.name.empty() && what.verb == "create") ? "" : "a node writes its own Node only";
    case Which::own_lease:
      if (what.ns != "kube-node-lease") return "a node's lease is in kube-node-lease";
      return what.name == node || (what.name.empty() && what.verb == "create") ? "" : "a node holds its own lease only";
    case Which::own_pods: {
      if (is_whole(what))
        return selected(what, "spec.nodeName") == node
                   ? ""
                   : fmt::format("only with the field selector spec.nodeName={}", node);
      auto pod = find(known.store, "pods", what.ns, what.name);
      return pod && !is_bound(*pod, node) ? kNotBound : "";
    }
    case Which::own_events: {
      auto event = what.name.empty() ? nullptr : find(known.store, "events", what.ns, what.name);
      return event && reported_by(event->body) != node ? "somebody else has reported it" : "";
    }
    case Which::named_by_own_pods: {
      if (!is_whole(what)) return some_pod_names(known, node, what) ? "" : kNotNamed;
      auto one = what;
      one.name = selected(what, "metadata.name");
      if (one.name.empty() || one.ns.empty())
        return "only one at a time: in a namespace, with the field selector metadata.name=NAME";
      return some_pod_names(known, node, one) ? "" : kNotNamed;
    }
    case Which::own_accounts: return some_pod_is_of(known, node, what) ? "" : "no pod of this node has this account";
    case Which::own_requests: {
      auto request = what.name.empty() ? nullptr : find(known.store, what.kind->resource, "", what.name);
      return request && api::text_at(request->body, "spec.username") != who.name
                 ? "the request was made by somebody else"
                 : "";
    }
  }
  return "no rule says what is meant";
}

std::string why_not_object(Which which, const Identity& who, const Attempt& what, const api::Object* old,
                           const json::object* body, Known known) {
  auto node = node_name(who);
  switch (which) {
    case Which::own_node:
      if (body && api::text_at(*body, "metadata.name") != node) return "a node writes its own Node only";
      // A write of the status carries everything else over.
      return body && what.subresource.empty() ? node_object_refusal(old ? &old->body : nullptr, *body) : "";
    case Which::own_lease:
      if (body && api::text_at(*body, "metadata.name") != node) return "a node holds its own lease only";
      break;
    case Which::own_pods: return old && !is_bound(*old, node) ? kNotBound : "";
    case Which::own_events:
      if (old && reported_by(old->body) != node) return "somebody else has reported it";
      if (body && reported_by(*body) != node) return "a node reports under its own name (source.host)";
      return body ? event_refusal(*body, node, known.store) : "";
    case Which::own_accounts:
      // That its pod has the account is what the question of the request was about.
      if (body) return token_refusal(*body, node, what, known.store);
      break;
    case Which::own_requests:
      return old && api::text_at(old->body, "spec.username") != who.name ? "the request was made by somebody else" : "";
    case Which::every:
    case Which::outside_system:
    case Which::named_by_own_pods: break;
  }
  return why_not(which, who, what, known);
}

}  // namespace trama::server
