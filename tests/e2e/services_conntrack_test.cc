// SPDX-License-Identifier: GPL-2.0-or-later
// Flows that outlive what they began with. A UDP flow never ends by itself while its client sends: if the node did not
// take its conntrack entry away, it would go to a dead pod for ever.
#include <csignal>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

class Conntrack : public ServiceSuite {
 protected:
  static std::string udp(const std::string& name, const std::string& more = "") {
    return service(name,
                   fmt::format("type: NodePort, ports: [{{port: 82, protocol: UDP, targetPort: {}}}]{}", kUdp, more));
  }
  static Flow flow(const std::string& from, const std::string& ip, int port, int type = SOCK_DGRAM) {
    return Flow(netns_path(from), type, ip, port);
  }
  // Until this pod answers the flow; each question is one more packet of the same flow.
  static ::testing::AssertionResult answered_by(Flow& f, const std::string& pod) {
    std::string last;
    if (eventually([&] { return (last = f.ask()) == pod; }, 8000)) return ::testing::AssertionSuccess();
    return ::testing::AssertionFailure() << "answered by \"" << last << "\" instead of " << pod;
  }
  static int entries(const std::string& node, const std::string& filter) {
    std::string output;
    cluster().on_node(node, "conntrack -L " + filter + " 2>/dev/null | wc -l", &output);
    return std::atoi(output.c_str());
  }
};

TEST_F(Conntrack, ClientsOfAClusterIpMoveToTheNewPod) {
  make(echo_pod({"cip-a", "n2", "cip"}) + udp("cip"));
  auto ip = cluster_ip("cip");
  auto from_pod = flow("n1.c1", ip, 82), from_node = flow("n1", ip, 82);
  ASSERT_TRUE(answered_by(from_pod, "cip-a"));
  ASSERT_TRUE(answered_by(from_node, "cip-a"));
  // The control: the kernel keeps the flow with its pod, also when there is another by now.
  make(echo_pod({"cip-b", "n3", "cip"}));
  ASSERT_TRUE(reaches("n1.c1", url("udp", ip, 82), {"cip-a", "cip-b"}));
  for (int i = 0; i < 5; ++i) EXPECT_EQ(from_pod.ask(), "cip-a");
  EXPECT_GE(entries("n1", "-p udp -d " + ip + " --reply-src " + cluster().pod_ip("cip-a")), 1);
  auto gone = cluster().pod_ip("cip-a");
  remove("pod/cip-a");
  EXPECT_TRUE(answered_by(from_pod, "cip-b"));
  EXPECT_TRUE(answered_by(from_node, "cip-b"));
  EXPECT_TRUE(eventually([&] { return entries("n1", "-p udp --reply-src " + gone) == 0; }));
}

TEST_F(Conntrack, ClientsOfANodePortMoveToTheNewPod) {
  make(echo_pod({"np-a", "n1", "np"}) + udp("np"));
  auto port = node_port("np");
  // A pod, another node, the outside; by a node that has no endpoint.
  auto pod = flow("n2.c2", ip_of("n2"), port), node = flow("n3", ip_of("n2"), port),
       outside = flow("hub", ip_of("n2"), port);
  for (auto* f : {&pod, &node, &outside}) ASSERT_TRUE(answered_by(*f, "np-a"));
  remove("pod/np-a");
  EXPECT_TRUE(answered_by(pod, "")) << "nobody is there";
  make(echo_pod({"np-b", "n3", "np"}));
  for (auto* f : {&pod, &node, &outside}) EXPECT_TRUE(answered_by(*f, "np-b"));
}

TEST_F(Conntrack, FlowsOfPodsThatStayAreLeftAlone) {
  make(echo_pods("stay", 2) + udp("stay"));
  auto ip = cluster_ip("stay");
  ASSERT_TRUE(reaches("n3.c3", url("udp", ip, 82), {"stay-1", "stay-2"}));
  std::map<std::string, Flow> flows;
  for (int i = 0; i < 40 && flows.size() < 2; ++i) {
    auto f = flow("n3.c3", ip, 82);
    auto pod = f.ask(1000);
    flows.try_emplace(pod, std::move(f));
  }
  ASSERT_EQ(flows.size(), 2u);
  auto id = [&] {
    std::string output;
    cluster().on_node("n3",
                      "conntrack -L -o id -p udp --reply-src " + cluster().pod_ip("stay-2") +
                          " 2>/dev/null | grep -o 'id=[0-9]*' | sort",
                      &output);
    return output;
  };
  auto before = id();
  ASSERT_NE(before, "");
  remove("pod/stay-1");
  EXPECT_TRUE(answered_by(flows["stay-1"], "stay-2"));
  EXPECT_EQ(flows["stay-2"].ask(), "stay-2");
  std::string after = id();
  for (std::size_t at = 0; at < before.size(); at = before.find('\n', at) + 1) {
    auto one = before.substr(at, before.find('\n', at) - at);
    EXPECT_NE(after.find(one), std::string::npos) << one << " was taken away: " << after;
  }
}

TEST_F(Conntrack, APodThatBecomesReadyLate) {
  // Ready once its file is there.
  auto pod =
      echo_pod({"late", "n2"}) + "      readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1}\n";
  ASSERT_TRUE(cluster().apply(pod + udp("late")));
  auto ip = cluster_ip("late");
  EXPECT_TRUE(refused("n1.c1", url("udp", ip, 82)));
  auto cluster_flow = flow("n1.c1", ip, 82), node_flow = flow("n1.c1", ip_of("n1"), node_port("late"));
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(cluster_flow.ask(100), "");
    EXPECT_EQ(node_flow.ask(100), "");
  }
  std::string output;
  ASSERT_TRUE(eventually([&] { return cluster().trama("exec late -- touch /tmp/ready", &output) == 0; })) << output;
  EXPECT_TRUE(answered_by(cluster_flow, "late"));
  EXPECT_TRUE(answered_by(node_flow, "late"));
}

