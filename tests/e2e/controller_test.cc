// SPDX-License-Identifier: GPL-2.0-or-later
// A whole controller process on loopback, spoken to through the API as users, nodes and agents do.
#include "control/controller.h"

#include <csignal>
#include <ctime>
#include <map>
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"
#include "control/client/join.h"
#include "control/client/join_token.h"
#include "control/client/kubeconfig.h"
#include "control/client/paths.h"
#include "control/pki/certificate.h"
#include "tests/unit/control/run.h"
#include "tests/unit/control/tls_script.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using client::ApiClient;
using test::Runner;
using test::TlsScript;
namespace json = boost::json;

json::object object(const std::string& text) { return json::parse(text).as_object(); }

std::string scratch() { return fmt::format("/tmp/trama-controller-test-{}-{}", ::getpid(), base::random_hex(4)); }

ControllerOptions options_for(const std::string& dir) {
  ControllerOptions o;
  o.data_dir = dir;
  o.listen = {"127.0.0.1:0"};
  o.scheduler_port = o.controllers_port = 0;
  o.timers = LoopTimers::lab();
  o.timers.lease_renew = 200ms;
  o.timers.node_grace = 1s;
  o.timers.node_monitor = 50ms;
  o.timers.scheduler_backoff_lowest = 20ms;
  o.handle_signals = false;
  o.seed = 1;
  return o;
}

