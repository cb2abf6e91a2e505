// SPDX-License-Identifier: GPL-2.0-or-later
// One controller and real agents: from `apply` to a served request, and what survives whom.
#include <thread>

#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

const char* const kWeb = R"(
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 2
  containers:
    - name: echo
      image: host
      command: [trama, echo, --http, ":8080"]
      readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
)";
const char* const kClient = R"(
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sleep, infinity]}
)";

class AgentE2e : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    ASSERT_TRUE(cluster.ok());
    cluster.add_node("n1");
    ASSERT_TRUE(cluster.ok());
    ASSERT_TRUE(cluster.wait_node_ready("n1"));
  }
  bool served(const std::string& from = "") {
    auto ip = cluster.cluster_ip("web");
    std::string output;
    auto command = "curl -sS --max-time 2 http://" + ip + "/";
    auto ask = [&] {
      int rc = from.empty() ? cluster.on_node("n1", command, &output) : cluster.in_pod("n1", from, command, &output);
      return rc == 0;
    };
    bool ok = eventually(ask, 10000);
    EXPECT_TRUE(ok) << "no answer from " << ip << ": " << output;
    return ok;
  }
  Cluster cluster;
};

TEST_F(AgentE2e, APodIsReadyAndItsServiceAnswers) {
  up();
  ASSERT_TRUE(cluster.apply(std::string(kWeb) + "---" + kClient));
  ASSERT_TRUE(cluster.wait_pod_ready("web"));
  ASSERT_TRUE(cluster.wait_pod_ready("client"));
  EXPECT_TRUE(served("client"));
  EXPECT_TRUE(served());
  std::string hosts;
  shell("cat /etc/netns/" + cluster.netns("n1") + ".client/hosts", &hosts);
  EXPECT_NE(hosts.find(cluster.cluster_ip("web") + " web web.default web.default.svc"), std::string::npos) << hosts;
  EXPECT_NE(cluster.page("n1", "http://127.0.0.1:10256/healthz").find("nodeEligible"), std::string::npos);
  EXPECT_EQ(cluster.metric("n1", "trama_pods_ready"), 2);
}

TEST_F(AgentE2e, LogsAndExecThroughTheController) {
  up();
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Pod
metadata: {name: talker}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sh, -c, "echo one; echo two >&2; sleep 1000"]}
)"));
  ASSERT_TRUE(cluster.wait_pod_ready("talker"));
  std::string output;
  EXPECT_TRUE(eventually([&] {
    return cluster.trama("logs talker", &output) == 0 && output.find("two") != std::string::npos;
  })) << output;
  EXPECT_EQ(cluster.trama("logs talker --tail 1", &output), 0);
  EXPECT_EQ(cluster.trama("exec talker -- sh -c 'echo $TRAMA_POD on $TRAMA_NODE; exit 7'", &output), 7) << output;
  EXPECT_NE(output.find("talker on n1"), std::string::npos) << output;
}

TEST_F(AgentE2e, AKilledAgentAdoptsAndChangesNothing) {
  up();
  ASSERT_TRUE(cluster.apply(kWeb));
  ASSERT_TRUE(cluster.wait_pod_ready("web"));
  ASSERT_TRUE(served());
  auto ip = cluster.pod_ip("web");
  auto started = [&] {
    auto pod = cluster.get("pod web");
    return pod.is_object() ? json::serialize(api::array_at(pod.get_object(), "status.containerStatuses")) : "";
  };
  auto before = started();
  cluster.stop_agent("n1", 9);
  EXPECT_TRUE(served()) << "the datapath needs no agent";
  cluster.start_agent("n1");
  ASSERT_TRUE(eventually(
      [&] { return cluster.log("n1").rfind("agent ready") != cluster.log("n1").find("agent ready"); }, 15000))
      << cluster.log("n1");
  EXPECT_TRUE(served());
  EXPECT_EQ(cluster.pod_ip("web"), ip);
  EXPECT_EQ(started(), before);
  auto second = cluster.log("n1");
  second = second.substr(second.find("agent ready"));
  // All that a new agent does: the tunnel's device needs a process that reads it. Tokens are those that the pod has.
  for (auto [room, own] :
       {std::pair{"sandboxes", "nothing"}, {"overlay", "hold device trama1"}, {"services", "nothing"}}) {
    second = cluster.log("n1");
    second = second.substr(second.find("agent ready"));
    bool has = second.find(own) != second.npos;
    EXPECT_EQ(cluster.metric("n1", std::string("trama_room_operations_total{room=\"") + room + "\"}"), has ? 1 : 0)
        << room << ": an unchanged world needs no operation\n"
        << second;
  }
}

