// SPDX-License-Identifier: GPL-2.0-or-later
// Who reaches what: every kind of client, protocol and address; endpoints that come and go.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "control/api/object.h"
#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

class Basics : public ServiceSuite {};

const std::string kThreePorts = fmt::format(
    "ports: [{{name: http, port: 80, targetPort: {}}}, {{name: tcp, port: 81, targetPort: {}}}, "
    "{{name: udp, port: 82, protocol: UDP, targetPort: {}}}]",
    kHttp, kTcp, kUdp);

TEST_F(Basics, EndpointsFollowThePods) {
  make(service("follow"));
  auto http = url("http", cluster_ip("follow"), 80);
  EXPECT_TRUE(refused("n1.c1", http)) << "no endpoint yet";
  make(echo_pod({"follow-a", "n1", "follow"}));
  EXPECT_TRUE(reaches("n3.c3", http, {"follow-a"}));
  make(echo_pod({"follow-b", "n2", "follow"}));
  EXPECT_TRUE(reaches("n3.c3", http, {"follow-a", "follow-b"}));
  remove("pod/follow-a");
  EXPECT_TRUE(reaches("n3.c3", http, {"follow-b"}));
  remove("pod/follow-b");
  EXPECT_TRUE(refused("n3.c3", http));
}

// Clients: a pod, a node, the endpoint itself (hairpin). Addresses: the ClusterIP, the node port of every node.
TEST_F(Basics, PodsNodesAndEndpointsReachEveryAddressOverEveryProtocol) {
  make(echo_pods("all") + service("all", "type: NodePort, " + kThreePorts));
  auto cluster_ip_of_all = cluster_ip("all");
  const Names everyone{"all-1", "all-2", "all-3"};
  const std::pair<const char*, int> protocols[] = {{"http", 80}, {"tcp", 81}, {"udp", 82}};
  for (std::string from : {"n1.c1", "n1", "n1.all-1", "hub"}) {
    for (int i = 0; i < 3; ++i) {
      auto [protocol, port] = protocols[i];
      // From outside there is no route to the Service range.
      if (from != "hub") {
        EXPECT_TRUE(reaches(from, url(protocol, cluster_ip_of_all, port), everyone));
      }
      for (auto node : {"n1", "n2", "n3"})
        EXPECT_TRUE(reaches(from, url(protocol, ip_of(node), node_port("all", i)), everyone)) << node;
    }
  }
}

TEST_F(Basics, AServiceWithOneEndpointIsReachedByIt) {
  make(echo_pod({"mirror", "n2"}) + service("mirror", "type: NodePort, " + kThreePorts));
  auto ip = cluster_ip("mirror");
  for (auto [protocol, port] : {std::pair("http", 80), std::pair("tcp", 81), std::pair("udp", 82)})
    EXPECT_TRUE(reaches("n2.mirror", url(protocol, ip, port), {"mirror"}));
  EXPECT_TRUE(reaches("n2.mirror", url("http", ip_of("n1"), node_port("mirror")), {"mirror"})) << "by way of n1";
  EXPECT_TRUE(reaches("n2.mirror", url("http", ip_of("n2"), node_port("mirror")), {"mirror"}));
}

// Endpoints that somebody writes for a Service without a selector reach nodes by way of mirrored slices.
TEST_F(Basics, EndpointsOfPeopleAreServed) {
  make(echo_pod({"own-a", "n1"}) + echo_pod({"own-b", "n2"}));
  auto endpoints = [&](const std::string& pod, const std::string& labels = "") {
    return fmt::format(
        "---\napiVersion: v1\nkind: Endpoints\nmetadata: {{name: own, labels: {{{}}}}}\n"
        "subsets: [{{addresses: [{{ip: {}}}], ports: [{{port: {}}}]}}]\n",
        labels, cluster().pod_ip(pod), kHttp);
  };
  make(
      fmt::format("---\napiVersion: v1\nkind: Service\nmetadata: {{name: own}}\nspec: {{ports: [{{port: 80, "
                  "targetPort: {}}}]}}\n",
                  kHttp));
  auto http = url("http", cluster_ip("own"), 80);
  EXPECT_TRUE(refused("n3.c3", http)) << "nobody has said who is behind it";
  make(endpoints("own-a"));
  EXPECT_TRUE(reaches("n3.c3", http, {"own-a"}));
  make(endpoints("own-b"));
  EXPECT_TRUE(reaches("n3.c3", http, {"own-b"}));
  make(endpoints("own-b", "endpointslice.kubernetes.io/skip-mirror: 'true'"));
  EXPECT_TRUE(refused("n3.c3", http)) << "not to be mirrored";
}