// A controller in a thread of this process.
class Cluster {
 public:
  Cluster() : dir(scratch()) {
    int pipe_fds[2];
    if (::pipe(pipe_fds) != 0) abort();
    auto o = options_for(dir);
    o.ready_fd = pipe_fds[1];
    o.stop = &stop_;
    thread_ = std::thread([this, o] { outcome_ = run_controller(o); });
    char text[6];
    ready = ::read(pipe_fds[0], text, sizeof text) == 6;
    ::close(pipe_fds[0]);
    auto config = client::read_kubeconfig(dir + "/admin.kubeconfig");
    if (!ready || !config) return;
    kubeconfig = *config;
    admin = std::move(*ApiClient::make(run.executor(), kubeconfig.client_options()));
  }
  ~Cluster() {
    nodes.clear();
    admin.reset();
    stop_ = true;
    thread_.join();
    EXPECT_TRUE(outcome_) << outcome_.error().to_string();
    (void)base::remove_tree(dir);
  }
  json::object get(const std::string& path) {
    auto r = run(admin->get(path));
    return r ? *r : json::object();
  }
  std::string create(const std::string& path, const std::string& text) {
    auto r = run(admin->create(path, object(text)));
    return r ? "" : r.error().to_string();
  }
  std::vector<json::object> list(const std::string& path, const std::string& query = "") {
    auto r = run(admin->list(path, query));
    EXPECT_TRUE(r) << r.error().to_string();
    return r ? r->items : std::vector<json::object>();
  }
  bool eventually(const std::function<bool()>& done, std::chrono::milliseconds limit = 10s) {
    auto end = std::chrono::steady_clock::now() + limit;
    while (!done()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(10ms);
    }
    return true;
  }
  client::JoinString token(std::int64_t uses = 1, const std::string& node = "") {
    client::TokenRequest t;
    t.uses = uses;
    t.node = node;
    auto j = run(client::create_join_token(*admin, t));
    EXPECT_TRUE(j) << j.error().to_string();
    return j.value_or(client::JoinString());
  }
  base::Result<client::NodeCredentials> join(const std::string& name, const client::JoinString& j) {
    client::JoinOptions o;
    o.server = kubeconfig.server;
    o.token = j;
    o.node_name = name;
    o.patience = 5s;
    return run(client::join_cluster(o));
  }
  // Joins, registers the Node as its agent does, and reports it ready.
  ApiClient& add_node(const std::string& name, std::uint16_t agent_port = 0) {
    auto credentials = join(name, token());
    EXPECT_TRUE(credentials) << credentials.error().to_string();
    client::ClientOptions o;
    o.server = kubeconfig.server;
    o.ca_pem = credentials->ca_pem;
    o.certificate_pem = credentials->certificate_pem;
    o.key_pem = credentials->key_pem;
    auto& node = nodes[name] = std::move(*ApiClient::make(run.executor(), o));
    auto body = object(fmt::format(
        R"({{"apiVersion":"v1","kind":"Node","metadata":{{"name":"{}","labels":{{"kubernetes.io/hostname":"{}"}}}},"status":{{"addresses":[{{"type":"InternalIP","address":"127.0.0.1"}}],"allocatable":{{"cpu":"4","memory":"8Gi","pods":"110"}},"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}},"conditions":[{{"type":"Ready","status":"True","reason":"KubeletReady","message":"ok"}}]}}}})",
        name, name, agent_port));
    auto made = run(node->create("/api/v1/nodes", body));
    EXPECT_TRUE(made) << made.error().to_string();
    renew(name);
    return *node;
  }
  void renew(const std::string& name) {
    auto path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    auto body = object(fmt::format(
        R"({{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{}","namespace":"kube-node-lease"}},"spec":{{"holderIdentity":"{}","leaseDurationSeconds":40,"renewTime":"2026-01-01T00:00:00.{:06}Z"}}}})",
        name, name, ++renewals_ % 1000000));
    auto have = run(nodes[name]->get(std::string(path) + "/" + name));
    auto done =
        have ? run(nodes[name]->update(std::string(path) + "/" + name, body)) : run(nodes[name]->create(path, body));
    EXPECT_TRUE(done) << done.error().to_string();
  }
  // Plays the agent for every pod that was given to a node: Running, Ready, with an address; confirms deletions.
  void agents() {
    for (auto& [name, node] : nodes) {
      renew(name);
      auto pods = run(node->list("/api/v1/pods", "fieldSelector=spec.nodeName%3D" + name));
      if (!pods) continue;
      for (auto& pod : pods->items) {
        auto path =
            client::object_path({"pods", api::text_at(pod, "metadata.namespace"), api::text_at(pod, "metadata.name")});
        if (!api::text_at(pod, "metadata.deletionTimestamp").empty()) {
          (void)run(node->remove(path, object(R"({"gracePeriodSeconds":0})")));
          continue;
        }
        if (api::text_at(pod, "status.phase") == "Running") continue;
        auto ip = fmt::format("10.244.{}.{}", name.back() - '0', ++addresses_);
        auto status = object(fmt::format(
            R"({{"status":{{"phase":"Running","podIP":"{}","podIPs":[{{"ip":"{}"}}],"conditions":[{{"type":"PodScheduled","status":"True"}},{{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}}]}}}})",
            ip, ip));
        auto patched = run(node->patch(path + "/status", status, "strategic"));
        EXPECT_TRUE(patched) << patched.error().to_string();
      }
    }
  }
  bool play_until(const std::function<bool()>& done, std::chrono::milliseconds limit = 15s) {
    return eventually(
        [&] {
          agents();
          return done();
        },
        limit);
  }

  std::string dir;
  Runner run;
  bool ready = false;
  client::Kubeconfig kubeconfig;
  std::unique_ptr<ApiClient> admin;
  std::map<std::string, std::unique_ptr<ApiClient>> nodes;

 private:
  std::atomic<bool> stop_{false};
  std::thread thread_;
  base::Result<int> outcome_;
  int renewals_ = 0, addresses_ = 0;
};

constexpr const char* kDeployments = "/apis/apps/v1/namespaces/default/deployments";
constexpr const char* kServices = "/api/v1/namespaces/default/services";
constexpr const char* kPods = "/api/v1/namespaces/default/pods";
constexpr const char* kSlices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

std::string deployment(int replicas, const std::string& image = "one") {
  return fmt::format(
      R"({{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web"}},"spec":{{"replicas":{},"selector":{{"matchLabels":{{"app":"web"}}}},"template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"{}","ports":[{{"name":"http","containerPort":8080}}]}}]}}}}}}}})",
      replicas, image);
}
constexpr const char* kWebService =
    R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"web"},"ports":[{"name":"http","port":80,"targetPort":"http"}]}})";

