// SPDX-License-Identifier: GPL-2.0-or-later
// Every cell of role x verb x resource or subresource x whose object, asked by a request through the handlers, against
// the page that people read (docs/roles.md), which was written by hand.
#include "control/server/roles.h"

#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/server/reviews.h"
#include "control/server/storage_form.h"
#include "tests/unit/control/server/handlers_rig.h"

namespace trama::server {
namespace {

using testing::HasSubstr;

const char* const kVerbs[] = {"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"};
const char* const kWhose[] = {"own", "other", "system", "all"};

struct Asker {
  std::string role;
  Identity identity;
};
const std::vector<Asker>& askers() {
  static const std::vector<Asker> list = {
      {"admin", {"root", {"system:masters", "system:authenticated"}}},
      {"admin", {"ann", {"trama:admin", "system:authenticated"}}},
      {"edit", {"eve", {"trama:edit", "system:authenticated"}}},
      {"view", {"vic", {"trama:view", "system:authenticated"}}},
      {"node", {"system:node:n1", {"system:nodes", "system:authenticated"}}},
      {"proxy", {"paul", {"system:node-proxier", "system:authenticated"}}},
      {"proxy", {"system:kube-proxy", {"system:authenticated"}}},
      {"bootstrap", {"system:bootstrap:abcdef", {"system:bootstrappers", "system:authenticated"}}},
      {"metrics", {"max", {"system:monitoring", "system:authenticated"}}},
      // Nobody's rights: half a node, a group that only looks like one, a plain name, no name.
      {"none", {"system:node:n1", {"system:authenticated"}}},
      {"none", {"jane", {"system:nodes", "system:authenticated"}}},
      {"none", {"system:node:", {"system:nodes", "system:authenticated"}}},
      {"none", {"jane", {"trama", "system:master", "masters", "trama:admins", "system:authenticated"}}},
      {"none", {"system:masters", {"system:authenticated"}}},
      {"none", {"", {}}},
  };
  return list;
}

struct Cell {
  std::string role, resource, whose, verb;  // resource with its subresource
  friend auto operator<=>(const Cell&, const Cell&) = default;
};
std::string to_string(const Cell& c) { return fmt::format("{} {} {} {}", c.role, c.verb, c.resource, c.whose); }

std::set<std::string> words(const std::string& text) {
  std::istringstream in(text);
  std::set<std::string> out;
  for (std::string w; in >> w;) out.insert(w);
  return out;
}

std::string document() {
  const char* source = std::getenv("TRAMA_SOURCE_DIR");
  std::ifstream in(std::string(source ? source : ".") + "/docs/roles.md");
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Rows of the tables below "## Objects"; the heading above a table names the role.
std::set<Cell> written() {
  std::set<Cell> out;
  std::istringstream in(document());
  std::string role;
  bool objects = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("## ")) objects = line == "## Objects";
    if (line.starts_with("### ")) role = line.substr(4);
    if (!objects || !line.starts_with("| ") || line.starts_with("| resources")) continue;
    std::vector<std::string> columns;
    std::istringstream row(line.substr(1));
    for (std::string column; std::getline(row, column, '|');) columns.push_back(column);
    EXPECT_EQ(columns.size(), 3u) << line;
    for (const auto& resource : words(columns[0]))
      for (const auto& whose : words(columns[1]))
        for (const auto& verb : words(columns[2])) out.insert({role, resource, whose, verb});
  }
  return out;
}

bool is_whole(const std::string& verb) { return verb == "list" || verb == "watch" || verb == "deletecollection"; }

class Roles : public Handlers {
 protected:
  Roles() {
    for (const char* name : {"default", "kube-system", "kube-node-lease", "trial"}) put("namespaces", "", name);
    for (const char* name : {"n1", "n2"}) put("nodes", "", name);
    for (const char* ns : {"default", "kube-system"})
      for (const auto& kind : api::kinds())
        if (kind.namespaced && kind.served_as.empty() && kind.resource != "pods" && kind.resource != "leases")
          put(std::string(kind.resource), ns, "other", extra(std::string(kind.resource)));
    put("leases", "kube-node-lease", "n1");
    put("leases", "default", "other");
    put("leases", "kube-system", "other");
    put("pods", "default", "mine",
        R"("spec":{"nodeName":"n1","serviceAccountName":"mine","containers":[{"name":"c","image":"i","env":[{"name":"A","valueFrom":{"secretKeyRef":
           {"name":"mine","key":"k"}}}],"envFrom":[{"configMapRef":{"name":"mine"}}]}]})");
    put("pods", "default", "other", R"("spec":{"nodeName":"n2","containers":[{"name":"c","image":"i","envFrom":
        [{"secretRef":{"name":"other"}},{"configMapRef":{"name":"other"}}]}]})");
    put("pods", "kube-system", "other", R"("spec":{"nodeName":"n2","containers":[{"name":"c","image":"i"}]})");
    put("secrets", "default", "mine");
    put("serviceaccounts", "default", "mine");
    put("configmaps", "default", "mine");
    put("events", "default", "mine", event("Pod", "mine", "n1"));
    for (const auto& a : askers())
      put("certificatesigningrequests", "", request_of(a.identity), request(a.identity.name));
    put("certificatesigningrequests", "", "other", request("somebody"));
  }

  static std::string event(const std::string& kind, const std::string& name, const std::string& host) {
    return fmt::format(R"("involvedObject":{{"apiVersion":"v1","kind":"{}","name":"{}","namespace":"default"}},
        "reason":"r","source":{{"host":"{}"}})",
                       kind, name, host);
  }
  static std::string request(const std::string& user) {
    return fmt::format(R"("spec":{{"request":"eA==","signerName":"example.com/x","usages":["client auth"],
        "username":"{}"}})",
                       user);
  }
  static std::string request_of(const Identity& who) {
    std::string name = "csr-";
    for (char c : who.name.empty() ? std::string("nobody") : who.name) name += c == ':' ? '-' : c;
    return name;
  }
  static std::string extra(const std::string& resource) {
    if (resource == "services") return R"("spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":80}]})";
    if (resource == "events") return event("Pod", "other", "n2");
    if (resource == "endpointslices") return R"("addressType":"IPv4","endpoints":[])";
    auto pod = R"({"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}})";
    if (resource == "deployments" || resource == "replicasets" || resource == "daemonsets")
      return fmt::format(R"("spec":{{"selector":{{"matchLabels":{{"a":"b"}}}},"template":{}}})", pod);
    if (resource == "jobs")
      return R"("spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"i"}]}}})";
    if (resource == "networkpolicies") return R"("spec":{"podSelector":{}})";
    return "";
  }

  // Straight into the store: some of these could not be written by anyone.
  void put(const std::string& resource, const std::string& ns, const std::string& name, const std::string& more = "") {
    const auto& kind = *api::kind_of_resource(resource);
    auto text =
        fmt::format(R"({{"apiVersion":"{}","kind":"{}","metadata":{{"name":"{}"{},"uid":"u-{}-{}-{}"}}{}{}}})",
                    kind.api_version(), kind.kind, name, ns.empty() ? "" : fmt::format(R"(,"namespace":"{}")", ns),
                    resource, ns, name, more.empty() ? "" : ",", more);
    auto body = json::parse(text).as_object();
    store::Decision decide = [&](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      return tx.put({resource, ns, name}, body);
    };
    auto done = rig.write(decide);
    ASSERT_TRUE(done) << text;
  }

  struct Target {
    std::string ns, name;
  };
  // Where the object of a cell is; nothing when the resource has none such.
  std::optional<Target> target(const api::Kind& kind, const std::string& whose, const Identity& asker) {
    std::string r(kind.resource);
    bool owned = r == "pods" || r == "events" || r == "secrets" || r == "configmaps" || r == "serviceaccounts";
    if (whose == "own") {
      if (r == "nodes") return Target{"", "n1"};
      if (r == "leases") return Target{"kube-node-lease", "n1"};
      if (r == "certificatesigningrequests") return Target{"", request_of(asker)};
      if (owned) return Target{"default", "mine"};
      return std::nullopt;
    }
    if (!kind.namespaced) {
      if (whose != "other") return std::nullopt;
      if (r == "nodes") return Target{"", "n2"};
      return Target{"", r == "namespaces" ? "trial" : "other"};
    }
    if (whose == "other") return Target{"default", "other"};
    if (whose == "system") return Target{"kube-system", "other"};
    return Target{"", ""};
  }

  // The HTTP status that the cell's request gets; 0 when there is no such request.
  int ask_cell(const Asker& asker, const api::Kind& kind, const std::string& sub, const std::string& whose,
               const std::string& verb, const Target& at) {
    if (whose == "all" && (!is_whole(verb) || !sub.empty())) return 0;
    if (is_whole(verb) && !sub.empty()) return 0;
    std::string r(kind.resource);
    if (verb == "create" && r == "certificatesigningrequests" && whose == "other") return 0;  // its maker is the asker
    auto path = kind.group.empty() ? std::string("/api/v1") : fmt::format("/apis/{}/{}", kind.group, kind.version);
    if (!at.ns.empty()) path += "/namespaces/" + at.ns;
    path += "/" + r;
    bool named = !is_whole(verb) && (verb != "create" || !sub.empty());
    if (named) path += "/" + at.name;
    if (!sub.empty()) path += "/" + sub;
    std::string query = "dryRun=All", method = "GET", body;
    std::map<std::string, std::string> headers;
    if (is_whole(verb) && whose == "own")
      query += "&fieldSelector=" + (r == "pods" ? std::string("spec.nodeName%3Dn1") : "metadata.name%3D" + at.name);
    if (verb == "watch") query += "&watch=true";
    if (verb == "delete" || verb == "deletecollection") method = "DELETE";
    if (verb == "patch") {
      method = "PATCH";
      body = sub == "scale" ? R"({"spec":{"replicas":1}})" : R"({"metadata":{"annotations":{"x":"y"}}})";
      headers["content-type"] = kMerge;
    }
    if (verb == "create" || verb == "update") {
      method = verb == "create" ? "POST" : "PUT";
      auto object = rig.store().get({kind.served_as.empty() ? r : std::string(kind.served_as), at.ns, at.name});
      if (!object) return 0;
      auto copy = kind.served_as.empty() ? object->body : view_of(kind, *object);
      api::make_object_at(copy, "metadata").erase("resourceVersion");
      api::make_object_at(copy, "metadata").erase("uid");
      if (kind.resource != "nodes" && kind.resource != "leases" && verb == "create")
        api::make_object_at(copy, "metadata")["name"] = "fresh";
      if (verb == "create" && whose == "other" && (r == "nodes" || r == "leases"))
        api::make_object_at(copy, "metadata")["name"] = "n3";
      body = json::serialize(copy);
      if (sub == "scale") body = R"({"kind":"Scale","apiVersion":"autoscaling/v1","spec":{"replicas":1}})";
      if (sub == "binding") body = R"({"kind":"Binding","apiVersion":"v1","target":{"name":"n1"}})";
      if (sub == "token")
        body = fmt::format(R"({{"kind":"TokenRequest","apiVersion":"authentication.k8s.io/v1","spec":{{{}}}}})",
                           whose == "own" ? R"("boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":"mine"})" : "");
      if (sub == "eviction") body = R"({"kind":"Eviction","apiVersion":"policy/v1"})";
    }
    who = asker.identity;
    auto whole = path + "?" + query;
    auto parsed = parse_resource(path);
    if (verb == "watch" || is_raw(*parsed)) {  // streams: the server asks admit() before it begins one
      Request request;
      request.method = method;
      request.path = path;
      request.query = parse_target(whole)->query;
      request.identity = who;
      auto refused = admit({rig.store(), options}, request, *parsed);
      return refused ? refused->code : 200;
    }
    return ask(method, whole, body, headers).status;
  }

  bool access(const Asker& asker, const api::Kind& kind, const std::string& sub, const std::string& whose,
              const std::string& verb, const Target& at) {
    json::object attributes, spec;
    attributes["verb"] = verb;
    attributes["group"] = kind.group;
    attributes["resource"] = kind.resource;
    attributes["subresource"] = sub;
    attributes["namespace"] = at.ns;
    if (!is_whole(verb) && (verb != "create" || !sub.empty())) attributes["name"] = at.name;
    if (is_whole(verb) && whose == "own")
      attributes["fieldSelector"] = json::parse(
          kind.resource == "pods" ? R"({"requirements":[{"key":"spec.nodeName","operator":"In","values":["n1"]}]})"
                                  : R"({"rawSelector":"metadata.name=)" + at.name + "\"}");
    spec["resourceAttributes"] = std::move(attributes);
    return access_review(asker.identity, spec, rig.store()).at("allowed").as_bool();
  }

  using Visit = std::function<void(const Cell&, const Asker&, const api::Kind&, const std::string& sub, const Target&)>;
  void each_cell(const Visit& visit) {
    for (const auto& asker : askers())
      for (const auto& kind : api::kinds()) {
        std::vector<std::string> subs{""};
        for (auto s : kind.subresources) subs.emplace_back(s);
        for (const auto& sub : subs)
          for (const std::string whose : kWhose) {
            auto at = target(kind, whose, asker.identity);
            if (!at) continue;
            for (const std::string verb : kVerbs) {
              auto resource = std::string(kind.resource) + (sub.empty() ? "" : "/" + sub);
              visit({asker.role, resource, whose, verb}, asker, kind, sub, *at);
            }
          }
      }
  }
};