// Packets for an address that nobody had yet make flows, too: to nowhere.
TEST_F(Conntrack, AServiceThatComesAfterItsClients) {
  make(echo_pod({"early", "n2"}));
  auto wanted = "10.96.77.77";
  auto pod = flow("n1.c1", wanted, 82), node = flow("n1", wanted, 82);
  for (auto* f : {&pod, &node}) EXPECT_EQ(f->ask(100), "");
  auto port = flow("n1.c1", ip_of("n3"), 30777), outside = flow("hub", ip_of("n3"), 30777);
  for (auto* f : {&port, &outside}) EXPECT_EQ(f->ask(100), "");
  make(service("early", fmt::format("type: NodePort, clusterIP: {}, ports: [{{port: 82, protocol: UDP, targetPort: {}, "
                                    "nodePort: 30777}}]",
                                    wanted, kUdp)));
  for (auto* f : {&pod, &node, &port, &outside}) EXPECT_TRUE(answered_by(*f, "early"));
}

// Somebody deletes the rules, and the agent is slow: what begins meanwhile is not translated, and conntrack does not
// ask twice. When the rules are back, so must be these clients.
TEST_F(Conntrack, FlowsThatBeganWhileRulesWereMissing) {
  make(echo_pods("gap", 1) +
       service("gap", fmt::format("type: NodePort, ports: [{{name: t, port: 81, targetPort: {}}}, {{name: u, port: 82, "
                                  "protocol: UDP, targetPort: {}}}]",
                                  kTcp, kUdp)));
  auto ip = cluster_ip("gap");
  ASSERT_TRUE(reaches("n2.c2", url("tcp", ip, 81), {"gap-1"}));
  ASSERT_TRUE(reaches("hub", url("udp", ip_of("n2"), node_port("gap", 1)), {"gap-1"}));
  auto agent = cluster().agent_pid("n2");
  ASSERT_EQ(::kill(agent, SIGSTOP), 0);
  std::string output;
  EXPECT_EQ(cluster().on_node("n2", "nft delete table ip trama", &output), 0) << output;
  auto cluster_flow = flow("n2.c2", ip, 82), node_flow = flow("n2", ip, 82);
  Flow connection;
  std::thread connecting([&] { connection = flow("n2.c2", ip, 81, SOCK_STREAM); });
  for (auto* f : {&cluster_flow, &node_flow}) EXPECT_EQ(f->ask(100), "") << "the control: there are no rules";
  // The control: these flows are known, as what they should not be.
  EXPECT_TRUE(eventually([&] {
    return entries("n2", "-p udp -d " + ip + " --reply-src " + ip) >= 2 &&
           entries("n2", "-p tcp -d " + ip + " --reply-src " + ip) >= 1;
  }));
  ASSERT_EQ(::kill(agent, SIGCONT), 0);
  EXPECT_TRUE(answered_by(cluster_flow, "gap-1"));
  EXPECT_TRUE(answered_by(node_flow, "gap-1"));
  connecting.join();
  EXPECT_EQ(connection.ask(1000), "answered");
}

TEST_F(Conntrack, ATargetPortThatChanges) {
  // One pod with two servers that give themselves different names.
  auto pod = echo_pod({"turn", "n2"});
  auto exec = pod.find("exec trama");
  pod.insert(exec, "TRAMA_POD=turn-b trama echo --http :9080 --udp :9082 & ");
  make(pod + udp("turn"));
  auto ip = cluster_ip("turn");
  auto cluster_flow = flow("n1.c1", ip, 82), node_flow = flow("hub", ip_of("n1"), node_port("turn"));
  ASSERT_TRUE(answered_by(cluster_flow, "turn"));
  ASSERT_TRUE(answered_by(node_flow, "turn"));
  auto port = node_port("turn");
  change(
      "turn",
      fmt::format(R"({{"spec":{{"ports":[{{"port":82,"protocol":"UDP","targetPort":9082,"nodePort":{}}}]}}}})", port));
  EXPECT_TRUE(answered_by(cluster_flow, "turn-b"));
  EXPECT_TRUE(answered_by(node_flow, "turn-b"));
  remove("pod/turn");
}

TEST_F(Conntrack, TcpConnectionsGoOnUntilTheirPodEnds) {
  make(echo_pods("tcp", 2) + service("tcp", fmt::format("ports: [{{port: 81, targetPort: {}}}]", kTcp)));
  auto ip = cluster_ip("tcp");
  ASSERT_TRUE(reaches("n3.c3", url("tcp", ip, 81), {"tcp-1", "tcp-2"}));
  auto connection = flow("n3.c3", ip, 81, SOCK_STREAM);
  ASSERT_EQ(connection.ask(1000), "answered");
  // Neither the Service nor its rules are needed by a connection that there is.
  remove("service/tcp");
  EXPECT_TRUE(dropped("n3.c3", url("tcp", ip, 81)));
  EXPECT_EQ(connection.ask(1000), "answered");
  remove("pod/tcp-1 pod/tcp-2");
  EXPECT_TRUE(eventually([&] { return connection.ask(100) != "answered"; })) << "the control";
}

}  // namespace
}  // namespace trama::test