std::map<std::string, bool> endpoints(Cluster& c) {
  std::map<std::string, bool> out;
  for (const auto& s : c.list(kSlices, "labelSelector=kubernetes.io%2Fservice-name%3Dweb"))
    for (const auto& e : api::array_at(s, "endpoints"))
      out[api::text_at(e.as_object(), "targetRef.name")] = api::bool_at(e.as_object(), "conditions.ready");
  return out;
}

TEST(Controller, DefaultsAndAllocation) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto kubernetes = c.get(std::string(kServices) + "/kubernetes");
  EXPECT_EQ(api::text_at(kubernetes, "spec.clusterIP"), "10.96.0.1");
  for (const char* ns : {"default", "kube-system", "kube-node-lease"})
    EXPECT_EQ(api::text_at(c.get(fmt::format("/api/v1/namespaces/{}", ns)), "status.phase"), "Active");
  ASSERT_EQ(c.create(kServices, R"({"metadata":{"name":"a"},"spec":{"type":"NodePort","ports":[{"port":80}]}})"), "");
  auto a = c.get(std::string(kServices) + "/a");
  EXPECT_EQ(api::text_at(a, "spec.clusterIP"), "10.96.1.1");
  EXPECT_EQ(api::int_at(api::array_at(a, "spec.ports")[0].as_object(), "nodePort"), 30086);
  auto twice =
      c.create(kServices, R"({"metadata":{"name":"b"},"spec":{"clusterIP":"10.96.1.1","ports":[{"port":80}]}})");
  EXPECT_NE(twice.find("provided IP is already allocated"), std::string::npos) << twice;
  auto moved = c.run(c.admin->patch(std::string(kServices) + "/a",
                                    object(R"({"spec":{"clusterIP":"10.96.1.9","clusterIPs":["10.96.1.9"]}})")));
  ASSERT_FALSE(moved);
  EXPECT_EQ(client::http_status(moved.error()), 422);
  auto plain = c.run(c.admin->patch(std::string(kServices) + "/a", object(R"({"spec":{"type":"ClusterIP"}})")));
  ASSERT_TRUE(plain) << plain.error().to_string();
  EXPECT_EQ(api::int_at(api::array_at(*plain, "spec.ports")[0].as_object(), "nodePort"), 0) << json::serialize(*plain);
}

TEST(Controller, JoiningIsForThoseWhoMay) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto once = c.token(1);
  auto first = c.join("n1", once);
  ASSERT_TRUE(first) << first.error().to_string();
  auto certificate = pki::Certificate::from_pem(first->certificate_pem);
  EXPECT_EQ(certificate->subject().common_name, "system:node:n1");
  EXPECT_EQ(certificate->subject().organizations, std::vector<std::string>{"system:nodes"});
  EXPECT_EQ(first->ca_pem, c.kubeconfig.ca_pem);
  auto again = c.join("n2", once);
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().to_string().find("used up"), std::string::npos) << again.error().to_string();

  c.add_node("n3");
  auto taken = c.join("n3", c.token());
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().to_string().find("a node named n3 exists already"), std::string::npos)
      << taken.error().to_string();
  auto bound = c.join("n4", c.token(1, "n5"));
  ASSERT_FALSE(bound);
  EXPECT_NE(bound.error().to_string().find("for node n5 only"), std::string::npos);
  auto wrong = c.token();
  wrong.secret[0] = wrong.secret[0] == 'a' ? 'b' : 'a';
  auto refused = c.join("n6", wrong);
  ASSERT_FALSE(refused);
  EXPECT_EQ(client::http_status(refused.error()), 401) << refused.error().to_string();
  auto pin = c.token();
  pin.ca_pin = std::string(64, 'a');
  auto other = c.join("n6", pin);
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().to_string().find("pinned key"), std::string::npos);

  // The node renews itself, and gets a serving certificate for its own names only.
  auto renewed = c.run(client::renew_node_certificate(*c.nodes["n3"], "n3"));
  ASSERT_TRUE(renewed) << renewed.error().to_string();
  auto serving = c.run(client::request_serving_certificate(*c.nodes["n3"], "n3", {"127.0.0.1"}, {}));
  ASSERT_TRUE(serving) << serving.error().to_string();
  EXPECT_EQ(pki::Certificate::from_pem(serving->certificate_pem)->alt_names().dns, std::vector<std::string>{"n3"});
  auto stolen = c.run(client::renew_node_certificate(*c.nodes["n3"], "n1"));
  EXPECT_FALSE(stolen) << "a node may not ask in another's name";

  // Deleted by the administrator: the name is free again, the old identity is not.
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/nodes/n3")));
  EXPECT_FALSE(c.run(client::renew_node_certificate(*c.nodes["n3"], "n3")));
}

