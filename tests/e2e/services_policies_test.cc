// SPDX-License-Identifier: GPL-2.0-or-later
// Traffic policies, node ports and load balancers: whose endpoints, and whose address the pod sees.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

class Policies : public ServiceSuite {
 protected:
  // The hub is what stands in front of the cluster: its packets for this address go to that node.
  static void route(const std::string& address, const std::string& node) {
    std::string output;
    EXPECT_EQ(cluster().on_node("hub", fmt::format("ip route replace {}/32 via {}", address, ip_of(node)), &output), 0)
        << output;
  }
  static std::string hub() { return "10.90.0.1"; }
  static std::string client_seen(const std::string& from, const std::string& url) {
    auto seen = ask(from, url);
    EXPECT_EQ(seen.failures, 0) << url << " from " << from << ": " << seen.text();
    return client_address(seen.last);
  }
  static std::string health(const std::string& node, int port) {
    return cluster().page(node, fmt::format("-i http://{}:{}/", ip_of(node), port));
  }
};

TEST_F(Policies, InternalLocalStaysOnTheNode) {
  make(echo_pods("inner", 2) + service("inner", "internalTrafficPolicy: Local, type: NodePort"));
  auto http = url("http", cluster_ip("inner"), 80);
  EXPECT_TRUE(reaches("n1.c1", http, {"inner-1"}));
  EXPECT_TRUE(reaches("n1", http, {"inner-1"}));
  EXPECT_TRUE(reaches("n2.c2", http, {"inner-2"}));
  EXPECT_TRUE(dropped("n3.c3", http)) << "there are endpoints, so it is not refused";
  EXPECT_TRUE(dropped("n3", http));
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), node_port("inner")), {"inner-1", "inner-2"}))
      << "the policy is for the ClusterIP only";
  change("inner", R"({"spec":{"internalTrafficPolicy":"Cluster"}})");
  EXPECT_TRUE(reaches("n3.c3", http, {"inner-1", "inner-2"}));
}

TEST_F(Policies, ExternalLocalKeepsTheClientsAddress) {
  make(echo_pod({"outer", "n1"}) + service("outer", "type: NodePort, externalTrafficPolicy: Local"));
  auto port = node_port("outer");
  auto at = [&](const std::string& node) { return url("http", ip_of(node), port); };
  ASSERT_TRUE(reaches("hub", at("n1"), {"outer"}));
  EXPECT_EQ(client_seen("hub", at("n1")), hub());
  EXPECT_TRUE(dropped("hub", at("n2"))) << "no endpoint there";
  // What begins on the node itself is not outside: any endpoint will do. Whoever comes from another node is, pods too:
  // towards a node's address they are masqueraded by their own.
  for (auto from : {"n2.c2", "n2"}) EXPECT_TRUE(reaches(from, at("n2"), {"outer"})) << from;
  for (auto from : {"n3.c3", "n3"}) EXPECT_TRUE(dropped(from, at("n2"))) << from;
  EXPECT_TRUE(reaches("n1.c1", url("http", cluster_ip("outer"), 80), {"outer"}));

  change("outer", R"({"spec":{"externalTrafficPolicy":"Cluster"}})");
  EXPECT_TRUE(reaches("hub", at("n2"), {"outer"}));
  EXPECT_NE(client_seen("hub", at("n2")), hub()) << "the control: by another node the address is that node's";
}

TEST_F(Policies, ALoadBalancerAddressIsServedByEveryNode) {
  make(echo_pods("cloud", 2) + service("cloud", "type: LoadBalancer"));
  const Names both{"cloud-1", "cloud-2"};
  auto http = url("http", "198.51.100.20", 80);
  route("198.51.100.20", "n3");
  // The control: before the status says so, nobody knows the address.
  EXPECT_EQ(ask("hub", http, 1, "--timeout 300ms").answers, 0);
  give_load_balancer("cloud", R"([{"ip":"198.51.100.20"}])");
  for (auto from : {"hub", "n1.c1", "n2"}) EXPECT_TRUE(reaches(from, http, both)) << from;
  std::string output;
  cluster().trama("get service cloud", &output);
  EXPECT_THAT(output, HasSubstr("198.51.100.20"));

  change("cloud", R"({"spec":{"loadBalancerSourceRanges":["203.0.113.0/24"]}})");
  EXPECT_TRUE(dropped("hub", http)) << "not one of them";
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), node_port("cloud")), both)) << "node ports have no such list";
  change("cloud", R"({"spec":{"loadBalancerSourceRanges":["203.0.113.0/24","10.90.0.0/29"]}})");
  EXPECT_TRUE(reaches("hub", http, both));

  give_load_balancer("cloud", R"([{"ip":"198.51.100.20","ipMode":"Proxy"}])");
  EXPECT_TRUE(eventually([&] { return ask("hub", http, 1, "--timeout 300ms").answers == 0; }))
      << "the balancer wants its traffic for itself";
}

