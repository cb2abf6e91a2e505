// SPDX-License-Identifier: GPL-2.0-or-later
// Near endpoints first: trafficDistribution (KEP-4444, KEP-3015) and hints of slices. n1 and n2 are in zone east, n3 is
// in zone west.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/e2e/support/service_world.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

class Topology : public ServiceSuite {
 protected:
  static std::string hints(const std::string& name) {
    std::string output;
    cluster().trama("get endpointslices -l kubernetes.io/service-name=" + name + " -o json", &output);
    boost::system::error_code ec;
    auto list = json::parse(output, ec);
    if (ec) return output;
    std::string out;
    for (const auto& slice : list.at("items").as_array())
      for (const auto& e : slice.at("endpoints").as_array())
        if (auto* h = e.find_pointer("/hints", ec)) out += json::serialize(*h) + "\n";
    return out;
  }
};

TEST_F(Topology, SameZone) {
  for (std::string wish : {"PreferSameZone", "PreferClose"}) {
    SCOPED_TRACE(wish);
    auto name = wish == "PreferClose" ? std::string("close") : std::string("zone");
    make(echo_pods(name) + service(name));
    auto pod = [&](int i) { return fmt::format("{}-{}", name, i); };
    auto http = url("http", cluster_ip(name), 80);
    EXPECT_TRUE(reaches("n1.c1", http, {pod(1), pod(2), pod(3)})) << "the control: nothing is wished";
    EXPECT_EQ(hints(name), "");
    change(name, R"({"spec":{"trafficDistribution":")" + wish + R"("}})");
    for (auto from : {"n1.c1", "n2.c2", "n1"}) EXPECT_TRUE(reaches(from, http, {pod(1), pod(2)}));
    for (auto from : {"n3.c3", "n3"}) EXPECT_TRUE(reaches(from, http, {pod(3)}));
    // A zone without endpoints takes those of others.
    remove("pod/" + pod(3));
    EXPECT_TRUE(reaches("n3.c3", http, {pod(1), pod(2)}));
    remove("pod/" + pod(1));
    EXPECT_TRUE(reaches("n1.c1", http, {pod(2)})) << "of the zone, not of the node";
    make(echo_pod({name + "-4", "n3", name}));
    EXPECT_TRUE(reaches("n3.c3", http, {pod(4)}));
    EXPECT_TRUE(reaches("n1.c1", http, {pod(2)}));
    change(name, R"({"spec":{"trafficDistribution":null}})");
    EXPECT_TRUE(reaches("n1.c1", http, {pod(2), pod(4)}));
    EXPECT_EQ(hints(name), "") << "taken away with the wish";
  }
}

TEST_F(Topology, SameNodeThenSameZoneThenAnywhere) {
  make(echo_pods("node") + service("node", "type: NodePort, trafficDistribution: PreferSameNode"));
  auto http = url("http", cluster_ip("node"), 80);
  for (int i = 1; i <= 3; ++i) {
    EXPECT_TRUE(reaches(fmt::format("n{0}.c{0}", i), http, {fmt::format("node-{}", i)}));
    EXPECT_TRUE(reaches(fmt::format("n{}", i), http, {fmt::format("node-{}", i)}));
    EXPECT_TRUE(
        reaches("hub", url("http", ip_of(fmt::format("n{}", i)), node_port("node")), {fmt::format("node-{}", i)}));
  }
  remove("pod/node-1");
  EXPECT_TRUE(reaches("n1.c1", http, {"node-2"})) << "the other node of the zone";
  EXPECT_TRUE(reaches("n3.c3", http, {"node-3"}));
  remove("pod/node-2");
  EXPECT_TRUE(reaches("n1.c1", http, {"node-3"}));
  EXPECT_TRUE(reaches("n2.c2", http, {"node-3"}));
}

// The hints of a slice are a wish of whoever wrote it, and hold only when every ready endpoint has one.
TEST_F(Topology, HintsOfSlicesWrittenByHand) {
  make(echo_pods("hand") +
       "---\napiVersion: v1\nkind: Service\nmetadata: {name: byhand}\nspec: {ports: [{port: 80}]}\n");
  auto http = url("http", cluster_ip("byhand"), 80);
  auto of = [](int i, const std::string& hints, const std::string& more = "") {
    return fmt::format("{{addresses: [{}]{}{}}}", cluster().pod_ip(fmt::format("hand-{}", i)),
                       hints.empty() ? "" : ", hints: {" + hints + "}", more);
  };
  auto write = [](const std::string& endpoints) {
    make(slice("byhand-a", "byhand", endpoints, fmt::format("{{port: {}}}", kHttp)));
  };
  auto east = "forZones: [{name: east}]", west = "forZones: [{name: west}]";
  write(of(1, west) + ", " + of(2, west) + ", " + of(3, east));
  EXPECT_TRUE(reaches("n1.c1", http, {"hand-3"})) << "hints, not places";
  EXPECT_TRUE(reaches("n3.c3", http, {"hand-1", "hand-2"}));
  write(of(1, "forZones: [{name: east}, {name: west}]") + ", " + of(2, west));
  EXPECT_TRUE(reaches("n1.c1", http, {"hand-1"}));
  EXPECT_TRUE(reaches("n3.c3", http, {"hand-1", "hand-2"}));
  write(of(1, west) + ", " + of(2, "") + ", " + of(3, east));
  for (auto from : {"n1.c1", "n3.c3"})
    EXPECT_TRUE(reaches(from, http, {"hand-1", "hand-2", "hand-3"})) << "one has none";
  write(of(1, west) + ", " + of(2, "", ", conditions: {ready: false}") + ", " + of(3, east));
  EXPECT_TRUE(reaches("n1.c1", http, {"hand-3"})) << "the one without hints is not ready";
  write(of(1, "forZones: [{name: north}]") + ", " + of(2, "forZones: [{name: north}]"));
  EXPECT_TRUE(reaches("n1.c1", http, {"hand-1", "hand-2"})) << "none for this zone";
  write(of(1, "forNodes: [{name: n2}]") + ", " + of(2, "forNodes: [{name: n1}]"));
  EXPECT_TRUE(reaches("n1.c1", http, {"hand-2"}));
  EXPECT_TRUE(reaches("n2.c2", http, {"hand-1"}));
  EXPECT_TRUE(reaches("n3.c3", http, {"hand-1", "hand-2"}));
}

}  // namespace
}  // namespace trama::test
