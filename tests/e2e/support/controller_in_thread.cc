// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/e2e/support/controller_in_thread.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/file.h"

namespace trama::control::test {

using namespace std::chrono_literals;
using client::ApiClient;

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

Cluster::Cluster() : dir(scratch()) {
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

Cluster::~Cluster() {
  nodes.clear();
  admin.reset();
  stop_ = true;
  thread_.join();
  EXPECT_TRUE(outcome_) << outcome_.error().to_string();
  (void)base::remove_tree(dir);
}

json::object Cluster::get(const std::string& path) {
  auto r = run(admin->get(path));
  return r ? *r : json::object();
}

std::string Cluster::create(const std::string& path, const std::string& text) {
  auto r = run(admin->create(path, object(text)));
  return r ? "" : r.error().to_string();
}

std::vector<json::object> Cluster::list(const std::string& path, const std::string& query) {
  auto r = run(admin->list(path, query));
  EXPECT_TRUE(r) << r.error().to_string();
  return r ? r->items : std::vector<json::object>();
}

bool Cluster::eventually(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  auto end = std::chrono::steady_clock::now() + limit;
  while (!done()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(10ms);
  }
  return true;
}

client::JoinString Cluster::token(std::int64_t uses, const std::string& node) {
  client::TokenRequest t;
  t.uses = uses;
  t.node = node;
  auto j = run(client::create_join_token(*admin, t));
  EXPECT_TRUE(j) << j.error().to_string();
  return j.value_or(client::JoinString());
}

base::Result<client::NodeCredentials> Cluster::join(const std::string& name, const client::JoinString& j) {
  client::JoinOptions o;
  o.server = kubeconfig.server;
  o.token = j;
  o.node_name = name;
  o.patience = 5s;
  return run(client::join_cluster(o));
}

ApiClient& Cluster::add_node(const std::string& name, std::uint16_t agent_port) {
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

void Cluster::renew(const std::string& name) {
  auto path = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
  auto body = object(fmt::format(
      R"({{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{}","namespace":"kube-node-lease"}},"spec":{{"holderIdentity":"{}","leaseDurationSeconds":40,"renewTime":"2026-01-01T00:00:00.{:06}Z"}}}})",
      name, name, ++renewals_ % 1000000));
  auto have = run(nodes[name]->get(std::string(path) + "/" + name));
  auto done =
      have ? run(nodes[name]->update(std::string(path) + "/" + name, body)) : run(nodes[name]->create(path, body));
  EXPECT_TRUE(done) << done.error().to_string();
}

void Cluster::agents() {
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

bool Cluster::play_until(const std::function<bool()>& done, std::chrono::milliseconds limit) {
  return eventually(
      [&] {
        agents();
        return done();
      },
      limit);
}

std::map<std::string, bool> Cluster::endpoints() {
  std::map<std::string, bool> out;
  for (const auto& s : list(kSlices, "labelSelector=kubernetes.io%2Fservice-name%3Dweb"))
    for (const auto& e : api::array_at(s, "endpoints"))
      out[api::text_at(e.as_object(), "targetRef.name")] = api::bool_at(e.as_object(), "conditions.ready");
  return out;
}

}  // namespace trama::control::test
