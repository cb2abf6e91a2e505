// SPDX-License-Identifier: GPL-2.0-or-later
// Names in pods, asked by the C library and by dig: every node answers its own pods at the cluster's DNS address.
#include <csignal>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kWorld = R"(
apiVersion: v1
kind: Pod
metadata: {name: db-0, labels: {app: db}}
spec:
  nodeName: n1
  hostname: db-0
  subdomain: db
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: db-1, labels: {app: db}}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers: [{name: main, image: host, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: sql, port: 5432}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: nobody}
  ports: [{name: http, port: 80}]
)";

class AgentDns : public testing::Test {
 protected:
  void up() {
    ASSERT_TRUE(cluster.ok());
    cluster.start_controller();
    for (const char* node : {"n1", "n2"}) cluster.add_node(node);
    for (const char* node : {"n1", "n2"}) ASSERT_TRUE(cluster.wait_node_ready(node));
    ASSERT_TRUE(cluster.apply(kWorld));
    for (const char* pod : {"db-0", "db-1", "client"}) ASSERT_TRUE(cluster.wait_pod_ready(pod)) << pod;
  }
  std::string in_client(const std::string& command) {
    std::string out;
    cluster.trama("exec client -- " + command, &out);
    return out;
  }
  std::string on(const std::string& node, const std::string& command) {
    std::string out;
    cluster.on_node(node, command, &out);
    return out;
  }
  bool answers() {
    return eventually([&] {
      return in_client("dig +short +time=1 +tries=1 web.default.svc.cluster.local") == cluster.cluster_ip("web") + "\n";
    });
  }
  Cluster cluster;
};

TEST_F(AgentDns, PodsFindServicesMembersAndAddressesByName) {
  up();
  EXPECT_THAT(in_client("cat /etc/resolv.conf"),
              HasSubstr("nameserver 10.96.0.10\nsearch default.svc.cluster.local svc.cluster.local cluster.local"));
  auto first = cluster.pod_ip("db-0"), second = cluster.pod_ip("db-1");
  // The C library, by the search list; the name is in no hosts file.
  EXPECT_TRUE(eventually([&] {
    auto found = in_client("getent ahostsv4 db");
    return found.find(first) != std::string::npos && found.find(second) != std::string::npos;
  })) << in_client("getent ahostsv4 db");
  EXPECT_THAT(in_client("getent ahostsv4 db-0.db"), HasSubstr(first));
  EXPECT_THAT(in_client("getent ahostsv4 db.default"), HasSubstr(first.substr(0, first.rfind('.'))));
  EXPECT_EQ(in_client("dig +short -x " + first), "db-0.db.default.svc.cluster.local.\n");
  EXPECT_THAT(in_client("dig +short SRV _sql._tcp.db.default.svc.cluster.local"),
              HasSubstr("5432 db-0.db.default.svc.cluster.local."));
  EXPECT_TRUE(answers());
  EXPECT_THAT(in_client("dig +tcp nobody.default.svc.cluster.local"), HasSubstr("NXDOMAIN"));
  // A member that ends is no longer found.
  EXPECT_EQ(cluster.trama("delete pod db-1"), 0);
  EXPECT_TRUE(eventually([&] { return in_client("getent ahostsv4 db").find(second) == std::string::npos; }));
  EXPECT_GT(cluster.metric("n1", "trama_dns_questions_total{result=\"answered\"}"), 0);
}

TEST_F(AgentDns, NoEntryIsKeptOfAQuestionAndDamageHeals) {
  up();
  ASSERT_TRUE(answers());
  // The control: another flow of the same pod is tracked.
  in_client("bash -c 'echo >/dev/udp/" + cluster.node_ip("n2") + "/9'");
  auto flows = on("n1", "conntrack -L -s " + cluster.pod_ip("client"));
  EXPECT_THAT(flows, Not(HasSubstr("dport=53 "))) << flows;
  EXPECT_THAT(flows, HasSubstr("dport=9 ")) << flows;
  on("n1", "ip addr del 10.96.0.10/32 dev trama0");
  EXPECT_TRUE(answers()) << "the address comes back";
  on("n1", "nft flush ruleset");
  EXPECT_TRUE(
      eventually([&] { return on("n1", "nft list table inet trama-overlay").find("@dns4") != std::string::npos; }));
  EXPECT_TRUE(answers());
  cluster.stop_agent("n1", SIGKILL);
  cluster.start_agent("n1");
  EXPECT_TRUE(answers()) << cluster.log("n1");
}

TEST_F(AgentDns, AServiceAtTheAddressTakesItOver) {
  up();
  ASSERT_TRUE(answers());
  ASSERT_TRUE(cluster.apply(R"(
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}]
)"));
  EXPECT_TRUE(eventually([&] { return on("n1", "ip addr show dev trama0").find("10.96.0.10/") == std::string::npos; }));
  EXPECT_THAT(cluster.log("n1"), HasSubstr("belongs to Service kube-system/kube-dns"));
  EXPECT_EQ(cluster.trama("delete service kube-dns -n kube-system"), 0);
  EXPECT_TRUE(answers());
}

}  // namespace
}  // namespace trama::test