TEST_F(Roles, EveryCellIsWhatThePageSays) {
  auto page = written();
  ASSERT_GT(page.size(), 300u);
  std::set<Cell> used;
  std::size_t asked = 0, allowed_cells = 0, wrong = 0;
  each_cell([&](const Cell& cell, const Asker& asker, const api::Kind& kind, const std::string& sub, const Target& at) {
    int status = ask_cell(asker, kind, sub, cell.whose, cell.verb, at);
    if (status == 0) return;
    ++asked;
    bool said = page.contains(cell) || page.contains({cell.role, "*", "*", "*"});
    used.insert(cell);
    bool allowed = status != 403 && status != 401;
    allowed_cells += allowed ? 1 : 0;
    if (allowed == said || ++wrong > 40) return;
    ADD_FAILURE() << asker.identity.name << ": " << to_string(cell) << " in " << kind.api_version() << " "
                  << (allowed ? "is allowed, the page does not say so" : "is refused, the page allows it")
                  << " (status " << status << ")";
  });
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(asked, 8000u);
  EXPECT_GT(allowed_cells, 1000u);
  fmt::print("{} cells asked, {} allowed\n", asked, allowed_cells);
  // A line of the page that no request stands for would be a promise without proof.
  std::set<std::pair<std::string, std::string>> proved;
  for (const auto& cell : used) proved.insert({cell.role + " " + cell.resource, cell.verb});
  for (const auto& cell : page) {
    if (cell.resource == "*") continue;
    EXPECT_TRUE(proved.contains({cell.role + " " + cell.resource, cell.verb})) << to_string(cell);
  }
}

