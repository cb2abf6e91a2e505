// SPDX-License-Identifier: GPL-2.0-or-later
// Session affinity: a client keeps its pod. Without it every test here would see several pods, and does.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

class Affinity : public ServiceSuite {
 protected:
  static void SetUpTestSuite() {
    ServiceSuite::SetUpTestSuite();
    if (!HasFailure()) make(echo_pods("pod"));
  }
  static inline const Names kAll{"pod-1", "pod-2", "pod-3"};
  static std::string sticky(const std::string& name, const std::string& more = "") {
    return service(name, "selector: {app: pod}, sessionAffinity: ClientIP" + more);
  }
  // The pod that answers all of many requests; "" when there are several.
  static std::string only(const std::string& from, const std::string& url, int count = 15) {
    auto seen = ask(from, url, count);
    EXPECT_EQ(seen.failures, 0) << url << " from " << from << ": " << seen.text();
    return seen.pods.size() == 1 ? seen.pods.begin()->first : "";
  }
  // Waits until one pod answers all of them.
  static std::string settled(const std::string& from, const std::string& url) {
    std::string pod;
    EXPECT_TRUE(eventually([&] {
      auto seen = ask(from, url, kDraws);
      pod = seen.failures == 0 && seen.pods.size() == 1 ? seen.pods.begin()->first : "";
      return !pod.empty();
    })) << url
        << " from " << from;
    return pod;
  }
  // How many clients the node remembers for the Service's port.
  static int remembered(const std::string& node, const std::string& name) {
    std::string output;
    cluster().trama("service " + name + " --node " + node + " -o json", &output);
    boost::system::error_code ec;
    auto page = json::parse(output, ec);
    if (ec) return -1;
    auto* n = page.find_pointer("/ports/0/affinityEntries", ec);
    return n && !ec && n->is_number() ? n->to_number<int>() : -1;
  }
};

TEST_F(Affinity, ClientsOfAClusterIpKeepTheirPod) {
  make(sticky("keep") + service("loose", "selector: {app: pod}"));
  auto http = url("http", cluster_ip("keep"), 80);
  for (auto from : {"n1.c1", "n2.c2", "n3.c3", "n1", "n3", "n2.pod-2"}) {
    auto pod = settled(from, http);
    EXPECT_EQ(only(from, http), pod) << from;
  }
  EXPECT_TRUE(reaches("n1.c1", url("http", cluster_ip("loose"), 80), kAll)) << "the control: without affinity";
}

TEST_F(Affinity, ItIsSwitchedOnAndOffForAClusterIp) {
  make(service("switch", "selector: {app: pod}"));
  auto http = url("http", cluster_ip("switch"), 80);
  EXPECT_TRUE(reaches("n1.c1", http, kAll));
  change("switch", R"({"spec":{"sessionAffinity":"ClientIP"}})");
  auto pod = settled("n1.c1", http);
  EXPECT_EQ(only("n1.c1", http), pod);
  change("switch", R"({"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}})");
  EXPECT_TRUE(reaches("n1.c1", http, kAll));
}

TEST_F(Affinity, ClientsOfANodePortKeepTheirPod) {
  make(service("port", "type: NodePort, selector: {app: pod}"));
  auto http = url("http", ip_of("n2"), node_port("port"));
  EXPECT_TRUE(reaches("hub", http, kAll));
  change("port", R"({"spec":{"sessionAffinity":"ClientIP"}})");
  for (auto from : {"hub", "n1.c1", "n2"}) {
    auto pod = settled(from, http);
    EXPECT_EQ(only(from, http), pod) << from;
  }
  change("port", R"({"spec":{"sessionAffinity":"None","sessionAffinityConfig":null}})");
  EXPECT_TRUE(reaches("hub", http, kAll));
}

TEST_F(Affinity, UdpClientsKeepTheirPod) {
  make(service("udp", fmt::format("selector: {{app: pod}}, sessionAffinity: ClientIP, ports: [{{port: 82, protocol: "
                                  "UDP, targetPort: {}}}]",
                                  kUdp)));
  auto udp = url("udp", cluster_ip("udp"), 82);
  auto pod = settled("n1.c1", udp);
  EXPECT_EQ(only("n1.c1", udp), pod);
}

// As docs/services.md says: per Service, where kube-proxy remembers each port for itself.
TEST_F(Affinity, AClientHasThePodOnEveryPort) {
  make(
      service("ports",
              fmt::format("selector: {{app: pod}}, sessionAffinity: ClientIP, ports: [{{name: a, port: 80, targetPort: "
                          "{}}}, {{name: b, port: 81, targetPort: {}}}]",
                          kHttp, kTcp)));
  auto ip = cluster_ip("ports");
  for (auto from : {"n1.c1", "n2.c2", "n3.c3", "n1", "n2", "n3"}) {
    auto pod = settled(from, url("http", ip, 80));
    EXPECT_EQ(only(from, url("tcp", ip, 81)), pod) << from;
  }
}

TEST_F(Affinity, AClientIsForgottenAfterTheTimeout) {
  make(sticky("short", ", sessionAffinityConfig: {clientIP: {timeoutSeconds: 1}}"));
  auto http = url("http", cluster_ip("short"), 80);
  settled("n1.c1", http);
  // Whoever goes on asking is not forgotten, for longer than the timeout.
  auto seen = ask("n1.c1", http, 1, "--for 1800ms --interval 100ms");
  EXPECT_EQ(seen.pods.size(), 1u) << seen.text();
  EXPECT_EQ(seen.failures, 0) << seen.text();
  EXPECT_EQ(remembered("n1", "short"), 1) << "the control";
  // Each time the client has been forgotten any pod may be drawn; the same one 14 times is one chance in 1.6 million.
  Names drawn;
  for (int i = 0; i < 14 && drawn.size() < 2; ++i) {
    ASSERT_TRUE(eventually([] { return remembered("n1", "short") == 0; }));
    for (const auto& pod : ask("n1.c1", http).who()) drawn.insert(pod);
  }
  EXPECT_GE(drawn.size(), 2u);
}

TEST_F(Affinity, AClientWhosePodHasGoneGetsAnother) {
  make(echo_pods("going", 2) + service("going", "sessionAffinity: ClientIP"));
  auto http = url("http", cluster_ip("going"), 80);
  auto pod = settled("n1.c1", http);
  remove("pod/" + pod);
  auto other = pod == "going-1" ? "going-2" : "going-1";
  EXPECT_TRUE(reaches("n1.c1", http, {other}));
}

TEST_F(Affinity, TheNewAgentRemembersClients) {
  make(sticky("restart"));
  auto http = url("http", cluster_ip("restart"), 80);
  std::map<std::string, std::string> before;
  const std::string clients[] = {"n1.c1", "n1", "n1.pod-1"};
  for (const auto& from : clients) before[from] = settled(from, http);
  cluster().stop_agent("n1");
  for (const auto& from : clients) EXPECT_EQ(only(from, http), before[from]) << from << " without an agent";
  cluster().start_agent("n1");
  ASSERT_TRUE(eventually([] { return cluster().metric("n1", "trama_agent_ready") == 1; }, 15000));
  for (const auto& from : clients) EXPECT_EQ(only(from, http), before[from]) << from;
}

}  // namespace
}  // namespace trama::test