// However many come at once: as many get in as the token says.
TEST(Controller, UsesAreCountedWhateverTheRush) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  auto token = c.token(3);
  std::atomic<int> in{0}, refused{0};
  std::vector<std::thread> machines;
  for (int i = 0; i < 10; ++i)
    machines.emplace_back([&, i] {
      Runner run;
      client::JoinOptions o;
      o.server = c.kubeconfig.server;
      o.token = token;
      o.node_name = fmt::format("rush{}", i);
      o.patience = 10s;
      auto joined = run(client::join_cluster(o));
      if (joined)
        ++in;
      else if (joined.error().to_string().find("used up") != std::string::npos)
        ++refused;
    });
  for (auto& m : machines) m.join();
  EXPECT_EQ(in, 3);
  EXPECT_EQ(refused, 7);
}

TEST(Controller, TheNameOfALivingMachineIsNotGivenAway) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.renew("n1");
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/nodes/n1")));
  c.renew("n1");  // its agent goes on
  auto taken = c.join("n1", c.token());
  ASSERT_FALSE(taken);
  EXPECT_NE(taken.error().to_string().find("n1 is alive"), std::string::npos) << taken.error().to_string();
  EXPECT_TRUE(c.join("n2", c.token())) << "another name";
  // Once it is silent for the grace, its name is free.
  EXPECT_TRUE(c.eventually([&] { return c.join("n1", c.token()).has_value(); }));
}

TEST(Controller, TokensAreStoredHashed) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  // Upstream's shape, as kubeadm writes it.
  ASSERT_EQ(
      c.create(
          "/api/v1/namespaces/kube-system/secrets",
          R"({"metadata":{"name":"bootstrap-token-abcdef"},"type":"bootstrap.kubernetes.io/token","stringData":{"token-id":"abcdef","token-secret":"0123456789abcdef","usage-bootstrap-authentication":"true"}})"),
      "");
  auto secret = json::serialize(c.get("/api/v1/namespaces/kube-system/secrets/bootstrap-token-abcdef"));
  EXPECT_EQ(secret.find("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(secret.find("MDEyMzQ1Njc4OWFiY2RlZg"), std::string::npos) << secret;
  auto tokens = c.run(client::list_join_tokens(*c.admin));
  ASSERT_TRUE(tokens);
  ASSERT_EQ(tokens->size(), 1u) << secret;
  EXPECT_TRUE(pki::secret_matches(tokens->front(), "0123456789abcdef"));
}

TEST(Controller, ADeploymentRunsServesRollsAndGoes) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.add_node("n2");
  EXPECT_TRUE(c.eventually([&] { return !api::text_at(c.get("/api/v1/nodes/n2"), "spec.podCIDR").empty(); }));
  ASSERT_EQ(c.create(kServices, kWebService), "");
  ASSERT_EQ(c.create(kDeployments, deployment(4)), "");
  auto path = std::string(kDeployments) + "/web";
  ASSERT_TRUE(c.play_until([&] { return api::int_at(c.get(path), "status.availableReplicas") == 4; }))
      << json::serialize(c.get(path));
  std::map<std::string, int> per_node;
  for (const auto& p : c.list(kPods)) ++per_node[api::text_at(p, "spec.nodeName")];
  EXPECT_EQ(per_node, (std::map<std::string, int>{{"n1", 2}, {"n2", 2}}));
  ASSERT_TRUE(c.play_until([&] { return endpoints(c).size() == 4; }));
  for (const auto& [name, ready] : endpoints(c)) EXPECT_TRUE(ready) << name;

  auto rolled = c.run(c.admin->patch(
      path, object(R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"two"}]}}}})"), "strategic"));
  ASSERT_TRUE(rolled) << rolled.error().to_string();
  ASSERT_TRUE(c.play_until([&] {
    auto d = c.get(path);
    return api::int_at(d, "status.observedGeneration") == api::int_at(d, "metadata.generation") &&
           api::int_at(d, "status.updatedReplicas") == 4 && api::int_at(d, "status.replicas") == 4 &&
           api::int_at(d, "status.availableReplicas") == 4;
  })) << json::serialize(c.get(path));
  EXPECT_EQ(api::text_at(c.get(path), "metadata.annotations"), "");
  for (const auto& p : c.list(kPods))
    EXPECT_EQ(api::text_at(api::array_at(p, "spec.containers")[0].as_object(), "image"), "two");

  ASSERT_TRUE(c.run(c.admin->remove(path)));
  EXPECT_TRUE(c.play_until([&] { return c.list(kPods).empty() && c.list("/apis/apps/v1/replicasets").empty(); }));
  EXPECT_TRUE(c.eventually([&] { return endpoints(c).empty(); }));
  ASSERT_TRUE(c.run(c.admin->remove(std::string(kServices) + "/web")));
  EXPECT_TRUE(
      c.eventually([&] { return c.list(kSlices, "labelSelector=kubernetes.io%2Fservice-name%3Dweb").empty(); }));
}

