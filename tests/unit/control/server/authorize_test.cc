// SPDX-License-Identifier: GPL-2.0-or-later
// The whole matrix: who may do what. A row that is not listed as allowed must be refused.
#include "control/server/authorize.h"

#include <set>

#include <gtest/gtest.h>

namespace trama::server {
namespace {

namespace json = api::json;

const Identity kAdmin{"admin", {"system:masters"}};
const Identity kNode{"system:node:n1", {"system:nodes", "system:authenticated"}};
const Identity kBootstrap{"system:bootstrap:abc", {"system:bootstrappers"}};
const Identity kSomebody{"jane", {"system:authenticated"}};
const Identity kAnonymous{};
// Claims a node's name without being in the group, and the group without a node's name.
const Identity kFalseName{"system:node:n1", {}};
const Identity kFalseGroup{"jane", {"system:nodes"}};

Attempt attempt(std::string verb, std::string_view resource, std::string ns = "", std::string name = "",
                std::string sub = "", std::string fields = "") {
  Attempt a;
  a.verb = std::move(verb);
  a.kind = api::kind_of_resource(resource);
  a.ns = std::move(ns);
  a.name = std::move(name);
  a.subresource = std::move(sub);
  a.field_selector = std::move(fields);
  return a;
}

struct Row {
  const char *verb, *resource, *ns, *name, *sub, *fields;
};
// Everything that a node may ask for; the object is looked at afterwards.
const std::vector<Row> kNodeMay = {
    {"get", "services", "d", "s", "", ""},
    {"list", "services", "", "", "", ""},
    {"watch", "services", "", "", "", ""},
    {"get", "endpointslices", "d", "e", "", ""},
    {"list", "endpointslices", "", "", "", ""},
    {"watch", "endpointslices", "", "", "", ""},
    {"get", "namespaces", "", "d", "", ""},
    {"list", "namespaces", "", "", "", ""},
    {"watch", "namespaces", "", "", "", ""},
    {"get", "networkpolicies", "d", "p", "", ""},
    {"list", "networkpolicies", "", "", "", ""},
    {"watch", "networkpolicies", "", "", "", ""},
    {"get", "nodes", "", "n2", "", ""},
    {"list", "nodes", "", "", "", ""},
    {"watch", "nodes", "", "", "", ""},
    {"create", "nodes", "", "", "", ""},
    {"update", "nodes", "", "n1", "", ""},
    {"patch", "nodes", "", "n1", "", ""},
    {"update", "nodes", "", "n1", "status", ""},
    {"patch", "nodes", "", "n1", "status", ""},
    {"list", "pods", "", "", "", "spec.nodeName=n1"},
    {"watch", "pods", "", "", "", "spec.nodeName=n1"},
    {"get", "pods", "d", "p", "", ""},
    {"delete", "pods", "d", "p", "", ""},
    {"update", "pods", "d", "p", "status", ""},
    {"patch", "pods", "d", "p", "status", ""},
    {"create", "leases", "kube-node-lease", "", "", ""},
    {"get", "leases", "kube-node-lease", "n1", "", ""},
    {"update", "leases", "kube-node-lease", "n1", "", ""},
    {"patch", "leases", "kube-node-lease", "n1", "", ""},
    {"create", "events", "d", "", "", ""},
    {"patch", "events", "d", "e", "", ""},
    {"update", "events", "d", "e", "", ""},
    {"create", "certificatesigningrequests", "", "", "", ""},
    {"get", "certificatesigningrequests", "", "c", "", ""},
};

std::string text(const Row& r) {
  return std::string(r.verb) + " " + r.resource + "/" + r.sub + " " + r.ns + "/" + r.name + " " + r.fields;
}

TEST(Authorize, WhatANodeMay) {
  for (const auto& r : kNodeMay)
    EXPECT_FALSE(authorize(kNode, attempt(r.verb, r.resource, r.ns, r.name, r.sub, r.fields))) << text(r);
}

TEST(Authorize, NobodyElseGetsANodesRights) {
  for (const auto& r : kNodeMay) {
    auto a = attempt(r.verb, r.resource, r.ns, r.name, r.sub, r.fields);
    for (const auto* who : {&kSomebody, &kAnonymous, &kFalseName, &kFalseGroup})
      EXPECT_TRUE(authorize(*who, a)) << who->name << " " << text(r);
    bool own_request = std::string_view(r.resource) == "certificatesigningrequests";
    EXPECT_EQ(!authorize(kBootstrap, a), own_request) << text(r);
    EXPECT_FALSE(authorize(kAdmin, a));
  }
}

// Every verb on every resource and subresource, as another node's and as nobody's name: refused unless listed above.
TEST(Authorize, EverythingElseIsRefusedToNodes) {
  std::set<std::string> allowed;
  for (const auto& r : kNodeMay) allowed.insert(text(r));
  std::size_t asked = 0;
  for (const auto& kind : api::kinds()) {
    if (!kind.served_as.empty()) continue;
    std::vector<std::string> subs{""};
    for (auto s : kind.subresources) subs.emplace_back(s);
    for (const auto& sub : subs)
      for (const char* verb : {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}) {
        bool whole = std::string_view(verb) == "list" || std::string_view(verb) == "watch" ||
                     std::string_view(verb) == "deletecollection";
        if (whole && !sub.empty()) continue;  // no request means that
        std::string resource(kind.resource), ns = kind.namespaced ? "other" : "";
        bool named = std::string_view(verb) != "list" && std::string_view(verb) != "watch" &&
                     std::string_view(verb) != "create" && std::string_view(verb) != "deletecollection";
        Row r{verb, resource.c_str(), ns.c_str(), named ? "foreign" : "", sub.c_str(), ""};
        ++asked;
        bool reading = named ? std::string_view(verb) == "get"
                             : std::string_view(verb) == "list" || std::string_view(verb) == "watch";
        bool readable = reading && sub.empty() &&
                        (resource == "services" || resource == "endpointslices" || resource == "namespaces" ||
                         resource == "networkpolicies" || resource == "nodes");
        // What depends on the object is let through here and decided by authorize_object.
        bool later =
            (resource == "pods" &&
             ((sub.empty() && (r.verb == std::string("get") || r.verb == std::string("delete"))) ||
              (sub == "status" &&
               (r.verb == std::string("get") || r.verb == std::string("update") || r.verb == std::string("patch"))))) ||
            (resource == "events" &&
             (r.verb == std::string("create") || r.verb == std::string("update") || r.verb == std::string("patch"))) ||
            (resource == "nodes" &&
             ((sub.empty() && r.verb == std::string("create")) || (r.verb == std::string("get") && sub == "status"))) ||
            (resource == "certificatesigningrequests" && sub.empty() &&
             (r.verb == std::string("create") || r.verb == std::string("get")));
        EXPECT_EQ(!authorize(kNode, attempt(r.verb, resource, ns, r.name, sub)), readable || later) << text(r);
      }
  }
  EXPECT_GT(asked, 150u);
}

TEST(Authorize, PodsOfOtherNodesAreNotListed) {
  for (const char* fields :
       {"", "spec.nodeName=n2", "spec.nodeName!=n1", "status.phase=spec.nodeName=n1", "spec.nodeName=n11"})
    EXPECT_TRUE(authorize(kNode, attempt("list", "pods", "", "", "", fields))) << fields;
  EXPECT_FALSE(authorize(kNode, attempt("list", "pods", "", "", "", "status.phase!=Failed,spec.nodeName=n1")));
}

api::ObjectPtr object(const char* resource, std::string_view text) {
  auto body = json::parse({text.data(), text.size()}).as_object();
  return api::make_object({resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")},
                          std::move(body), 1);
}

TEST(AuthorizeObject, PodsAreTheirNodes) {
  auto mine = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{"nodeName":"n1"}})");
  auto other = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{"nodeName":"n2"}})");
  auto pending = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{}})");
  for (const char* verb : {"get", "delete", "patch"}) {
    auto a = attempt(verb, "pods", "d", "p");
    EXPECT_FALSE(authorize_object(kNode, a, mine.get(), nullptr)) << verb;
    EXPECT_TRUE(authorize_object(kNode, a, other.get(), nullptr)) << verb;
    EXPECT_TRUE(authorize_object(kNode, a, pending.get(), nullptr)) << verb;
    EXPECT_FALSE(authorize_object(kAdmin, a, other.get(), nullptr)) << verb;
  }
}