// It starts its parts while it ends them: a server whose certificate comes late, a report of a room.
TEST_F(AgentE2e, StoppedAtAnyMomentItEndsWell) {
  up();
  auto prefix = cluster.netns("n1").substr(0, cluster.netns("n1").find('.'));
  for (int i = 0; i < 20; ++i) {
    cluster.stop_agent("n1");  // expects exit code 0
    EXPECT_EQ(test::shell("find /tmp/trama-e2e-" + prefix + "/n1 -name 'serving.*' -delete"), 0);
    cluster.start_agent("n1");
    std::this_thread::sleep_for(std::chrono::milliseconds(100 + 10 * i));
  }
}

TEST_F(AgentE2e, WithoutAControllerARestartedAgentKeepsEverything) {
  up();
  ASSERT_TRUE(cluster.apply(kWeb));
  ASSERT_TRUE(cluster.wait_pod_ready("web"));
  ASSERT_TRUE(served());
  auto ip = cluster.cluster_ip("web");
  // What the agent goes on with is what it has on disk, a tenth of a second behind what it serves.
  ASSERT_TRUE(eventually([&] {
    std::string pods, slices, directory = cluster.directory() + "/n1/data/view/";
    shell("cat " + directory + "pods.view", &pods);
    shell("grep 'kubernetes.io/service-name\":\"web\"' " + directory + "endpointslices.view", &slices);
    return pods.find("\"podIP\"") != std::string::npos && slices.find("\"ready\":true") != std::string::npos;
  }));
  cluster.stop_controller(9);
  cluster.stop_agent("n1", 9);
  cluster.start_agent("n1");
  EXPECT_TRUE(eventually([&] { return cluster.metric("n1", "trama_services") >= 1; }, 10000)) << cluster.log("n1");
  std::string output;
  EXPECT_EQ(cluster.on_node("n1", "curl -sS --max-time 2 http://" + ip + "/", &output), 0) << output;
  EXPECT_EQ(cluster.metric("n1", "trama_room_operations_total{room=\"sandboxes\"}"), 0) << cluster.log("n1");
  // The control: what somebody deletes comes back even now.
  EXPECT_EQ(cluster.on_node("n1", "nft delete table ip trama", &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return cluster.on_node("n1", "nft list table ip trama", &output) == 0; }, 5000));
  EXPECT_TRUE(
      eventually([&] { return cluster.on_node("n1", "curl -sS --max-time 2 http://" + ip + "/", &output) == 0; }));
}