TEST(Controller, WhatFitsNowhereIsTold) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  ASSERT_EQ(
      c.create(
          kPods,
          R"({"metadata":{"name":"big"},"spec":{"containers":[{"name":"c","image":"i","resources":{"requests":{"cpu":"64"}}}]}})"),
      "");
  auto path = std::string(kPods) + "/big";
  auto message = [&] {
    auto pod = c.get(path);
    for (const auto& x : api::array_at(pod, "status.conditions"))
      if (api::text_at(x.as_object(), "type") == "PodScheduled") return api::text_at(x.as_object(), "message");
    return std::string();
  };
  EXPECT_TRUE(c.eventually([&] { return message() == "no nodes available to schedule pods"; })) << message();
  c.add_node("n1");
  EXPECT_TRUE(c.eventually([&] { return message() == "0/1 nodes are available: 1 Insufficient cpu."; })) << message();
  EXPECT_TRUE(c.eventually([&] {
    for (const auto& e : c.list("/api/v1/namespaces/default/events"))
      if (api::text_at(e, "reason") == "FailedScheduling" && api::text_at(e, "involvedObject.name") == "big")
        return true;
    return false;
  }));
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"small"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  EXPECT_TRUE(
      c.eventually([&] { return api::text_at(c.get(std::string(kPods) + "/small"), "spec.nodeName") == "n1"; }));
}

TEST(Controller, ASilentNodeLeavesRotationAtOnce) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  c.add_node("n2");
  c.add_node("n3");
  ASSERT_EQ(c.create(kServices, kWebService), "");
  ASSERT_EQ(c.create(kDeployments, deployment(3)), "");
  ASSERT_TRUE(c.play_until([&] { return endpoints(c).size() == 3; }));
  auto ready = [&] {
    int n = 0;
    for (const auto& [name, is] : endpoints(c)) n += is ? 1 : 0;
    return n;
  };
  EXPECT_EQ(ready(), 3);
  auto silent = std::move(c.nodes["n2"]);
  c.nodes.erase("n2");
  auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE(c.play_until([&] { return ready() == 2; }));
  auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GT(took, 500ms);
  EXPECT_LT(took, 5s);
  auto n2 = c.get("/api/v1/nodes/n2");
  EXPECT_NE(json::serialize(n2).find("NodeStatusUnknown"), std::string::npos);
  EXPECT_NE(json::serialize(n2).find("node.kubernetes.io/unreachable"), std::string::npos);
  // The others were never suspected.
  EXPECT_EQ(json::serialize(c.get("/api/v1/nodes/n1")).find("NodeStatusUnknown"), std::string::npos);
}