TEST(AuthorizeObject, SigningRequestsAreTheirMakers) {
  auto mine =
      object("certificatesigningrequests", R"({"metadata":{"name":"c"},"spec":{"username":"system:bootstrap:abc"}})");
  auto a = attempt("get", "certificatesigningrequests", "", "c");
  EXPECT_FALSE(authorize_object(kBootstrap, a, mine.get(), nullptr));
  EXPECT_TRUE(authorize_object(kNode, a, mine.get(), nullptr));
}

// What a node may change of its own Node, and what not.
TEST(AuthorizeObject, NodeRestriction) {
  constexpr const char* kBefore =
      R"({"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"h","team":"a","node-role.kubernetes.io/worker":""}},
      "spec":{"podCIDR":"10.0.0.0/24","taints":[{"key":"a","effect":"NoSchedule"}]}})";
  struct Case {
    const char *path, *value;
    bool allowed;
  };
  const Case cases[] = {
      {"metadata.labels.team", "\"b\"", true},
      {"metadata.annotations.note", "\"x\"", true},
      {"metadata.labels.kubernetes.io/hostname", "\"h2\"", true},
      {"metadata.labels.kubernetes.io/os", "\"linux\"", true},
      {"metadata.labels.topology.kubernetes.io/zone", "\"z\"", true},
      {"metadata.labels.node-role.kubernetes.io/control-plane", "\"\"", false},
      {"metadata.labels.node-restriction.kubernetes.io/secure", "\"yes\"", false},
      {"metadata.labels.x.node-restriction.kubernetes.io/secure", "\"yes\"", false},
      {"metadata.labels.example.k8s.io/x", "\"yes\"", false},
      {"spec.taints", "[]", false},
      {"spec.unschedulable", "true", false},
      {"spec.podCIDR", "\"10.0.1.0/24\"", false},
      {"metadata.ownerReferences", R"([{"kind":"X"}])", false},
  };
  auto before = object("nodes", kBefore);
  for (const auto& c : cases) {
    json::object body = before->body;
    std::string_view path = c.path;
    auto group = path.starts_with("metadata.labels.")        ? std::string_view("metadata.labels")
                 : path.starts_with("metadata.annotations.") ? std::string_view("metadata.annotations")
                                                             : path.substr(0, path.find('.'));
    api::make_object_at(body, group)[path.substr(group.size() + 1)] = json::parse(c.value);
    auto refused = authorize_object(kNode, attempt("update", "nodes", "", "n1"), before.get(), &body);
    EXPECT_EQ(!refused, c.allowed) << c.path << (refused ? ": " + refused->message : "");
    EXPECT_FALSE(authorize_object(kAdmin, attempt("update", "nodes", "", "n1"), before.get(), &body));
  }
  json::object removed = before->body;
  api::make_object_at(removed, "metadata.labels").erase("node-role.kubernetes.io/worker");
  EXPECT_TRUE(authorize_object(kNode, attempt("update", "nodes", "", "n1"), before.get(), &removed))
      << "taking a label away is a change too";
  auto foreign = object("nodes", R"({"metadata":{"name":"n2"}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &foreign->body));
  auto greedy = object("nodes", R"({"metadata":{"name":"n1"},"spec":{"podCIDR":"10.0.0.0/24"}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &greedy->body));
  auto labelled =
      object("nodes", R"({"metadata":{"name":"n1","labels":{"node-role.kubernetes.io/control-plane":""}}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &labelled->body))
      << "nor by registering anew";
  auto plain = object(
      "nodes",
      R"({"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"h","team":"a"}},"spec":{"taints":[{"key":"not-ready","effect":"NoSchedule"}]}})");
  EXPECT_FALSE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &plain->body));
}

