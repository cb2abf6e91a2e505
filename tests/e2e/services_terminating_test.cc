// SPDX-License-Identifier: GPL-2.0-or-later
// Endpoints that are going away serve when nobody else can: the four cases of KEP-1669. In each, the pods that are
// terminating still answer, so that only the node's choice is seen.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

class Terminating : public ServiceSuite {
 protected:
  static std::string slow_pod(const std::string& name, const std::string& node, const std::string& app) {
    return echo_pod({name, node, app, "", "", "18s"});
  }
  // Begins the end of a pod that goes on answering.
  static void begin_end(const std::string& pod) {
    remove("pod/" + pod, "--wait=false");
    EXPECT_TRUE(eventually([&] { return conditions(pod) == "false true true"; })) << conditions(pod);
  }
  // "ready serving terminating" of the pod's endpoint.
  static std::string conditions(const std::string& pod) {
    std::string output;
    cluster().trama("get endpointslices -o json", &output);
    boost::system::error_code ec;
    auto list = json::parse(output, ec);
    if (ec) return output;
    for (const auto& slice : list.at("items").as_array())
      for (const auto& e : slice.at("endpoints").as_array()) {
        auto* name = e.find_pointer("/targetRef/name", ec);
        if (!name || *name != json::value(pod)) continue;
        const auto& c = e.at("conditions");
        return fmt::format("{} {} {}", json::serialize(c.at("ready")), json::serialize(c.at("serving")),
                           json::serialize(c.at("terminating")));
      }
    return "none";
  }
};

TEST_F(Terminating, ClusterIpFallsBackWhenNobodyIsReady) {
  make(slow_pod("cip-1", "n1", "cip") + slow_pod("cip-2", "n2", "cip") + service("cip"));
  auto http = url("http", cluster_ip("cip"), 80);
  ASSERT_TRUE(reaches("n3.c3", http, {"cip-1", "cip-2"}));
  begin_end("cip-1");
  EXPECT_TRUE(reaches("n3.c3", http, {"cip-2"})) << "somebody is ready";
  begin_end("cip-2");
  EXPECT_TRUE(reaches("n3.c3", http, {"cip-1", "cip-2"})) << "nobody is ready";
  EXPECT_TRUE(reaches("n3", http, {"cip-1", "cip-2"}));
  make(slow_pod("cip-3", "n3", "cip"));
  EXPECT_TRUE(reaches("n3.c3", http, {"cip-3"}));
  remove("pod/cip-1 pod/cip-2 pod/cip-3");
  EXPECT_TRUE(refused("n3.c3", http)) << "the control: it was they who answered";
}

TEST_F(Terminating, InternalLocalFallsBackToTheNodesOwn) {
  make(slow_pod("itp-1", "n1", "itp") + slow_pod("itp-2", "n2", "itp") +
       service("itp", "internalTrafficPolicy: Local"));
  auto http = url("http", cluster_ip("itp"), 80);
  ASSERT_TRUE(reaches("n1.c1", http, {"itp-1"}));
  begin_end("itp-1");
  EXPECT_TRUE(reaches("n1.c1", http, {"itp-1"})) << "though another node has a ready one";
  EXPECT_TRUE(reaches("n1", http, {"itp-1"}));
  make(slow_pod("itp-3", "n1", "itp"));
  EXPECT_TRUE(reaches("n1.c1", http, {"itp-3"}));
  remove("pod/itp-1 pod/itp-3");
  EXPECT_TRUE(dropped("n1.c1", http));
}

TEST_F(Terminating, NodePortFallsBackWhenNobodyIsReady) {
  make(slow_pod("np-1", "n1", "np") + slow_pod("np-2", "n2", "np") + service("np", "type: NodePort"));
  auto http = url("http", ip_of("n3"), node_port("np"));
  ASSERT_TRUE(reaches("hub", http, {"np-1", "np-2"}));
  begin_end("np-1");
  EXPECT_TRUE(reaches("hub", http, {"np-2"}));
  begin_end("np-2");
  for (auto from : {"hub", "n3.c3", "n3"}) EXPECT_TRUE(reaches(from, http, {"np-1", "np-2"})) << from;
  remove("pod/np-1 pod/np-2");
  EXPECT_TRUE(refused("hub", http));
}

TEST_F(Terminating, ExternalLocalFallsBackToTheNodesOwn) {
  make(slow_pod("etp-1", "n1", "etp") + slow_pod("etp-2", "n2", "etp") +
       service("etp", "type: NodePort, externalTrafficPolicy: Local"));
  auto at = [](const std::string& node) { return url("http", ip_of(node), node_port("etp")); };
  ASSERT_TRUE(reaches("hub", at("n1"), {"etp-1"}));
  begin_end("etp-1");
  EXPECT_TRUE(reaches("hub", at("n1"), {"etp-1"}));
  EXPECT_EQ(client_address(ask("hub", at("n1")).last), "10.90.0.1");
  EXPECT_TRUE(reaches("n1.c1", at("n1"), {"etp-2"})) << "from inside the whole cluster counts, and one is ready";
  make(slow_pod("etp-3", "n1", "etp"));
  EXPECT_TRUE(reaches("hub", at("n1"), {"etp-3"}));
  remove("pod/etp-1 pod/etp-3");
  EXPECT_TRUE(dropped("hub", at("n1")));
  EXPECT_TRUE(reaches("hub", at("n2"), {"etp-2"}));
}

TEST_F(Terminating, UnreadyPodsOnlyWhenTheServiceSaysSo) {
  auto never_ready = "      readinessProbe: {exec: {command: ['false']}, periodSeconds: 1}\n";
  auto pod = echo_pod({"unready", "n1"}) + never_ready;
  ASSERT_TRUE(cluster().apply(pod + service("unready") +
                              service("anyway", "selector: {app: unready}, publishNotReadyAddresses: true")));
  EXPECT_TRUE(reaches("n2.c2", url("http", cluster_ip("anyway"), 80), {"unready"}));
  EXPECT_TRUE(refused("n2.c2", url("http", cluster_ip("unready"), 80)));
  change("unready", R"({"spec":{"publishNotReadyAddresses":true}})");
  EXPECT_TRUE(reaches("n2.c2", url("http", cluster_ip("unready"), 80), {"unready"}));
}

}  // namespace
}  // namespace trama::test