// kubectl auth can-i tells the truth: about every cell what the request itself would meet.
TEST_F(Roles, ReviewsSayWhatRequestsMeet) {
  std::size_t asked = 0;
  each_cell([&](const Cell& cell, const Asker& asker, const api::Kind& kind, const std::string& sub, const Target& at) {
    int status = ask_cell(asker, kind, sub, cell.whose, cell.verb, at);
    if (status == 0) return;
    ++asked;
    bool allowed = status != 403 && status != 401, told = access(asker, kind, sub, cell.whose, cell.verb, at);
    // What a created object will say is not in the question: then "yes" is the answer where some may be created.
    if (cell.verb == "create" && sub.empty())
      EXPECT_TRUE(told || !allowed) << to_string(cell);
    else
      EXPECT_EQ(told, allowed) << asker.identity.name << ": " << to_string(cell) << " status " << status;
  });
  EXPECT_GT(asked, 8000u);
}

TEST_F(Roles, ANodeReadsOnlySecretsThatItsPodsName) {
  who = {"system:node:n1", {"system:nodes", "system:authenticated"}};
  const std::string all = "/api/v1/namespaces/default/secrets";
  EXPECT_EQ(ask("GET", all + "/mine").status, 200);
  EXPECT_EQ(ask("GET", all + "?fieldSelector=metadata.name%3Dmine").status, 200);
  EXPECT_EQ(ask("GET", all + "?watch=true&fieldSelector=metadata.name%3Dmine").status, 200);
  for (const auto& target : std::vector<std::string>{
           all + "/other", all + "/missing", all, all + "?fieldSelector=metadata.name%3Dother",
           all + "?fieldSelector=metadata.name%21%3Dmine", all + "?fieldSelector=metadata.namespace%3Dmine",
           "/api/v1/secrets?fieldSelector=metadata.name%3Dmine",
           all + "?watch=true&fieldSelector=metadata.name%3Dother", "/api/v1/secrets?limit=1", all + "/mine?watch=true",
           "/api/v1/watch" + all.substr(7), "/api/v1/namespaces/kube-system/secrets/mine", all + "/mine/status"})
    EXPECT_EQ(ask("GET", target).status, 403) << target;
  EXPECT_THAT(ask("GET", all + "/missing").body, HasSubstr("no pod of this node names it"))
      << "whether it exists is not told";
  // Every way in which a pod names a Secret or ConfigMap.
  const std::pair<const char*, const char*> ways[] = {
      {R"("imagePullSecrets":[{"name":"X"}],"containers":[])", "secrets"},
      {R"("containers":[],"initContainers":[{"envFrom":[{"secretRef":{"name":"X"}}]}])", "secrets"},
      {R"("containers":[{"env":[{"valueFrom":{"secretKeyRef":{"name":"X"}}}]}])", "secrets"},
      {R"("containers":[],"ephemeralContainers":[{"envFrom":[{"secretRef":{"name":"X"}}]}])", "secrets"},
      {R"("containers":[],"volumes":[{"name":"v","secret":{"secretName":"X"}}])", "secrets"},
      {R"("containers":[],"volumes":[{"name":"v","projected":{"sources":[{"secret":{"name":"X"}}]}}])", "secrets"},
      {R"("containers":[],"volumes":[{"name":"v","configMap":{"name":"X"}}])", "configmaps"},
      {R"("containers":[],"volumes":[{"name":"v","projected":{"sources":[{"configMap":{"name":"X"}}]}}])",
       "configmaps"},
      {R"("containers":[{"env":[{"valueFrom":{"configMapKeyRef":{"name":"X"}}}]}])", "configmaps"},
  };
  for (const auto& [spec, resource] : ways) {
    put("secrets", "default", "X");
    put("configmaps", "default", "X");
    put("pods", "default", "way", fmt::format(R"("spec":{{"nodeName":"n1",{}}})", spec));
    for (const std::string asked : {"secrets", "configmaps"})
      EXPECT_EQ(ask("GET", "/api/v1/namespaces/default/" + asked + "/X").status, asked == resource ? 200 : 403) << spec;
    put("pods", "default", "way", fmt::format(R"("spec":{{"nodeName":"n2",{}}})", spec));
    EXPECT_EQ(ask("GET", fmt::format("/api/v1/namespaces/default/{}/X", resource)).status, 403) << spec;
  }
  put("pods", "default", "way", R"("metadata":{"labels":{"name":"X"}},"spec":{"nodeName":"n1","hostname":"X",
      "containers":[{"name":"X","env":[{"name":"X","value":"X"}]}],"volumes":[{"name":"X","emptyDir":{}}]})");
  EXPECT_EQ(ask("GET", "/api/v1/namespaces/default/secrets/X").status, 403) << "other fields name nothing";
}

