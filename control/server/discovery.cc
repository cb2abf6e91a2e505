// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/discovery.h"

#include <algorithm>
#include <map>
#include <set>

#include <fmt/format.h>

#include "base/digest.h"
#include "control/api/kinds.h"
#include "control/api/openapi.h"
#include "control/server/reviews.h"

namespace trama::server {
namespace {

namespace json = api::json;

constexpr const char* kAggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
constexpr const char* kAggregatedBeta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

Reply reply(json::object body, std::string type = "application/json") {
  Reply r;
  r.content_type = std::move(type);
  r.body = json::serialize(body);
  return r;
}

bool review_kind(const api::Kind& kind) {
  return &kind >= reviews().data() && &kind < reviews().data() + reviews().size();
}

json::array strings(std::initializer_list<std::string_view> list) {
  json::array out;
  for (auto s : list) out.emplace_back(s);
  return out;
}
json::array strings(const std::vector<std::string_view>& list) {
  json::array out;
  for (auto s : list) out.emplace_back(s);
  return out;
}

// What is stored has all verbs; a review is only asked.
json::array verbs_of(const api::Kind& kind) {
  if (review_kind(kind)) return strings({"create"});
  return strings({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"});
}

// Everything that has a path: stored kinds, then reviews.
std::vector<const api::Kind*> served() {
  std::vector<const api::Kind*> out;
  for (const auto* table : {&api::kinds(), &reviews()})
    for (const auto& kind : *table) out.push_back(&kind);
  return out;
}

struct Sub {
  std::string_view group, version, kind;
  json::array verbs;
};
Sub describe(const api::Kind& kind, std::string_view name) {
  if (name == "scale") return {"autoscaling", "v1", "Scale", strings({"get", "patch", "update"})};
  if (name == "binding") return {"", "v1", "Binding", strings({"create"})};
  if (name == "eviction") return {"policy", "v1", "Eviction", strings({"create"})};
  if (name == "token") return {"authentication.k8s.io", "v1", "TokenRequest", strings({"create"})};
  if (name == "log") return {"", "v1", "Pod", strings({"get"})};
  if (name == "exec") return {"", "v1", "PodExecOptions", strings({"create", "get"})};
  if (name == "proxy") return {"", "v1", "NodeProxyOptions", strings({"create", "get"})};
  return {kind.group, kind.version, kind.kind, strings({"get", "patch", "update"})};
}

json::array resource_list(std::string_view group, std::string_view version) {
  json::array out;
  for (const auto* each : served()) {
    const auto& kind = *each;
    if (kind.group != group || kind.version != version) continue;
    json::object r;
    r["name"] = kind.resource;
    r["singularName"] = kind.singular;
    r["namespaced"] = kind.namespaced;
    r["kind"] = kind.kind;
    r["verbs"] = verbs_of(kind);
    if (!kind.short_names.empty()) r["shortNames"] = strings(kind.short_names);
    if (!kind.categories.empty()) r["categories"] = strings(kind.categories);
    out.push_back(std::move(r));
    for (auto name : kind.subresources) {
      auto sub = describe(kind, name);
      json::object s;
      s["name"] = fmt::format("{}/{}", kind.resource, name);
      s["singularName"] = "";
      s["namespaced"] = kind.namespaced;
      if (sub.group != kind.group || sub.version != kind.version) {
        s["group"] = sub.group;
        s["version"] = sub.version;
      }
      s["kind"] = sub.kind;
      s["verbs"] = std::move(sub.verbs);
      out.push_back(std::move(s));
    }
  }
  return out;
}

std::vector<std::string_view> groups() {
  std::vector<std::string_view> out;
  std::set<std::string_view> seen;
  for (const auto* kind : served())
    if (!kind->group.empty() && seen.insert(kind->group).second) out.push_back(kind->group);
  return out;
}

// The preferred one first.
std::vector<std::string_view> versions_of(std::string_view group) {
  std::vector<std::string_view> out;
  for (const auto* kind : served())
    if (kind->group == group && std::find(out.begin(), out.end(), kind->version) == out.end())
      out.push_back(kind->version);
  return out;
}

json::object group_object(std::string_view name) {
  json::object out;
  out["name"] = name;
  json::array versions;
  for (auto v : versions_of(name)) {
    json::object version;
    version["groupVersion"] = fmt::format("{}/{}", name, v);
    version["version"] = v;
    versions.push_back(std::move(version));
  }
  out["preferredVersion"] = versions.front();
  out["versions"] = std::move(versions);
  return out;
}

json::object aggregated_version(std::string_view name, std::string_view version_name) {
  json::array resources;
  for (const auto* each : served()) {
    const auto& kind = *each;
    if (kind.group != name || kind.version != version_name) continue;
    json::object r, response;
    response["group"] = kind.group;
    response["version"] = kind.version;
    response["kind"] = kind.kind;
    r["resource"] = kind.resource;
    r["responseKind"] = std::move(response);
    r["scope"] = kind.namespaced ? "Namespaced" : "Cluster";
    r["singularResource"] = kind.singular;
    r["verbs"] = verbs_of(kind);
    if (!kind.short_names.empty()) r["shortNames"] = strings(kind.short_names);
    if (!kind.categories.empty()) r["categories"] = strings(kind.categories);
    json::array subs;
    for (auto sub_name : kind.subresources) {
      auto sub = describe(kind, sub_name);
      json::object s, what;
      what["group"] = sub.group;
      what["version"] = sub.version;
      what["kind"] = sub.kind;
      s["subresource"] = sub_name;
      s["responseKind"] = std::move(what);
      s["verbs"] = std::move(sub.verbs);
      subs.push_back(std::move(s));
    }
    if (!subs.empty()) r["subresources"] = std::move(subs);
    resources.push_back(std::move(r));
  }
  json::object version;
  version["version"] = version_name;
  version["freshness"] = "Current";
  version["resources"] = std::move(resources);
  return version;
}

json::object aggregated_group(std::string_view name) {
  json::array versions;
  for (auto v : versions_of(name)) versions.push_back(aggregated_version(name, v));
  json::object out;
  json::object metadata;
  metadata["creationTimestamp"] = nullptr;
  if (!name.empty()) metadata["name"] = name;
  out["metadata"] = std::move(metadata);
  out["versions"] = std::move(versions);
  return out;
}

Reply aggregated(bool core, bool beta) {
  json::array items;
  if (core)
    items.push_back(aggregated_group(""));
  else
    for (auto g : groups()) items.push_back(aggregated_group(g));
  json::object out;
  out["kind"] = "APIGroupDiscoveryList";
  out["apiVersion"] = beta ? "apidiscovery.k8s.io/v2beta1" : "apidiscovery.k8s.io/v2";
  out["metadata"] = json::object();
  out["items"] = std::move(items);
  return reply(std::move(out), beta ? kAggregatedBeta : kAggregated);
}

Reply version(const std::string& cluster_version) {
  json::object v;
  auto dot = cluster_version.find('.', 3);
  v["major"] = "1";
  v["minor"] = cluster_version.substr(3, dot - 3);
  v["gitVersion"] = cluster_version + "+trama-" TRAMA_VERSION;
  v["gitCommit"] = "";
  v["gitTreeState"] = "clean";
  v["buildDate"] = "1970-01-01T00:00:00Z";
  v["goVersion"] = "none";
  v["compiler"] = "g++";
  v["platform"] = "linux/amd64";
  return reply(std::move(v));
}

struct Document {
  std::string text, hash;
};
// Made once; clients keep it as long as its hash stays.
const Document& openapi_v3(std::string_view group) {
  static std::map<std::string_view, Document> made;
  auto it = made.find(group);
  if (it == made.end()) {
    Document fresh;
    fresh.text = json::serialize(api::openapi_v3(group, TRAMA_VERSION, reviews()));
    fresh.hash = base::sha256_hex(fresh.text);
    it = made.emplace(group, std::move(fresh)).first;
  }
  return it->second;
}

Reply openapi_reply(std::string_view group) {
  Reply r;
  r.body = openapi_v3(group).text;
  return r;
}

}  // namespace

std::optional<Reply> discover(const Request& request, const std::string& cluster_version) {
  auto path = request.path;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  auto accept = request.header("accept");
  bool v2 = accept.find("v=v2;as=APIGroupDiscoveryList") != std::string::npos;
  bool beta = !v2 && accept.find("v=v2beta1;as=APIGroupDiscoveryList") != std::string::npos;
  for (const char* health : {"/healthz", "/livez", "/readyz"})
    if (path == health) {
      Reply r;
      r.content_type = "text/plain; charset=utf-8";
      r.body = "ok";
      return r;
    }
  if (path == "/version") return version(cluster_version);
  if (path == "/api") {
    if (v2 || beta) return aggregated(true, beta);
    json::object out;
    out["kind"] = "APIVersions";
    out["versions"] = strings({"v1"});
    out["serverAddressByClientCIDRs"] = json::array();
    return reply(std::move(out));
  }
  if (path == "/apis") {
    if (v2 || beta) return aggregated(false, beta);
    json::array list;
    for (auto g : groups()) list.push_back(group_object(g));
    json::object out;
    out["kind"] = "APIGroupList";
    out["apiVersion"] = "v1";
    out["groups"] = std::move(list);
    return reply(std::move(out));
  }
  auto resources = [&](std::string_view group, std::string_view v) {
    json::object out;
    out["kind"] = "APIResourceList";
    out["apiVersion"] = "v1";
    out["groupVersion"] = group.empty() ? std::string(v) : fmt::format("{}/{}", group, v);
    out["resources"] = resource_list(group, v);
    return reply(std::move(out));
  };
  if (path == "/api/v1") return resources("", "v1");
  for (auto g : groups()) {
    if (path == fmt::format("/apis/{}", g)) {
      auto out = group_object(g);
      out["kind"] = "APIGroup";
      out["apiVersion"] = "v1";
      return reply(std::move(out));
    }
    for (auto v : versions_of(g))
      if (path == fmt::format("/apis/{}/{}", g, v)) return resources(g, v);
  }
  if (path == "/openapi/v2") {
    // A zero-byte document is a valid empty one: every kubectl then skips validation on its side.
    Reply r;
    r.content_type = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    return r;
  }
  if (path == "/openapi/v3") {
    json::object paths;
    auto add = [&](std::string_view group, const std::string& name) {
      json::object one;
      one["serverRelativeURL"] = fmt::format("/openapi/v3/{}?hash={}", name, openapi_v3(group).hash);
      paths[name] = std::move(one);
    };
    add("", "api/v1");
    for (auto g : groups()) add(g, fmt::format("apis/{}/v1", g));
    json::object out;
    out["paths"] = std::move(paths);
    return reply(std::move(out));
  }
  if (path == "/openapi/v3/api/v1") return openapi_reply("");
  for (auto g : groups())
    if (path == fmt::format("/openapi/v3/apis/{}/v1", g)) return openapi_reply(g);
  return std::nullopt;
}

}  // namespace trama::server
