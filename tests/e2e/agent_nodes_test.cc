// SPDX-License-Identifier: GPL-2.0-or-later
// Two nodes: traffic between them, repair of what others damage, probes.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

std::string pod(const std::string& name, const std::string& node, const std::string& rest) {
  return "---\napiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", labels: {app: " + name +
         "}}\nspec:\n  nodeName: " + node +
         "\n  terminationGracePeriodSeconds: 1\n  containers:\n    - name: main\n      image: host\n" + rest;
}
const std::string kEcho = "      command: [trama, echo, --http, ':8080']\n";
const std::string kSleep = "      command: [sleep, infinity]\n";
const std::string kService = R"(---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
)";

class TwoNodes : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    cluster.add_node("n1");
    cluster.add_node("n2");
    ASSERT_TRUE(cluster.ok());
    ASSERT_TRUE(cluster.wait_node_ready("n1"));
    ASSERT_TRUE(cluster.wait_node_ready("n2"));
    ASSERT_TRUE(cluster.apply(pod("web", "n2", kEcho) + pod("client", "n1", kSleep) + kService));
    ASSERT_TRUE(cluster.wait_pod_ready("web"));
    ASSERT_TRUE(cluster.wait_pod_ready("client"));
    ip = cluster.cluster_ip("web");
    ASSERT_TRUE(asks("client")) << "through the overlay";
  }
  bool asks(const std::string& from, int milliseconds = 5000) {
    return eventually(
        [&] { return cluster.in_pod("n1", from, "curl -sS -o /dev/null --max-time 1 http://" + ip + "/") == 0; },
        milliseconds);
  }
  Cluster cluster;
  std::string ip;
};

TEST_F(TwoNodes, ServicesReachPodsOfOtherNodes) {
  up();
  std::string output;
  auto hub = "nsenter --net=/run/netns/" + cluster.netns("hub");
  for (auto node : {"n1", "n2"}) {
    auto url = "http://" + cluster.node_ip(node) + ":30080/";
    EXPECT_TRUE(eventually([&] { return shell(hub + " curl -sS --max-time 2 " + url, &output) == 0; }))
        << node << output;
  }
  EXPECT_EQ(cluster.in_pod("n1", "client", "ping -c 2 -i 0.2 -W 1 " + cluster.pod_ip("web"), &output), 0) << output;
}

TEST_F(TwoNodes, KilledAgentsLoseNoRequest) {
  up();
  std::atomic<bool> stop{false};
  std::atomic<int> asked{0}, failed{0};
  std::thread load([&] {
    while (!stop) {
      ++asked;
      if (cluster.in_pod("n1", "client", "curl -sS -o /dev/null --max-time 2 http://" + ip + "/") != 0) ++failed;
    }
  });
  for (int round = 0; round < 2 || asked <= 20; ++round) {
    for (auto node : {"n1", "n2"}) {
      cluster.stop_agent(node, 9);
      cluster.start_agent(node);
      auto ready = [&] { return cluster.metric(node, "trama_agent_ready") == 1; };
      EXPECT_TRUE(eventually(ready, 10000)) << cluster.log(node);
    }
  }
  stop = true;
  load.join();
  EXPECT_EQ(failed, 0) << "of " << asked;
  EXPECT_EQ(cluster.pod_ip("client").empty(), false);
}

TEST_F(TwoNodes, WhatOthersRemoveComesBack) {
  up();
  auto web = cluster.pod_ip("web"), client = cluster.pod_ip("client");
  struct Damage {
    const char* what;
    std::string harm, look;
  };
  const Damage damages[] = {
      {"services table", "nft delete table ip trama", "nft list table ip trama"},
      {"everything in nftables", "nft flush ruleset",
       "nft list table ip trama && nft list table inet trama-overlay && nft list table inet trama-pods"},
      {"pod route", "ip route del " + client, "ip route show " + client + " | grep dev"},
      {"pod neighbour",
       "ip neigh flush nud permanent to " + client + " dev $(ip -o route get " + client +
           " | sed 's/.* dev \\([^ ]*\\).*/\\1/')",
       "ip neigh show nud permanent | grep '" + client + " '"},
      {"overlay device", "ip link del trama0", "ip link show up dev trama0 && ip route get " + web + " | grep trama0"},
      {"peer route", "ip route del $(ip route show proto 116 dev trama0 | cut -d' ' -f1)",
       "ip route get " + web + " | grep trama0"},
      {"host veth down", "ip link set $(ip -o route get " + client + " | sed 's/.* dev \\([^ ]*\\).*/\\1/') down",
       "ip route show " + client + " | grep dev"},
  };
  std::string output;
  for (const auto& d : damages) {
    ASSERT_EQ(cluster.on_node("n1", d.harm, &output), 0) << d.what << ": " << output;
    EXPECT_TRUE(eventually([&] { return cluster.on_node("n1", d.look, &output) == 0; }, 5000))
        << d.what << ": " << output;
    EXPECT_TRUE(asks("client")) << "after: " << d.what;
  }
  EXPECT_GT(cluster.metric("n1", "trama_room_heals_total{room=\"overlay\"}"), 0);
  // What is not ours stays: a table of somebody else's, made before the next repair, is still there after it.
  ASSERT_EQ(cluster.on_node("n1", "nft add table ip foreign && nft delete table ip trama", &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return cluster.on_node("n1", "nft list table ip trama", &output) == 0; }));
  EXPECT_EQ(cluster.on_node("n1", "nft list table ip foreign", &output), 0) << output;
}

TEST_F(TwoNodes, ProbesDecideAndRestart) {
  up();
  ASSERT_TRUE(
      cluster.apply(pod("late", "n1",
                        "      command: [sh, -c, 'sleep 1; exec trama echo --http :9090']\n"
                        "      readinessProbe: {tcpSocket: {port: 9090}, periodSeconds: 1}\n") +
                    pod("ill", "n1",
                        "      command: [sleep, infinity]\n"
                        "      livenessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 1}\n") +
                    // More output than a pipe holds, and the last word only after somebody has read it.
                    pod("wordy", "n1",
                        "      command: [sleep, infinity]\n"
                        "      readinessProbe: {exec: {command: [sh, -c, 'yes | head -c 300000 && echo done']}, "
                        "periodSeconds: 1}\n")));
  auto status = [&](const std::string& name, const std::string& field) {
    auto object = cluster.get("pod " + name);
    if (!object.is_object()) return std::string();
    const auto& all = api::array_at(object.get_object(), "status.containerStatuses");
    return all.empty() ? std::string() : json::serialize(all.front().get_object().at(field));
  };
  EXPECT_TRUE(eventually([&] { return status("late", "started") == "true"; }));
  EXPECT_EQ(status("late", "ready"), "false") << "it does not listen yet";
  EXPECT_TRUE(cluster.wait_pod_ready("late"));
  EXPECT_TRUE(cluster.wait_pod_ready("wordy"));
  EXPECT_TRUE(
      eventually([&] { return status("ill", "restartCount") != "0" && status("ill", "restartCount") != ""; }, 15000))
      << status("ill", "state");
}

}  // namespace
}  // namespace trama::test
