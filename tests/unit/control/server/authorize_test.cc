// SPDX-License-Identifier: GPL-2.0-or-later
// What is decided by looking at the object. The whole matrix is in roles_test.cc.
#include "control/server/authorize.h"

#include <map>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/contract/store/store_rig.h"

namespace trama::server {
namespace {

namespace json = api::json;

const Identity kAdmin{"admin", {"system:masters"}};
const Identity kNode{"system:node:n1", {"system:nodes", "system:authenticated"}};
const Identity kBootstrap{"system:bootstrap:abc", {"system:bootstrappers"}};
const Identity kSomebody{"jane", {"system:authenticated"}};

class Authorize : public testing::Test {
 protected:
  store::Store& store() { return rig.store(); }
  test::StoreRig rig{false};
};

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

TEST_F(Authorize, PodsOfOtherNodesAreNotListed) {
  for (const char* fields :
       {"", "spec.nodeName=n2", "spec.nodeName!=n1", "status.phase=spec.nodeName=n1", "spec.nodeName=n11"})
    EXPECT_TRUE(authorize(kNode, attempt("list", "pods", "", "", "", fields), store())) << fields;
  EXPECT_FALSE(authorize(kNode, attempt("list", "pods", "", "", "", "status.phase!=Failed,spec.nodeName=n1"), store()));
}

api::ObjectPtr object(const char* resource, std::string_view text) {
  auto body = json::parse({text.data(), text.size()}).as_object();
  return api::make_object({resource, api::text_at(body, "metadata.namespace"), api::text_at(body, "metadata.name")},
                          std::move(body), 1);
}

TEST_F(Authorize, PodsAreTheirNodes) {
  auto mine = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{"nodeName":"n1"}})");
  auto other = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{"nodeName":"n2"}})");
  auto pending = object("pods", R"({"metadata":{"name":"p","namespace":"d"},"spec":{}})");
  for (const char* verb : {"get", "delete", "patch"}) {
    auto a = attempt(verb, "pods", "d", "p", verb == std::string_view("patch") ? "status" : "");
    EXPECT_FALSE(authorize_object(kNode, a, mine.get(), nullptr, store())) << verb;
    EXPECT_TRUE(authorize_object(kNode, a, other.get(), nullptr, store())) << verb;
    EXPECT_TRUE(authorize_object(kNode, a, pending.get(), nullptr, store())) << verb;
    EXPECT_FALSE(authorize_object(kAdmin, a, other.get(), nullptr, store())) << verb;
  }
}

// The index answers as looking at every pod does, whatever became of the pods, and follows what is written.
TEST_F(Authorize, TheIndexOfNodesPodsSaysWhatTheirPodsSay) {
  std::map<std::string, std::string> wanted;  // pod -> "node/account" as it was written last
  auto write = [&](const std::string& name, const std::string& node, const std::string& account) {
    wanted[name] = node + "/" + account;
    auto pod = object("pods", fmt::format(R"({{"metadata":{{"name":"{}","namespace":"d"}},)"
                                          R"("spec":{{"nodeName":"{}","serviceAccountName":"{}"}}}})",
                                          name, node, account));
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      return tx.put({"pods", "d", name}, pod->body);
    };
    ASSERT_TRUE(rig.write(decide));
  };
  write("before", "n1", "early");
  auto pods = NodePods::of(store());
  std::mt19937 random(7);
  auto allowed = 0;
  for (int step = 0; step < 400; ++step) {
    auto name = fmt::format("p{}", random() % 9);
    if (random() % 3 == 0) {
      if (wanted.erase(name)) rig.erase("pods", name, "d");
    } else {
      write(name, random() % 4 ? fmt::format("n{}", 1 + random() % 2) : "", fmt::format("a{}", random() % 4));
    }
    for (const char* account : {"early", "a0", "a1", "a2", "a3"}) {
      auto a = attempt("create", "serviceaccounts", "d", account, "token");
      auto found = std::any_of(wanted.begin(), wanted.end(),
                               [&](const auto& p) { return p.second == std::string("n1/") + account; });
      auto refused = authorize(kNode, a, Known(store(), pods.get()));
      ASSERT_EQ(!refused, found) << step << " " << account << (refused ? refused->message : "");
      ASSERT_EQ(!authorize(kNode, a, store()), found) << "the slow way";
      allowed += found;
    }
  }
  EXPECT_GT(allowed, 100);
  for (const auto& [name, was] : wanted) rig.erase("pods", name, "d");
  for (const char* node : {"", "n1", "n2"}) EXPECT_TRUE(pods->on(node, "d").empty()) << node;
}

