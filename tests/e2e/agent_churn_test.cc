// SPDX-License-Identifier: GPL-2.0-or-later
// Five hundred pods come and go behind a Service: every counter of the node is back at its start.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

constexpr int kRounds = 5, kPodsAtATime = 100;

const char* const kChurn = R"(
apiVersion: apps/v1
kind: Deployment
metadata: {name: churn}
spec:
  replicas: 0
  selector: {matchLabels: {app: churn}}
  template:
    metadata: {labels: {app: churn}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {name: main, image: host, command: [sleep, infinity]}
---
apiVersion: v1
kind: Service
metadata: {name: churn}
spec:
  type: NodePort
  selector: {app: churn}
  ports: [{port: 80, targetPort: 8080}]
)";

class Churn : public ::testing::Test {
 protected:
  static ClusterOptions options() {
    ClusterOptions o;
    o.log_level = "info";
    o.agent_arguments += fmt::format(" --max-pods {}", kPodsAtATime + 10);
    return o;
  }
  std::string counters() {
    std::string out;
    auto note = [&](const char* what, const std::string& command, bool on_node) {
      std::string text;
      on_node ? cluster.on_node("n1", command, &text) : shell(command, &text);
      out += std::string(what) + " " + text;
    };
    auto pid = std::to_string(cluster.agent_pid("n1"));
    note("agent fds by kind",
         "ls -l /proc/" + pid + "/fd | sed -n 's/.* -> //p' | sed 's/[0-9]\\+/N/g' | sort | uniq -c", false);
    note("agent children", "pgrep -c -P " + pid + " || true", false);
    note("namespaces", "ls /run/netns | grep -c " + cluster.netns("n1"), false);
    note("mounts", "grep -c " + cluster.netns("n1") + " /proc/self/mountinfo", false);
    note("cgroups", "find /sys/fs/cgroup -path '*trama.slice/" + cluster.netns("n1") + "/*' -type d | wc -l", false);
    note("files in /etc/netns", "ls /etc/netns 2>/dev/null | grep -c " + cluster.netns("n1"), false);
    note("files of pods", "find " + cluster.directory() + "/n1 -path '*pods*' | wc -l", false);
    note("links", "ip -o link | wc -l", true);
    note("addresses", "ip -o addr | wc -l", true);
    // The machine's own link-local routes come when they like.
    note("routes", "ip route show table all proto 116 | wc -l; ip -6 route show table all proto 116 | wc -l", true);
    note("routes to pods", "ip route show table all | grep -c ' dev tr[0-9a-f]' || true", true);
    note("neighbours", "ip neigh show nud permanent | wc -l; ip -6 neigh show nud permanent | wc -l", true);
    // Class chains stay for a while on purpose: the next service with as many endpoints finds its chain.
    note("elements",
         "nft -j list ruleset | jq '[.nftables[] | (.map // .set) | select(. and .name != \"class\") | .elem // [] | "
         "length] | add'",
         true);
    return out;
  }
  int replicas(const std::string& field) {
    auto object = cluster.get("deployment churn");
    if (!object.is_object()) return -1;
    boost::system::error_code ec;
    auto* v = object.find_pointer("/status/" + field, ec);
    return v && !ec ? static_cast<int>(v->to_number<int>()) : 0;
  }
  Cluster cluster{options()};
};

TEST_F(Churn, FiveHundredPodsLeaveNothing) {
  cluster.start_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  ASSERT_TRUE(cluster.apply(kChurn));
  auto scale = [&](int n) {
    std::string output;
    EXPECT_EQ(cluster.trama("scale deployment/churn --replicas " + std::to_string(n), &output), 0) << output;
    if (n > 0) return eventually([&] { return replicas("readyReplicas") == n; }, 120'000);
    return eventually(
        [&] {
          std::string pods;
          return cluster.trama("get pods -o name", &pods) == 0 && pods.find("pod/churn") == std::string::npos;
        },
        120'000);
  };
  // Some pods first: what is made once for all of them (guard table, connections to the server) is no leak.
  ASSERT_TRUE(scale(20) && scale(0));
  std::string before;
  ASSERT_TRUE(eventually([&] { return std::exchange(before, counters()) == before; }, 20'000));
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_TRUE(scale(kPodsAtATime)) << "round " << round << ": " << replicas("readyReplicas") << " ready";
    if (round == 0) {
      EXPECT_NE(counters(), before) << "the control: these counters see pods";
    }
    ASSERT_TRUE(scale(0)) << "round " << round;
  }
  std::string after;
  EXPECT_TRUE(eventually([&] { return (after = counters()) == before; }, 30'000)) << "before:\n"
                                                                                  << before << "after:\n"
                                                                                  << after;
}

}  // namespace
}  // namespace trama::test
