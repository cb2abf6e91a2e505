// SPDX-License-Identifier: GPL-2.0-or-later
// Kinds of Services and of endpoints: types that change, labels that keep agents away, slices written by hand.
#include <csignal>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "control/api/object.h"
#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

class Kinds : public ServiceSuite {
 protected:
  // Whether the node's rules name the Service at all.
  static bool programmed(const std::string& name) {
    return cluster().on_node("n1", "nft list table ip trama | grep -q '\"default/" + name + "[: \"]'") == 0;
  }
};

TEST_F(Kinds, TypesChangeBackAndForth) {
  make(echo_pods("kind", 2) + service("kind", "type: ExternalName, externalName: example.org"));
  const Names both{"kind-1", "kind-2"};
  EXPECT_EQ(cluster_ip("kind"), "");
  EXPECT_FALSE(programmed("kind"));

  change("kind", R"({"spec":{"type":"ClusterIP","externalName":null,"ports":[{"port":80,"targetPort":8080}]}})");
  auto ip = cluster_ip("kind");
  ASSERT_NE(ip, "");
  EXPECT_TRUE(reaches("n3.c3", url("http", ip, 80), both));
  EXPECT_TRUE(programmed("kind")) << "the control of what follows";

  change("kind", R"({"spec":{"type":"ExternalName","externalName":"example.org","clusterIP":null,"clusterIPs":null,)"
                 R"("ports":null}})");
  EXPECT_TRUE(dropped("n3.c3", url("http", ip, 80))) << "an address of nobody";
  EXPECT_TRUE(eventually([&] { return !programmed("kind"); }));

  change("kind", R"({"spec":{"type":"NodePort","externalName":null,"ports":[{"port":80,"targetPort":8080}]}})");
  auto port = node_port("kind");
  ASSERT_GE(port, 30000);
  EXPECT_TRUE(reaches("n3.c3", url("http", cluster_ip("kind"), 80), both));
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n3"), port), both));

  change("kind", R"({"spec":{"type":"ClusterIP","ports":[{"port":80,"targetPort":8080,"nodePort":null}]}})");
  EXPECT_TRUE(refused("hub", url("http", ip_of("n3"), port)));
  EXPECT_TRUE(reaches("n3.c3", url("http", cluster_ip("kind"), 80), both));

  change("kind", R"({"spec":{"type":"NodePort"}})");
  port = node_port("kind");
  EXPECT_TRUE(reaches("hub", url("http", ip_of("n1"), port), both));
  change("kind", R"({"spec":{"type":"ExternalName","externalName":"example.org","clusterIP":null,"clusterIPs":null,)"
                 R"("ports":null}})");
  EXPECT_TRUE(refused("hub", url("http", ip_of("n1"), port)));
}

// Both labels mean that somebody else serves the Service.
TEST_F(Kinds, LabelsKeepAgentsAway) {
  for (std::string label : {"service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"}) {
    auto name = label.substr(label.find('/') + 1);
    SCOPED_TRACE(name);
    make(echo_pods(name, 2) + service(name) +
         service(name + "-never", "selector: {app: " + name + "}", "labels: {" + label + ": other}"));
    const Names both{name + "-1", name + "-2"};
    auto http = url("http", cluster_ip(name), 80);
    EXPECT_TRUE(reaches("n1.c1", http, both));
    // No rule: the address is one of the Service range that nobody has.
    EXPECT_TRUE(dropped("n1.c1", url("http", cluster_ip(name + "-never"), 80)));
    change(name, R"({"metadata":{"labels":{")" + label + R"(":"other"}}})");
    EXPECT_TRUE(dropped("n1.c1", http));
    EXPECT_TRUE(dropped("n1", http));
    change(name, R"({"metadata":{"labels":{")" + label + R"(":null}}})");
    EXPECT_TRUE(reaches("n1.c1", http, both));
  }
}

TEST_F(Kinds, EndpointsInSeveralSlices) {
  make(echo_pods("split") +
       "---\napiVersion: v1\nkind: Service\nmetadata: {name: parts}\nspec: {ports: [{name: http, "
       "port: 80}, {name: tcp, port: 81}]}\n");
  auto of = [](int i) { return fmt::format("{{addresses: [{}]}}", cluster().pod_ip(fmt::format("split-{}", i))); };
  auto http = fmt::format("{{name: http, port: {}}}", kHttp), tcp = fmt::format("{{name: tcp, port: {}}}", kTcp);
  auto ip = cluster_ip("parts");
  // Two addresses and two ports in one slice; one of them again in the other.
  make(slice("parts-a", "parts", of(1) + ", " + of(2), http + ", " + tcp) +
       slice("parts-b", "parts", of(2) + ", " + of(3), http));
  EXPECT_TRUE(reaches("n1.c1", url("http", ip, 80), {"split-1", "split-2", "split-3"}));
  EXPECT_TRUE(reaches("n1.c1", url("tcp", ip, 81), {"split-1", "split-2"}));
  remove("endpointslice/parts-a");
  EXPECT_TRUE(reaches("n1.c1", url("http", ip, 80), {"split-2", "split-3"}));
  EXPECT_TRUE(refused("n1.c1", url("tcp", ip, 81)));
  make(slice("parts-b", "parts", of(3), tcp));
  EXPECT_TRUE(reaches("n1.c1", url("tcp", ip, 81), {"split-3"}));
  EXPECT_TRUE(refused("n1.c1", url("http", ip, 80)));
}

