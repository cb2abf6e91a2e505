// SPDX-License-Identifier: GPL-2.0-or-later
// What the annotations trama.dev/… do to real connections.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <sys/socket.h>

#include "control/api/object.h"
#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using testing::HasSubstr;

class Balancing : public ServiceSuite {
 protected:
  static void SetUpTestSuite() {
    ServiceSuite::SetUpTestSuite();
    if (!HasFailure()) make(echo_pods("pod"));
  }
  static inline const Names kAll{"pod-1", "pod-2", "pod-3"};
  using Counts = std::map<std::string, int>;

  static std::string annotated(const std::string& name, const std::string& annotations, const std::string& spec = "") {
    return service(name, "selector: {app: pod}" + spec, "annotations: {" + annotations + "}");
  }
  static Counts shares(const std::string& from, const std::string& url, int count) {
    auto seen = ask(from, url, count);
    EXPECT_EQ(seen.failures, 0) << seen.text();
    return seen.pods;
  }
  // Draws per pod, once they are as expected: the annotation may be on its way to the node.
  static ::testing::AssertionResult shared_as(const std::string& from, const std::string& url, const Counts& expected) {
    int count = 0;
    for (const auto& [pod, n] : expected) count += n;
    Counts seen;
    if (eventually([&] { return (seen = shares(from, url, count)) == expected; })) return ::testing::AssertionSuccess();
    auto failure = ::testing::AssertionFailure() << url << " from " << from << ":";
    for (const auto& [pod, n] : seen) failure << " " << pod << " x" << n;
    return failure;
  }
  static Counts connections(const std::string& name, const std::string& node) {
    std::string output;
    EXPECT_EQ(cluster().trama("service " + name + " --node " + node + " -o json", &output), 0) << output;
    Counts out;
    auto page = json::parse(output);
    for (const auto& e : page.at_pointer("/ports/0/endpoints").as_array()) {
      auto pod = api::text_at(e.as_object(), "pod");
      out[pod.substr(pod.find('/') + 1)] =
          e.as_object().contains("connections") ? static_cast<int>(api::int_at(e.as_object(), "connections")) : -1;
    }
    return out;
  }
};

TEST_F(Balancing, RoundRobinTakesTurns) {
  make(annotated("turns", "trama.dev/algorithm: round-robin"));
  auto http = url("http", cluster_ip("turns"), 80);
  EXPECT_TRUE(shared_as("n1.c1", http, {{"pod-1", 10}, {"pod-2", 10}, {"pod-3", 10}}));
  EXPECT_TRUE(shared_as("n2", http, {{"pod-1", 10}, {"pod-2", 10}, {"pod-3", 10}}));
}

TEST_F(Balancing, WeightsAreShares) {
  make(annotated("weights", "trama.dev/algorithm: round-robin, trama.dev/weights: 'pod-1=3,pod-2=0'"));
  auto http = url("http", cluster_ip("weights"), 80);
  EXPECT_TRUE(shared_as("n1.c1", http, {{"pod-1", 30}, {"pod-3", 10}}));
  change("weights", R"({"metadata":{"annotations":{"trama.dev/weights":"pod-2=2"}}})");
  EXPECT_TRUE(shared_as("n1.c1", http, {{"pod-1", 10}, {"pod-2", 20}, {"pod-3", 10}}));
  // By address, and drawn by chance: of 400 draws with 3/4 fewer than 260 come once in a million times.
  change("weights",
         fmt::format(R"({{"metadata":{{"annotations":{{"trama.dev/algorithm":null,"trama.dev/weights":"{}=6"}}}}}})",
                     cluster().pod_ip("pod-3")));
  EXPECT_TRUE(eventually([&] { return shares("n1.c1", http, 400)["pod-3"] > 260; }));
  EXPECT_TRUE(reaches("n1.c1", http, kAll, 8000)) << "the others have their share";
  // Nobody at all: as without endpoints.
  change("weights", R"({"metadata":{"annotations":{"trama.dev/weights":"pod-1=0,pod-2=0,pod-3=0"}}})");
  EXPECT_TRUE(refused("n1.c1", http));
}