TEST_F(Roles, ANodeReportsUnderItsOwnName) {
  who = {"system:node:n1", {"system:nodes", "system:authenticated"}};
  auto post = [&](const std::string& more) {
    return ask("POST", "/api/v1/namespaces/default/events",
               R"({"metadata":{"generateName":"e-","namespace":"default"},)" + more + "}");
  };
  EXPECT_EQ(post(event("Pod", "mine", "n1")).status, 201);
  EXPECT_EQ(post(event("Pod", "long-gone", "n1")).status, 201);
  EXPECT_EQ(post(event("Node", "n1", "n1")).status, 201);
  EXPECT_EQ(post(event("Service", "other", "n1")).status, 201);
  EXPECT_THAT(post(event("Node", "n2", "n1")).body, HasSubstr("another node"));
  EXPECT_THAT(post(event("Pod", "other", "n1")).body, HasSubstr("not bound to this node"));
  EXPECT_THAT(post(event("Pod", "mine", "n2")).body, HasSubstr("under its own name"));
}

TEST_F(Roles, AnonymousSeesHealthAndVersionOnly) {
  who = {};
  for (const char* open : {"/healthz", "/livez", "/readyz", "/version"})
    EXPECT_EQ(ask("GET", open).status, 200) << open;
  for (const char* closed : {"/", "/api", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v2", "/openapi/v3", "/metrics",
                             "/trama/ca", "/healthzz", "/versions", "/api/v1/pods", "/nonsense", "/apis/nonsense/v1/x"})
    EXPECT_EQ(ask("GET", closed).status, 403) << closed;
  EXPECT_EQ(ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "{}").status, 403);
  who = {"jane", {"system:authenticated"}};
  for (const char* known : {"/api", "/api/v1", "/apis", "/openapi/v3"})
    EXPECT_EQ(ask("GET", known).status, 200) << known;
  EXPECT_EQ(ask("GET", "/metrics").status, 403);
  who.groups.push_back("system:monitoring");
  options.metrics = [] { return std::string("x 1\n"); };
  EXPECT_EQ(ask("GET", "/metrics").status, 200);
  EXPECT_EQ(ask("GET", "/api/v1/nodes").status, 403);
}