// Pods with hostNetwork are refused in words; what listens on a node itself is an endpoint by a slice.
TEST_F(Kinds, EndpointsOnTheNodesThemselves) {
  std::string output;
  ASSERT_EQ(cluster().on_node("n2",
                              fmt::format("TRAMA_POD=on-n2 setsid {} echo --http :18080 --udp :18082 --drain 0s "
                                          ">/dev/null 2>&1 & echo $!",
                                          cluster().binary()),
                              &output),
            0);
  pid_t server = std::atoi(output.c_str());
  ASSERT_GT(server, 1);
  make(
      "---\napiVersion: v1\nkind: Service\nmetadata: {name: onnode}\nspec: {type: NodePort, ports: [{name: http, port: "
      "80}, {name: udp, port: 82, protocol: UDP}]}\n" +
      slice("onnode-a", "onnode", fmt::format("{{addresses: [{}], nodeName: n2}}", ip_of("n2")),
            "{name: http, port: 18080}, {name: udp, port: 18082, protocol: UDP}"));
  for (auto from : {"n1.c1", "n1", "n2.c2", "n2"}) {
    EXPECT_TRUE(reaches(from, url("http", cluster_ip("onnode"), 80), {"on-n2"}));
    EXPECT_TRUE(reaches(from, url("udp", cluster_ip("onnode"), 82), {"on-n2"}));
    for (auto node : {"n1", "n2"})
      EXPECT_TRUE(reaches(from, url("http", ip_of(node), node_port("onnode")), {"on-n2"})) << node;
  }
  EXPECT_TRUE(reaches("hub", url("udp", ip_of("n3"), node_port("onnode", 1)), {"on-n2"}));
  ::kill(server, SIGTERM);
  EXPECT_TRUE(refused("n1.c1", url("http", cluster_ip("onnode"), 80))) << "the control: it was this server";

  EXPECT_TRUE(
      cluster().apply("apiVersion: v1\nkind: Pod\nmetadata: {name: hostly}\nspec: {nodeName: n1, hostNetwork: "
                      "true, containers: [{name: c, image: host, command: [sleep, '9']}]}\n"));
  EXPECT_TRUE(eventually([&] {
    cluster().trama("get pod hostly -o json", &output);
    return output.find("spec.hostNetwork is not supported") != std::string::npos;
  })) << output;
  remove("pod/hostly");
}

TEST_F(Kinds, ExternalAddressesThatNoNodeHas) {
  make(echo_pods("ext", 2) + service("ext", "externalIPs: [198.51.100.9]"));
  const Names both{"ext-1", "ext-2"};
  auto http = url("http", "198.51.100.9", 80);
  std::string output;
  ASSERT_EQ(cluster().on_node("hub", "ip route replace 198.51.100.9/32 via " + ip_of("n3"), &output), 0) << output;
  for (auto from : {"n1.c1", "n1", "hub"}) EXPECT_TRUE(reaches(from, http, both));
  change("ext", R"({"spec":{"externalIPs":null}})");
  // The control: without the field the address leads nowhere (n3 sends it on to the hub, and so on until it dies).
  EXPECT_TRUE(eventually([&] { return ask("hub", http, 1, "--timeout 300ms").failures == 1; }));
  EXPECT_TRUE(eventually([&] { return ask("n1.c1", http, 1, "--timeout 300ms").failures == 1; }));
  ASSERT_EQ(cluster().on_node("hub", "ip route del 198.51.100.9/32"), 0);
}

TEST_F(Kinds, WrongFieldsAndAnnotationsAreRefusedInWords) {
  std::string output;
  auto refuses = [&](const std::string& manifest, const std::string& words) {
    EXPECT_NE(cluster().trama("apply -f -", &output, manifest), 0) << manifest;
    EXPECT_THAT(output, HasSubstr(words));
  };
  refuses(service("bad", "", "annotations: {trama.dev/algorithm: fastest}"),
          "metadata.annotations[trama.dev/algorithm]");
  EXPECT_THAT(output, HasSubstr("round-robin")) << "says what would do";
  refuses(service("bad", "", "annotations: {trama.dev/weights: a=1000}"), "metadata.annotations[trama.dev/weights]");
  refuses(service("bad", "", "annotations: {trama.dev/drain: soon}"), "metadata.annotations[trama.dev/drain]");
  refuses(service("bad", "", "annotations: {trama.dev/counters: maybe}"), "metadata.annotations[trama.dev/counters]");
  refuses(service("bad", "trafficDistribution: PreferMoon"), "spec.trafficDistribution");
  EXPECT_THAT(output, HasSubstr("PreferSameNode"));
  refuses(service("bad", "sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 90000}}"),
          "spec.sessionAffinityConfig.clientIP.timeoutSeconds");
  EXPECT_NE(cluster().trama("get service bad"), 0) << "nothing of it was kept";
  make(service("good", "", "annotations: {trama.dev/algorithm: round-robin}"));
}

}  // namespace
}  // namespace trama::test