TEST_F(Balancing, SourceHashAndMaglevKnowTheirClients) {
  make(annotated("hash", "trama.dev/algorithm: source-hash") +
       annotated("maglev", "trama.dev/algorithm: maglev",
                 fmt::format(", type: NodePort, ports: [{{port: 82, protocol: UDP, targetPort: {}}}]", kUdp)));
  auto hash = url("http", cluster_ip("hash"), 80);
  for (auto from : {"n1.c1", "n2.c2", "n3.c3", "n1", "n2"}) {
    Names first;
    EXPECT_TRUE(eventually([&] { return (first = ask(from, hash, 30).who()).size() == 1; })) << from;
    EXPECT_EQ(ask(from, hash, 30).who(), first) << from;
  }
  auto maglev = url("udp", cluster_ip("maglev"), 82);
  EXPECT_TRUE(reaches("n1.c1", maglev, kAll)) << "by the client's port, too";
  // The same client and port: the same pod, whatever the node.
  auto port_of_maglev = node_port("maglev");
  auto pod_for = [&](const std::string& node, int from_port) {
    Flow flow(netns_path("hub"), SOCK_DGRAM, ip_of(node), port_of_maglev, from_port);
    return flow.ask(2000);
  };
  for (auto node : {"n1", "n2", "n3"}) EXPECT_TRUE(reaches("hub", url("udp", ip_of(node), port_of_maglev), kAll));
  Names met;
  for (int port = 41001; port <= 41012; ++port) {
    auto pod = pod_for("n1", port);
    met.insert(pod);
    EXPECT_EQ(pod_for("n2", port), pod) << port;
    EXPECT_EQ(pod_for("n3", port), pod) << port;
  }
  EXPECT_GT(met.size(), 1u) << "the control: ports make a difference";
}

TEST_F(Balancing, ConnectionsAreCounted) {
  make(annotated("count", "trama.dev/counters: 'true', trama.dev/algorithm: round-robin") +
       service("uncounted", "selector: {app: pod}"));
  auto http = url("http", cluster_ip("count"), 80);
  EXPECT_TRUE(reaches("n1.c1", http, kAll));
  auto before = connections("count", "n1");
  EXPECT_TRUE(shared_as("n1.c1", http, {{"pod-1", 10}, {"pod-2", 10}, {"pod-3", 10}}));
  auto after = connections("count", "n1");
  int more = 0;
  for (const auto& pod : kAll) more += after[pod] - before[pod];
  EXPECT_EQ(more % 30, 0) << "each connection once";
  EXPECT_GE(more, 30);
  EXPECT_EQ(connections("count", "n2")["pod-1"], 0) << "the control: nobody asked there";
  EXPECT_EQ(connections("uncounted", "n1")["pod-1"], -1) << "nor does it count without the annotation";

  auto page = cluster().page("n1", "http://127.0.0.1:10249/metrics");
  int in_metrics = 0;
  for (std::size_t at = 0; (at = page.find("trama_service_connections_total{", at)) != std::string::npos; ++at) {
    auto line = page.substr(at, page.find('\n', at) - at);
    EXPECT_EQ(line.find("uncounted"), std::string::npos);
    if (line.find("\"count\"") != std::string::npos) in_metrics += std::atoi(line.substr(line.rfind(' ') + 1).c_str());
  }
  EXPECT_EQ(in_metrics, after["pod-1"] + after["pod-2"] + after["pod-3"]) << page;
  std::string output;
  EXPECT_EQ(cluster().trama("service count --node n1", &output), 0);
  EXPECT_THAT(output, HasSubstr("algorithm round-robin"));
  EXPECT_THAT(output, HasSubstr("CONNECTIONS"));
  EXPECT_THAT(output, HasSubstr("default/pod-3"));
  EXPECT_EQ(cluster().trama("service count --node n1 -o nft", &output), 0);
  EXPECT_THAT(output, HasSubstr("counted"));
}

// A pod that is told to end goes on answering; whether its connections may go on as well is the Service's to say.
TEST_F(Balancing, DrainEndsConnectionsOfPodsThatEnd) {
  for (std::string name : {"drained", "patient"}) {
    make(echo_pod({name, "n2", "", "", "", "18s"}) +
         service(name, fmt::format("ports: [{{port: 81, targetPort: {}}}]", kTcp),
                 name == "drained" ? "annotations: {trama.dev/drain: 0s}" : ""));
    ASSERT_TRUE(reaches("n1.c1", url("tcp", cluster_ip(name), 81), {name}));
  }
  Flow drained(netns_path("n1.c1"), SOCK_STREAM, cluster_ip("drained"), 81);
  Flow patient(netns_path("n1.c1"), SOCK_STREAM, cluster_ip("patient"), 81);
  ASSERT_EQ(drained.ask(1000), "answered");
  ASSERT_EQ(patient.ask(1000), "answered");
  // A new endpoint, so that the terminating one is not the only one left.
  make(echo_pod({"drained-2", "n1", "drained"}) + echo_pod({"patient-2", "n1", "patient"}));
  remove("pod/drained pod/patient", "--wait=false");
  EXPECT_TRUE(reaches("n1.c1", url("tcp", cluster_ip("drained"), 81), {"drained-2"}));
  EXPECT_TRUE(reaches("n1.c1", url("tcp", cluster_ip("patient"), 81), {"patient-2"}));
  EXPECT_TRUE(eventually([&] { return drained.ask(300) != "answered" && !drained.open(); })) << "reset";
  EXPECT_EQ(patient.ask(1000), "answered") << "the control: without the annotation it goes on";
  EXPECT_TRUE(reaches("n1.c1", url("tcp", cluster().pod_ip("drained"), kTcp), {"drained"}))
      << "the pod itself is there";
  remove("pod/drained pod/patient");
}

}  // namespace
}  // namespace trama::test