TEST_F(Roles, AccessReviews) {
  auto review = [&](const std::string& spec) {
    auto r = ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                 R"({"kind":"SelfSubjectAccessReview","apiVersion":"authorization.k8s.io/v1","spec":{)" + spec + "}}");
    EXPECT_EQ(r.status, 201) << r.body;
    return json::serialize(*api::at(body(r), "status"));
  };
  EXPECT_THAT(review(R"("resourceAttributes":{"verb":"*","group":"*","resource":"*"})"), HasSubstr("\"allowed\":true"));
  who = {"vic", {"trama:view", "system:authenticated"}};
  EXPECT_THAT(review(R"("resourceAttributes":{"verb":"*","group":"*","resource":"*"})"),
              HasSubstr("\"allowed\":false"));
  EXPECT_THAT(review(R"("resourceAttributes":{"verb":"list","group":"apps","resource":"deployments"})"),
              HasSubstr("\"allowed\":true"));
  EXPECT_THAT(review(R"("resourceAttributes":{"verb":"list","group":"","resource":"deployments"})"),
              HasSubstr("does not serve that resource"));
  EXPECT_THAT(review(R"("nonResourceAttributes":{"verb":"get","path":"/apis"})"), HasSubstr("\"allowed\":true"));
  EXPECT_THAT(review(R"("nonResourceAttributes":{"verb":"post","path":"/apis"})"), HasSubstr("\"allowed\":false"));
  EXPECT_THAT(review(R"("nonResourceAttributes":{"verb":"get","path":"/metrics"})"), HasSubstr("\"allowed\":false"));
  who = {"eve", {"trama:edit", "system:authenticated"}};
  EXPECT_THAT(review(R"("resourceAttributes":{"verb":"create","resource":"pods","namespace":"kube-system"})"),
              HasSubstr("the administrators'"));
  for (const char* both : {"{}", R"({"spec":{}})", R"({"spec":{"resourceAttributes":{},"nonResourceAttributes":{}}})"})
    EXPECT_EQ(ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", both).status, 422) << both;
  EXPECT_EQ(ask("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").status, 405);
  EXPECT_EQ(ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", R"({"kind":"Pod"})").status, 400);
  EXPECT_EQ(ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "{}").status, 404);
}