TEST(AuthorizeObject, LeasesAreTheirNodes) {
  auto foreign = object("leases", R"({"metadata":{"name":"n2","namespace":"kube-node-lease"}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "leases", "kube-node-lease"), nullptr, &foreign->body));
  auto own = object("leases", R"({"metadata":{"name":"n1","namespace":"kube-node-lease"}})");
  EXPECT_FALSE(authorize_object(kNode, attempt("create", "leases", "kube-node-lease"), nullptr, &own->body));
}

TEST(AuthorizePath, HealthIsOpenTheRestIsNot) {
  for (const char* open : {"/healthz", "/livez", "/readyz", "/readyz/ping", "/version"})
    EXPECT_FALSE(authorize_path(kAnonymous, open)) << open;
  for (const char* closed : {"/api", "/apis", "/openapi/v2", "/metrics", "/", "/healthzz", "/versions"})
    EXPECT_TRUE(authorize_path(kAnonymous, closed)) << closed;
  for (const char* known : {"/api", "/apis", "/openapi/v3"}) EXPECT_FALSE(authorize_path(kSomebody, known)) << known;
  EXPECT_TRUE(authorize_path(kSomebody, "/metrics"));
  EXPECT_FALSE(authorize_path(kAdmin, "/metrics"));
}

TEST(Authorize, RefusalsAreInUpstreamsWords) {
  auto s = authorize(kSomebody, attempt("list", "deployments", "d"));
  ASSERT_TRUE(s);
  EXPECT_EQ(s->code, 403);
  EXPECT_EQ(s->message,
            "deployments.apps is forbidden: User \"jane\" cannot list resource \"deployments\" in API group \"apps\" "
            "in the namespace \"d\"");
}

}  // namespace
}  // namespace trama::server
