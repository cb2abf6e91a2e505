// SPDX-License-Identifier: GPL-2.0-or-later
// Two controllers on one etcd, and an agent that knows both: the one it talks to is killed.
#include <chrono>
#include <cstdlib>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using std::chrono::steady_clock;
using testing::HasSubstr;
using testing::Not;

std::string pod(const std::string& name) {
  return fmt::format(R"(
apiVersion: v1
kind: Pod
metadata: {{name: {}}}
spec:
  containers: [{{name: main, image: host, command: [sleep, "1000"]}}]
)",
                     name);
}

TEST(Failover, PodsAreStillPlacedWhenTheControllerInUseIsKilled) {
  ClusterOptions options;
  options.etcd = true;
  Cluster cluster(options);
  cluster.start_controller();
  cluster.start_second_controller();
  cluster.add_node("n1");
  ASSERT_TRUE(cluster.ok() && cluster.wait_node_ready("n1"));
  ASSERT_TRUE(cluster.apply(pod("before")) && cluster.wait_pod_ready("before"));

  // The control: without another server there is nowhere to go.
  std::string said;
  EXPECT_EQ(cluster.trama("--server 10.90.0.3:6443 get nodes", &said), 5) << said;

  cluster.stop_controller(9);
  auto start = steady_clock::now();
  ASSERT_TRUE(cluster.apply(pod("after")));
  // The dead one led: its lease of three seconds must run out first.
  ASSERT_TRUE(cluster.wait_pod_ready("after", 20000)) << cluster.log("n1");
  auto took = std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - start);
  RecordProperty("milliseconds_until_a_pod_runs", static_cast<int>(took.count()));
  EXPECT_LT(took.count(), 12000);
  EXPECT_TRUE(cluster.wait_node_ready("n1"));
  EXPECT_THAT(cluster.log("n1"), Not(HasSubstr("reading everything again")))
      << "watches go on at the other one where they were";
  EXPECT_EQ(json::serialize(cluster.get("pods")).find("NodeStatusUnknown"), std::string::npos);

  if (!std::getenv("TRAMA_LONG")) return;
  // And back: the other way round.
  cluster.start_controller();
  cluster.stop_second_controller(9);
  ASSERT_TRUE(cluster.apply(pod("again")));
  ASSERT_TRUE(cluster.wait_pod_ready("again", 20000)) << cluster.log("n1");
}

}  // namespace
}  // namespace trama::test