TEST(Controller, NamespacesGoWithEverythingInThem) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  ASSERT_EQ(c.create("/api/v1/namespaces", R"({"metadata":{"name":"lab"}})"), "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/services", R"({"metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}})"),
            "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/configmaps", R"({"metadata":{"name":"a"}})"), "");
  ASSERT_EQ(c.create("/api/v1/namespaces/lab/pods",
                     R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})"),
            "");
  ASSERT_TRUE(c.run(c.admin->remove("/api/v1/namespaces/lab")));
  EXPECT_TRUE(c.eventually([&] { return c.get("/api/v1/namespaces/lab").empty(); }));
  EXPECT_TRUE(c.list("/api/v1/services", "").size() == 1);
  EXPECT_TRUE(c.list("/api/v1/pods").empty());
}

TEST(Controller, LogsComeFromTheNodesAgent) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  // The agent's API: its serving certificate is the one it got for its name; it demands ours.
  c.add_node("n1");
  auto serving = c.run(client::request_serving_certificate(*c.nodes["n1"], "n1", {"127.0.0.1"}, {}));
  ASSERT_TRUE(serving) << serving.error().to_string();
  pki::KeyPair pair{serving->certificate_pem, serving->key_pem};
  TlsScript agent(
      pair,
      [](TlsScript::Connection& conn, int) {
        conn.read_request();
        conn.begin_chunks();
        conn.chunk("first\n");
        conn.chunk("second\n");
        conn.end_chunks();
        conn.wait_closed();
      },
      c.kubeconfig.ca_pem);
  auto status =
      object(fmt::format(R"({{"status":{{"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}}}}}})", agent.port()));
  auto told = c.run(c.nodes["n1"]->patch("/api/v1/nodes/n1/status", status));
  ASSERT_TRUE(told) << told.error().to_string();
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  ASSERT_TRUE(c.eventually([&] { return !api::text_at(c.get(std::string(kPods) + "/a"), "spec.nodeName").empty(); }));
  auto stream = c.run(c.admin->stream(std::string(kPods) + "/a/log?tailLines=5&follow=true"));
  ASSERT_TRUE(stream) << stream.error().to_string();
  std::string text;
  for (;;) {
    auto piece = c.run((*stream)->read(5s));
    ASSERT_TRUE(piece) << piece.error().to_string();
    if (piece->empty()) break;
    text += *piece;
  }
  EXPECT_EQ(text, "first\nsecond\n");
  EXPECT_EQ(agent.requests().front(), "GET /containerLogs/default/a/c?follow=true&tailLines=5 HTTP/1.1");
  auto nobody = c.run(c.admin->request("GET", std::string(kPods) + "/b/log"));
  ASSERT_TRUE(nobody);
  EXPECT_EQ(nobody->status, 404);
}

TEST(Controller, ExecIsATunnel) {
  Cluster c;
  ASSERT_TRUE(c.ready);
  c.add_node("n1");
  auto serving = c.run(client::request_serving_certificate(*c.nodes["n1"], "n1", {"127.0.0.1"}, {}));
  ASSERT_TRUE(serving) << serving.error().to_string();
  pki::KeyPair pair{serving->certificate_pem, serving->key_pem};
  TlsScript agent(
      pair,
      [](TlsScript::Connection& conn, int) {
        conn.read_request();
        conn.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: raw\r\nConnection: Upgrade\r\n\r\nhello ");
        conn.write("client");
        conn.wait_closed();
      },
      c.kubeconfig.ca_pem);
  auto status =
      object(fmt::format(R"({{"status":{{"daemonEndpoints":{{"kubeletEndpoint":{{"Port":{}}}}}}}}})", agent.port()));
  ASSERT_TRUE(c.run(c.nodes["n1"]->patch("/api/v1/nodes/n1/status", status)));
  ASSERT_EQ(c.create(kPods, R"({"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i"}]}})"), "");
  ASSERT_TRUE(c.eventually([&] { return !api::text_at(c.get(std::string(kPods) + "/a"), "spec.nodeName").empty(); }));
  client::Headers headers;
  headers.emplace_back("Upgrade", "raw");
  auto up = c.run(
      c.admin->upgrade("POST", std::string(kPods) + "/a/exec?command=ls&command=-l&stdin=true&stdout=true", headers));
  ASSERT_TRUE(up) << up.error().to_string();
  ASSERT_EQ(up->status, 101);
  std::string text;
  while (text.size() < 12) {
    auto piece = c.run(up->tunnel->read());
    ASSERT_TRUE(piece) << piece.error().to_string();
    ASSERT_FALSE(piece->empty());
    text += *piece;
  }
  EXPECT_EQ(text, "hello client");
  EXPECT_TRUE(c.run(up->tunnel->write("input")));
  EXPECT_TRUE(c.eventually([&] { return agent.received().ends_with("input"); }))
      << "bytes from the client reach the agent";
  EXPECT_EQ(agent.requests().front(), "POST /exec/default/a/c?command=ls&command=-l&input=1&output=1 HTTP/1.1");
  up->tunnel->close();
}

