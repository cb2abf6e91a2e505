// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent itself serves for Services: health checks of load balancers, node ports on loopback, its pages.
#include <chrono>
#include <thread>

#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"
#include "tests/unit/agent/metrics_check.h"

namespace trama::test {
namespace {

const char* const kWeb = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: echo, image: host, command: [trama, echo, --http, ":8080"]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: 31234
  externalIPs: [198.51.100.7]
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
)";

TEST(AgentServices, HealthChecksLoopbackPortsAndPages) {
  ClusterOptions options;
  options.agent_arguments += " --localhost-nodeports";
  Cluster cluster(options);
  cluster.start_controller();
  ASSERT_TRUE(cluster.ok());
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok());
  ASSERT_TRUE(cluster.wait_node_ready("n1"));
  std::string output;
  EXPECT_NE(cluster.trama("apply -f -", &output,
                          "apiVersion: v1\nkind: Service\nmetadata: {name: x, annotations: {trama.dev/drain: soon}}\n"
                          "spec: {ports: [{port: 80}]}\n"),
            0);
  EXPECT_NE(output.find("metadata.annotations[trama.dev/drain]"), std::string::npos) << output;
  // Changes that are told to be from before the agent's start are not measured, and they are told in whole seconds.
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  ASSERT_TRUE(cluster.apply(kWeb));
  ASSERT_TRUE(cluster.wait_pod_ready("web"));

  auto curl = [&](const std::string& url) {
    return cluster.on_node("n1", "curl -sS -i -g --max-time 2 " + url, &output) == 0;
  };
  auto check = "http://" + cluster.node_ip("n1") + ":31234/";
  EXPECT_TRUE(eventually([&] { return curl(check) && output.starts_with("HTTP/1.1 200"); })) << output;
  EXPECT_NE(output.find("X-Load-Balancing-Endpoint-Weight: 1"), std::string::npos) << output;
  EXPECT_TRUE(eventually([&] { return curl("http://127.0.0.1:30080/"); })) << output;
  EXPECT_TRUE(output.starts_with("HTTP/1.1 200")) << output;

  EXPECT_TRUE(curl("http://127.0.0.1:10256/healthz") && output.starts_with("HTTP/1.1 200")) << output;
  EXPECT_TRUE(curl("http://127.0.0.1:10249/proxyMode") && output.ends_with("nftables")) << output;
  auto metrics = cluster.page("n1", "http://127.0.0.1:10249/metrics");
  EXPECT_EQ(agent::check_metrics(metrics), "");
  EXPECT_GE(cluster.metric("n1", "kubeproxy_sync_proxy_rules_service_changes_total"), 1);
  EXPECT_EQ(cluster.metric("n1", "kubeproxy_sync_proxy_rules_service_changes_pending"), 0);
  EXPECT_GE(cluster.metric("n1", "trama_service_change_latency_seconds_count"), 1);
  EXPECT_GE(cluster.metric("n1", "kubeproxy_network_programming_duration_seconds_count"), 1);
  EXPECT_NE(cluster.log("n1").find("external IPs are not allowed on this node"), std::string::npos);

  ASSERT_EQ(cluster.trama("delete pod web", &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return curl(check) && output.starts_with("HTTP/1.1 503"); })) << output;
  ASSERT_EQ(cluster.trama("delete service web", &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return !curl(check) && !curl("http://127.0.0.1:30080/"); })) << output;
}

}  // namespace
}  // namespace trama::test