TEST_F(Authorize, SigningRequestsAreTheirMakers) {
  auto mine =
      object("certificatesigningrequests", R"({"metadata":{"name":"c"},"spec":{"username":"system:bootstrap:abc"}})");
  auto a = attempt("get", "certificatesigningrequests", "", "c");
  EXPECT_FALSE(authorize_object(kBootstrap, a, mine.get(), nullptr, store()));
  EXPECT_TRUE(authorize_object(kNode, a, mine.get(), nullptr, store()));
}

// What a node may change of its own Node, and what not.
TEST_F(Authorize, NodeRestriction) {
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
    auto refused = authorize_object(kNode, attempt("update", "nodes", "", "n1"), before.get(), &body, store());
    EXPECT_EQ(!refused, c.allowed) << c.path << (refused ? ": " + refused->message : "");
    EXPECT_FALSE(authorize_object(kAdmin, attempt("update", "nodes", "", "n1"), before.get(), &body, store()));
  }
  json::object removed = before->body;
  api::make_object_at(removed, "metadata.labels").erase("node-role.kubernetes.io/worker");
  EXPECT_TRUE(authorize_object(kNode, attempt("update", "nodes", "", "n1"), before.get(), &removed, store()))
      << "taking a label away is a change too";
  auto foreign = object("nodes", R"({"metadata":{"name":"n2"}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &foreign->body, store()));
  auto greedy = object("nodes", R"({"metadata":{"name":"n1"},"spec":{"podCIDR":"10.0.0.0/24"}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &greedy->body, store()));
  auto labelled =
      object("nodes", R"({"metadata":{"name":"n1","labels":{"node-role.kubernetes.io/control-plane":""}}})");
  EXPECT_TRUE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &labelled->body, store()))
      << "nor by registering anew";
  auto plain = object(
      "nodes",
      R"({"metadata":{"name":"n1","labels":{"kubernetes.io/hostname":"h","team":"a"}},"spec":{"taints":[{"key":"not-ready","effect":"NoSchedule"}]}})");
  EXPECT_FALSE(authorize_object(kNode, attempt("create", "nodes"), nullptr, &plain->body, store()));
}

TEST_F(Authorize, LeasesAreTheirNodes) {
  auto foreign = object("leases", R"({"metadata":{"name":"n2","namespace":"kube-node-lease"}})");
  EXPECT_TRUE(
      authorize_object(kNode, attempt("create", "leases", "kube-node-lease"), nullptr, &foreign->body, store()));
  auto own = object("leases", R"({"metadata":{"name":"n1","namespace":"kube-node-lease"}})");
  EXPECT_FALSE(authorize_object(kNode, attempt("create", "leases", "kube-node-lease"), nullptr, &own->body, store()));
}

TEST_F(Authorize, RefusalsAreInUpstreamsWords) {
  auto s = authorize(kSomebody, attempt("list", "deployments", "d"), store());
  ASSERT_TRUE(s);
  EXPECT_EQ(s->code, 403);
  EXPECT_EQ(s->message,
            "deployments.apps is forbidden: User \"jane\" cannot list resource \"deployments\" in API group \"apps\" "
            "in the namespace \"d\"");
}

}  // namespace
}  // namespace trama::server