TEST_F(AgentE2e, TheHoldOnTranslationOutlivesAFlushButNotTheAgent) {
  up();
  std::string tables;
  auto held = [&] {
    return cluster.on_node("n1", "nft list tables", &tables) == 0 && tables.find("trama-hold") != std::string::npos;
  };
  cluster.stop_agent("n1");
  cluster.start_agent("n1", "--hold-translation=true");
  ASSERT_TRUE(eventually(held, 10000)) << tables << cluster.log("n1");
  EXPECT_EQ(cluster.on_node("n1", "nft flush ruleset && nft list tables | grep trama-hold"), 0);
  EXPECT_NE(cluster.on_node("n1", "nft delete table inet trama-hold"), 0);
  cluster.stop_agent("n1", SIGKILL);
  EXPECT_TRUE(eventually([&] { return !held(); })) << tables;
  cluster.start_agent("n1", "--hold-translation=true");
  EXPECT_TRUE(eventually(held, 10000)) << "a killed agent's hold is in nobody's way" << cluster.log("n1");
  cluster.stop_agent("n1");
  EXPECT_TRUE(eventually([&] { return !held(); })) << tables;
  cluster.start_agent("n1", "--hold-translation=false");
  EXPECT_FALSE(eventually(held, 3000)) << "nobody asked for it";
  cluster.stop_agent("n1");
  // Left to itself it depends on whether the nft here would list it wrongly.
  cluster.start_agent("n1", "--hold-translation=auto");
  EXPECT_TRUE(eventually([&] { return held() != (cluster.log("n1").find("wrong or empty") != std::string::npos); }))
      << tables << cluster.log("n1");
  EXPECT_EQ(cluster.on_node("n1", "nft -j list ruleset | jq -e '.nftables | length > 10'", &tables), 0) << tables;
}

// Somebody else has the table: the agent serves all the same, says so, and takes it when it is free.
TEST_F(AgentE2e, AHoldThatIsTakenIsWaitedFor) {
  up();
  cluster.stop_agent("n1");
  auto stranger = std::thread([&] {
    cluster.on_node("n1", "(echo 'add table inet trama-hold { flags owner; }'; sleep 9) | nft -i >/dev/null");
  });
  std::string table;
  auto owned = [&](const char* by) {
    return cluster.on_node("n1", "nft list table inet trama-hold", &table) == 0 && table.find(by) != std::string::npos;
  };
  EXPECT_TRUE(eventually([&] { return owned("table"); })) << table;
  cluster.start_agent("n1", "--hold-translation=true");
  ASSERT_TRUE(cluster.apply(kWeb));
  EXPECT_TRUE(cluster.wait_pod_ready("web"));
  EXPECT_TRUE(eventually([&] { return cluster.log("n1").find("owns table inet trama-hold") != std::string::npos; }))
      << cluster.log("n1");
  stranger.join();
  EXPECT_TRUE(eventually([&] { return owned("decides nothing"); })) << table << cluster.log("n1");
}

TEST_F(AgentE2e, DeletionIsGracefulAndComplete) {
  up();
  ASSERT_TRUE(cluster.apply(kClient));
  ASSERT_TRUE(cluster.wait_pod_ready("client"));
  std::string output;
  EXPECT_EQ(cluster.trama("delete pod client", &output), 0) << output;
  EXPECT_TRUE(eventually([&] { return cluster.trama("get pod client") != 0; }, 15000));
  EXPECT_TRUE(eventually([&] { return shell("test -e /run/netns/" + cluster.netns("n1") + ".client") != 0; }));
  shell("ls -d " + cluster.directory() + "/n1/pods/* 2>/dev/null", &output);
  EXPECT_TRUE(eventually([&] {
    shell("ls -d " + cluster.directory() + "/n1/pods/* 2>/dev/null", &output);
    return output.empty();
  })) << output;
}

TEST_F(AgentE2e, APodThatCannotRunSaysWhyAndHarmsNobody) {
  up();
  ASSERT_TRUE(cluster.apply(std::string(kClient) + R"(
---
apiVersion: v1
kind: Pod
metadata: {name: odd}
spec:
  nodeName: n1
  containers:
    - {name: main, image: nginx, command: [nginx]}
)"));
  EXPECT_TRUE(cluster.wait_pod_ready("client"));
  std::string text;
  EXPECT_TRUE(eventually([&] {
    text = json::serialize(cluster.get("pod odd"));
    return text.find("does not pull images") != std::string::npos;
  })) << text;
}

}  // namespace
}  // namespace trama::test