// Acknowledged means there: whatever the moment of the kill.
TEST(Controller, KillNineLosesNothingAcknowledged) {
  auto dir = scratch();
  std::set<std::string> acknowledged;
  std::uint64_t newest = 0;
  for (int round = 0; round < 4; ++round) {
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    pid_t child = ::fork();
    if (child == 0) {
      ::close(fds[0]);
      auto o = options_for(dir);
      o.ready_fd = fds[1];
      auto r = run_controller(o);
      if (!r) std::fprintf(stderr, "%s\n", r.error().to_string().c_str());
      ::_exit(1);
    }
    ::close(fds[1]);
    char text[6];
    ASSERT_EQ(::read(fds[0], text, sizeof text), 6) << "round " << round;
    ::close(fds[0]);
    Runner run;
    auto admin = std::move(
        *ApiClient::make(run.executor(), client::read_kubeconfig(dir + "/admin.kubeconfig")->client_options()));
    std::set<std::string> found, ips;
    auto all = run(admin->list("/api/v1/services"));
    ASSERT_TRUE(all) << all.error().to_string();
    for (const auto& s : all->items) {
      found.insert(api::text_at(s, "metadata.name"));
      EXPECT_TRUE(ips.insert(api::text_at(s, "spec.clusterIP")).second) << "an address was given out twice";
    }
    for (const auto& name : acknowledged) EXPECT_TRUE(found.contains(name)) << name << " in round " << round;
    auto revision = std::stoull(all->revision);
    EXPECT_GE(revision, newest) << "the revision fell";
    // Write until the kill, which comes in the middle of it.
    std::thread killer([child, round] {
      std::this_thread::sleep_for(std::chrono::milliseconds(60 + 40 * round));
      ::kill(child, SIGKILL);
    });
    for (int i = 0;; ++i) {
      auto name = fmt::format("s{}-{}", round, i);
      auto made = run(admin->create(
          kServices, object(R"({"metadata":{"name":")" + name + R"("},"spec":{"ports":[{"port":80}]}})")));
      if (!made) break;
      acknowledged.insert(name);
      newest = std::max<std::uint64_t>(newest, std::stoull(api::text_at(*made, "metadata.resourceVersion")));
    }
    killer.join();
    int code = 0;
    ::waitpid(child, &code, 0);
    EXPECT_TRUE(WIFSIGNALED(code));
  }
  EXPECT_GT(acknowledged.size(), 4u);
  (void)base::remove_tree(dir);
}

TEST(Controller, BadOptionsAreRefusedInWords) {
  auto refused = [](const std::function<void(ControllerOptions&)>& change) {
    auto o = options_for("/nonexistent");
    change(o);
    auto r = run_controller(o);
    return r ? std::string("accepted") : r.error().to_string();
  };
  EXPECT_NE(refused([](auto& o) { o.listen = {"nonsense"}; }).find("not an address to listen on"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.service_cidrs = {"10.244.0.0/24"}; }).find("overlap"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.store = "mysql:x"; }).find("sqlite:PATH"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.timers.node_grace = 300ms; }).find("three lease periods"), std::string::npos);
  EXPECT_NE(refused([](auto& o) { o.node_mask_v4 = 8; }).find("can not be a /8"), std::string::npos);
}

}  // namespace
}  // namespace trama::control