TEST_F(Basics, PodsKeepTheirAddressTowardsAClusterIp) {
  make(echo_pod({"sees", "n1"}) + service("sees", "type: NodePort"));
  auto http = url("http", cluster_ip("sees"), 80);
  for (auto [place, pod] : {std::pair("n1.c1", "c1"), std::pair("n2.c2", "c2")}) {
    ASSERT_TRUE(reaches(place, http, {"sees"}));
    EXPECT_EQ(client_address(ask(place, http).last), cluster().pod_ip(pod));
  }
  // The control: by the node port of another node the pod's address is not kept.
  auto seen = ask("n2.c2", url("http", ip_of("n3"), node_port("sees")));
  EXPECT_EQ(seen.failures, 0) << seen.text();
  EXPECT_NE(client_address(seen.last), cluster().pod_ip("c2"));
  EXPECT_NE(client_address(seen.last), "");
}

TEST_F(Basics, LargeRequestsAndAnswers) {
  make(echo_pod({"large", "n2"}) + service("large", "type: NodePort, " + kThreePorts));
  auto ip = cluster_ip("large");
  ASSERT_TRUE(reaches("n1.c1", url("udp", ip, 82), {"large"}));
  std::string output;
  for (auto address : {ip + ":80", fmt::format("{}:{}", ip_of("n3"), node_port("large", 0))}) {
    EXPECT_EQ(cluster().on_node(
                  "n1.c1", fmt::format("curl -sS --max-time 10 'http://{}/bytes?n=5000000' | wc -c", address), &output),
              0);
    EXPECT_EQ(output, "5000000\n");
    EXPECT_EQ(cluster().on_node("n1.c1",
                                fmt::format("head -c 3000000 /dev/zero | curl -sS --max-time 10 --data-binary @- -H "
                                            "'Expect:' -o /dev/null -w '%{{http_code}}' http://{}/",
                                            address),
                                &output),
              0);
    EXPECT_EQ(output, "200");
  }
  // Fragments: conntrack puts them together before they meet a port.
  auto big = [&](const std::string& to, int port) {
    return fmt::format(
        "python3 -c 'import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); "
        "s.connect((\"{}\", {})); s.send(b\"y\" * 10000); print(s.recv(65535).count(b\"y\") >= 10000)'",
        to, port);
  };
  for (auto from : {"n1.c1", "n1"}) {
    cluster().on_node(from, big(ip, 82), &output);
    EXPECT_EQ(output, "True\n") << from;
    cluster().on_node(from, big(ip_of("n3"), node_port("large", 2)), &output);
    EXPECT_EQ(output, "True\n") << from << " by the node port";
  }
}

TEST_F(Basics, EachPortHasTheEndpointsThatHaveIt) {
  auto ports = [](const std::string& name, int number) {
    return fmt::format("ports: [{{name: {}, containerPort: {}}}]", name, number);
  };
  make(echo_pod({"first", "n1", "ports", "", ports("one", kHttp)}) +
       echo_pod({"second", "n2", "ports", "", ports("two", kHttp)}) +
       service("ports", "ports: [{name: a, port: 80, targetPort: one}, {name: b, port: 81, targetPort: two}]"));
  auto ip = cluster_ip("ports");
  EXPECT_TRUE(reaches("n3.c3", url("http", ip, 80), {"first"}));
  EXPECT_TRUE(reaches("n3.c3", url("http", ip, 81), {"second"}));
  remove("pod/second");
  EXPECT_TRUE(refused("n3.c3", url("http", ip, 81)));
  EXPECT_TRUE(reaches("n3.c3", url("http", ip, 80), {"first"}));
}