TEST_F(Policies, ALoadBalancerWithLocalPolicyKeepsTheClientsAddress) {
  make(echo_pod({"near", "n1"}) + service("near", "type: LoadBalancer, externalTrafficPolicy: Local"));
  give_load_balancer("near", R"([{"ip":"198.51.100.21"}])");
  auto http = url("http", "198.51.100.21", 80);
  route("198.51.100.21", "n1");
  ASSERT_TRUE(reaches("hub", http, {"near"}));
  EXPECT_EQ(client_seen("hub", http), hub());
  for (auto from : {"n2.c2", "n3"}) EXPECT_TRUE(reaches(from, http, {"near"})) << from;
  route("198.51.100.21", "n2");
  EXPECT_TRUE(dropped("hub", http));
  change("near", R"({"spec":{"externalTrafficPolicy":"Cluster"}})");
  EXPECT_TRUE(reaches("hub", http, {"near"}));
  EXPECT_NE(client_seen("hub", http), hub());
}

TEST_F(Policies, HealthChecksTellWhichNodesHaveEndpoints) {
  make(echo_pod({"sound", "n1", "", "", "", "15s"}) +
       service("sound", "type: LoadBalancer, externalTrafficPolicy: Local"));
  auto object = cluster().get("service sound");
  auto port = static_cast<int>(object.at_pointer("/spec/healthCheckNodePort").to_number<int>());
  ASSERT_GE(port, 30000);
  std::string page;
  auto says = [&](const std::string& node, const std::string& words) {
    return eventually([&] { return (page = health(node, port)).find(words) != std::string::npos; });
  };
  EXPECT_TRUE(says("n1", "HTTP/1.1 200")) << page;
  EXPECT_THAT(page, HasSubstr("\"localEndpoints\":1"));
  EXPECT_TRUE(says("n2", "HTTP/1.1 503")) << page;
  EXPECT_THAT(page, HasSubstr("\"localEndpoints\":0"));
  // From the balancer's side, too.
  EXPECT_EQ(
      cluster().on_node("hub", fmt::format("curl -sS -o /dev/null --max-time 2 http://{}:{}/", ip_of("n1"), port)), 0);
  make(echo_pod({"sound-2", "n2", "sound"}));
  EXPECT_TRUE(says("n2", "HTTP/1.1 200")) << page;
  // A terminating pod still answers, but no new balancer should be sent to its node.
  remove("pod/sound", "--wait=false");
  EXPECT_TRUE(says("n1", "HTTP/1.1 503")) << page;
  EXPECT_TRUE(reaches("n1.c1", url("http", cluster().pod_ip("sound"), kHttp), {"sound"})) << "it still answers";
  remove("pod/sound");
  change("sound", R"({"spec":{"externalTrafficPolicy":"Cluster"}})");
  EXPECT_TRUE(eventually([&] { return health("n2", port).find("HTTP/1.1") == std::string::npos; }))
      << "no port any more";
}

TEST_F(Policies, ANodePortThatChanges) {
  make(echo_pods("moves", 2) + service("moves", "type: NodePort"));
  const Names both{"moves-1", "moves-2"};
  auto before = node_port("moves");
  auto after = before == 31999 ? 31998 : 31999;
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), before), both));
  change("moves", fmt::format(R"({{"spec":{{"ports":[{{"port":80,"targetPort":{},"nodePort":{}}}]}}}})", kHttp, after));
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), after), both));
  EXPECT_TRUE(refused("hub", url("http", ip_of("n3"), before)));
  // What somebody has is not given twice.
  std::string output;
  EXPECT_NE(
      cluster().trama("apply -f -", &output,
                      service("thief", fmt::format("type: NodePort, ports: [{{port: 80, nodePort: {}}}]", after))),
      0);
  EXPECT_THAT(output, HasSubstr("provided port is already allocated"));
}

}  // namespace
}  // namespace trama::test