TEST_F(Roles, RulesReviewsAndWho) {
  who = {"system:node:n1", {"system:nodes", "system:authenticated"}};
  auto rules = body(ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
                        R"({"spec":{"namespace":"kube-node-lease"}})"));
  auto text = json::serialize(rules);
  EXPECT_THAT(text, HasSubstr(R"("resources":["leases"],"resourceNames":["n1"])"));
  EXPECT_THAT(text, HasSubstr(R"("incomplete":true)"));
  who = {"eve", {"trama:edit", "system:authenticated"}};
  auto in = [&](const char* ns) {
    return ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews",
               fmt::format(R"({{"spec":{{"namespace":"{}"}}}})", ns))
        .body;
  };
  EXPECT_THAT(in("default"), HasSubstr("secrets"));
  EXPECT_THAT(in("kube-system"), testing::Not(HasSubstr("secrets")));
  for (const char* version : {"v1", "v1beta1"}) {
    auto me = body(ask("POST", fmt::format("/apis/authentication.k8s.io/{}/selfsubjectreviews", version), "{}"));
    EXPECT_EQ(api::text_at(me, "status.userInfo.username"), "eve");
    EXPECT_EQ(api::array_at(me, "status.userInfo.groups").size(), 2u);
  }
}

}  // namespace
}  // namespace trama::server
