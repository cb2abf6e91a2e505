// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/csr_plan.h"

#include "base/digest.h"
#include "control/pki/base64.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;
using Type = CsrVerdict::Type;

const Time kNow = at("2026-01-01T00:10:00Z");

struct Ask {
  std::string cn = "system:node:n1", user = "system:bootstrap:abc123", signer{kNodeClientSigner};
  std::vector<std::string> organizations = {"system:nodes"}, groups = {"system:bootstrappers"},
                           usages = {"client auth", "digital signature"};
  pki::AltNames names;
  std::string conditions = "[]";
  std::string created = "2026-01-01T00:10:00Z";
};

json::object csr(const Ask& a) {
  auto key = pki::PrivateKey::generate();
  auto pem = *pki::make_signing_request(*key, {a.cn, a.organizations, false}, a.names);
  json::object body;
  api::make_object_at(body, "metadata")["creationTimestamp"] = a.created;
  auto& spec = api::make_object_at(body, "spec");
  spec["request"] = pki::to_base64(pem);
  spec["signerName"] = a.signer;
  spec["username"] = a.user;
  json::array groups, usages;
  for (const auto& g : a.groups) groups.emplace_back(g);
  for (const auto& u : a.usages) usages.emplace_back(u);
  spec["groups"] = groups;
  spec["usages"] = usages;
  api::make_object_at(body, "status")["conditions"] = json::parse(a.conditions);
  return body;
}

pki::TokenRecord token() {
  pki::TokenRecord t;
  t.id = "abc123";
  t.uses = 1;
  t.expires = kNow + std::chrono::hours(1);
  return t;
}

CsrVerdict judge(const Ask& a, std::optional<pki::TokenRecord> t = token(), api::ObjectPtr node = nullptr,
                 bool taken = false) {
  auto body = csr(a);
  CsrWorld w;
  w.csr = &body;
  w.token = std::move(t);
  w.node = std::move(node);
  w.name_taken = taken;
  w.now = kNow;
  return judge_csr(w);
}

api::ObjectPtr node_object() {
  return stored(
      "nodes",
      R"({"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"},{"type":"Hostname","address":"host1"}]}})");
}

TEST(CsrPlan, AJoiningNodeIsApproved) {
  auto v = judge({});
  EXPECT_EQ(v.type, Type::approve);
  EXPECT_TRUE(v.uses_token);
  EXPECT_TRUE(v.usage.client);
  EXPECT_EQ(v.subject.common_name, "system:node:n1");
}

TEST(CsrPlan, EveryDeviationIsDenied) {
  auto expired = token();
  expired.expires = kNow;
  auto used = token();
  used.uses = 0;
  auto bound = token();
  bound.node = "n2";
  Ask masters;
  masters.organizations = {"system:masters"};
  Ask more;
  more.organizations = {"system:nodes", "system:masters"};
  Ask sans;
  sans.names.dns = {"kubernetes"};
  Ask server;
  server.usages = {"client auth", "server auth"};
  Ask path;
  path.cn = "system:node:../x";
  Ask nobody;
  nobody.cn = "system:node:";
  struct {
    const char* what;
    CsrVerdict verdict;
    const char* reason;
  } cases[] = {{"unknown token", judge({}, std::nullopt), "TokenUnknown"},
               {"expired", judge({}, expired), "TokenExpired"},
               {"used up", judge({}, used), "TokenUsedUp"},
               {"bound to another name", judge({}, bound), "TokenBound"},
               {"node exists", judge({}, token(), node_object()), "NodeExists"},
               {"somebody else is joining", judge({}, token(), nullptr, true), "NodeExists"},
               {"masters", judge(masters), "WrongShape"},
               {"nodes and masters", judge(more), "WrongShape"},
               {"names", judge(sans), "WrongShape"},
               {"server auth", judge(server), "WrongShape"},
               {"bad name", judge(path), "WrongShape"},
               {"no name", judge(nobody), "WrongShape"}};
  for (const auto& c : cases) {
    EXPECT_EQ(c.verdict.type, Type::deny) << c.what;
    EXPECT_EQ(c.verdict.reason, c.reason) << c.what;
  }
}

TEST(CsrPlan, RenewalByTheNodeItself) {
  Ask renewal;
  renewal.user = "system:node:n1";
  renewal.groups = {"system:nodes"};
  EXPECT_EQ(judge(renewal, std::nullopt, node_object()).type, Type::approve);
  EXPECT_EQ(judge(renewal, std::nullopt).reason, "NodeDeleted");
  renewal.user = "system:node:n2";
  EXPECT_EQ(judge(renewal, std::nullopt, node_object()).reason, "NotTheNode");
  renewal.user = "alice";
  renewal.groups = {"edit"};
  EXPECT_EQ(judge(renewal, std::nullopt, node_object()).type, Type::none) << "a matter for administrators";
}

TEST(CsrPlan, ServingCertificates) {
  Ask a;
  a.signer = kNodeServingSigner;
  a.user = "system:node:n1";
  a.groups = {"system:nodes"};
  a.usages = {"server auth", "digital signature"};
  a.names.dns = {"n1", "host1"};
  a.names.ips = {base::Ip::v4(10, 0, 0, 1)};
  EXPECT_EQ(judge(a, std::nullopt, node_object()).type, Type::approve);
  EXPECT_EQ(judge(a, std::nullopt).type, Type::wait) << "the Node may be registered any moment";
  auto late = a;
  late.created = "2026-01-01T00:09:00Z";
  EXPECT_EQ(judge(late, std::nullopt).reason, "NotItsName");
  late.names.ips = {base::Ip::v4(10, 0, 0, 2)};
  EXPECT_EQ(judge(late, std::nullopt, node_object()).reason, "NotItsName");
  late = a;
  late.names.dns = {"kubernetes.default.svc"};
  late.created = "2026-01-01T00:09:00Z";
  EXPECT_EQ(judge(late, std::nullopt, node_object()).reason, "NotItsName");
  late = a;
  late.user = "system:node:n2";
  EXPECT_EQ(judge(late, std::nullopt, node_object()).reason, "NotTheNode");
  late = a;
  late.user = "system:bootstrap:abc123";
  late.groups = {"system:bootstrappers"};
  EXPECT_EQ(judge(late, token(), node_object()).reason, "NotTheNode") << "a token is no node";
}

TEST(CsrPlan, PeopleAreSignedOnceApproved) {
  Ask a;
  a.signer = kClientSigner;
  a.cn = "alice";
  a.organizations = {"dev"};
  a.user = "admin";
  a.groups = {"system:masters"};
  EXPECT_EQ(judge(a).type, Type::none);
  a.conditions = R"([{"type":"Approved","status":"True"}])";
  EXPECT_EQ(judge(a).type, Type::sign);
  a.organizations = {"system:masters"};
  EXPECT_EQ(judge(a).type, Type::fail);
  a.conditions = R"([{"type":"Denied","status":"True"}])";
  EXPECT_EQ(judge(a).type, Type::none);
}

}  // namespace
}  // namespace trama::control