TEST_F(Basics, ANamedTargetPortMayDifferFromPodToPod) {
  auto named = [](int number) { return fmt::format("ports: [{{name: web, containerPort: {}}}]", number); };
  make(echo_pod({"old", "n1", "named", "", named(kHttp)}) +
       echo_pod({"new", "n2", "named", "--http :9090", named(9090)}) +
       service("named", "type: NodePort, ports: [{port: 80, targetPort: web}]"));
  EXPECT_TRUE(reaches("n3.c3", url("http", cluster_ip("named"), 80), {"old", "new"}));
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), node_port("named")), {"old", "new"}));
  // The server knows its own port: nobody was sent to 8080 of the pod that names 9090.
  remove("pod/old");
  std::string output;
  ASSERT_TRUE(reaches("n2.c2", url("http", cluster_ip("named"), 80), {"new"}));
  EXPECT_TRUE(eventually([&] {
    return cluster().trama("get endpointslices -l kubernetes.io/service-name=named -o json", &output) == 0 &&
           output.find("9090") != std::string::npos && output.find("8080") == std::string::npos;
  })) << output;
}

TEST_F(Basics, OnePortNumberForTcpAndUdp) {
  make(echo_pods("both", 2) +
       service("both", fmt::format("type: NodePort, ports: [{{name: t, port: 53, targetPort: {}, nodePort: 30053}}, "
                                   "{{name: u, port: 53, protocol: UDP, targetPort: {}, nodePort: 30053}}]",
                                   kTcp, kUdp)));
  const Names two{"both-1", "both-2"};
  for (std::string protocol : {"tcp", "udp"}) {
    EXPECT_TRUE(reaches("n3.c3", url(protocol, cluster_ip("both"), 53), two));
    EXPECT_TRUE(reaches("n3", url(protocol, ip_of("n3"), 30053), two));
    EXPECT_TRUE(reaches("hub", url(protocol, ip_of("n3"), 30053), two));
  }
  // Without the one the other stays.
  change("both",
         fmt::format(R"({{"spec":{{"ports":[{{"name":"t","port":53,"targetPort":{},"nodePort":30053}}]}}}})", kTcp));
  EXPECT_TRUE(refused("n3.c3", url("udp", cluster_ip("both"), 53)));
  EXPECT_TRUE(refused("hub", url("udp", ip_of("n3"), 30053)));
  EXPECT_TRUE(reaches("hub", url("tcp", ip_of("n3"), 30053), two));
}

TEST_F(Basics, RefusedAtOnceWithoutEndpoints) {
  make(service("nobody", "type: NodePort, " + kThreePorts));
  auto ip = cluster_ip("nobody");
  for (auto [protocol, port, i] : {std::tuple("http", 80, 0), std::tuple("tcp", 81, 1), std::tuple("udp", 82, 2)}) {
    for (auto from : {"n1.c1", "n1"}) EXPECT_TRUE(refused(from, url(protocol, ip, port)));
    for (auto from : {"n1.c1", "n1", "hub"})
      EXPECT_TRUE(refused(from, url(protocol, ip_of("n2"), node_port("nobody", i))));
  }
  // A port that the Service does not have is refused likewise; an address that no Service has is dropped.
  EXPECT_TRUE(refused("n1.c1", url("tcp", ip, 999)));
  EXPECT_TRUE(dropped("n1.c1", url("tcp", "10.96.255.250", 80)));
  make(echo_pod({"nobody-1", "n3", "nobody"}));
  EXPECT_TRUE(reaches("n1.c1", url("tcp", ip, 81), {"nobody-1"})) << "the control: the same address with an endpoint";
}

}  // namespace
}  // namespace trama::test
