// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/topology.h"

#include <gtest/gtest.h>

#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

void add(ClusterView::Objects& nodes, const std::string& name, const std::string& ip, const std::string& cidr,
         int created = 0) {
  nodes[name] = object_from(
      "nodes", fmt::format(R"({{"metadata":{{"name":"{}","creationTimestamp":"2026-01-01T00:00:{:02}Z"}},
      "spec":{{{}}},"status":{{"addresses":[{{"type":"Hostname","address":"{}"}}{}]}}}})",
                           name, created, cidr.empty() ? "" : fmt::format(R"("podCIDRs":["{}"])", cidr), name,
                           ip.empty() ? "" : fmt::format(R"(,{{"type":"InternalIP","address":"{}"}})", ip)));
}

TopologyContext context() {
  TopologyContext c;
  c.node_name = "n1";
  c.node_ips = {*base::Ip::parse("192.0.2.1")};
  c.cluster_cidrs = {*base::Cidr::parse("10.244.0.0/16")};
  c.cluster_id = "lab";
  return c;
}

TEST(Topology, PeersAreTheOthersWithAddressAndCidr) {
  ClusterView::Objects nodes;
  add(nodes, "n1", "192.0.2.1", "10.244.1.0/24");
  add(nodes, "n2", "192.0.2.2", "10.244.2.0/24");
  add(nodes, "n3", "", "10.244.3.0/24");
  add(nodes, "n4", "192.0.2.4", "");
  auto out = compute_topology(nodes, context());
  ASSERT_TRUE(out.overlay);
  EXPECT_TRUE(out.refusals.empty()) << "not ready yet is no complaint";
  ASSERT_EQ(out.overlay->peers.size(), 1u);
  EXPECT_EQ(out.overlay->peers.at("n2").underlay.to_string(), "192.0.2.2");
  EXPECT_EQ(out.overlay->peers.at("n2").pod_cidrs.at(0).to_string(), "10.244.2.0/24");
  EXPECT_EQ(out.overlay->pod_cidrs.at(0).to_string(), "10.244.1.0/24");
  EXPECT_EQ(out.overlay->cluster_id, "lab");
  EXPECT_EQ(out.node_addresses.size(), 3u);
}

TEST(Topology, NothingBeforeThisNodeHasAPodCidr) {
  ClusterView::Objects nodes;
  add(nodes, "n2", "192.0.2.2", "10.244.2.0/24");
  EXPECT_FALSE(compute_topology(nodes, context()).overlay);
  add(nodes, "n1", "192.0.2.1", "");
  EXPECT_FALSE(compute_topology(nodes, context()).overlay);
}

TEST(Topology, APeerThatCouldHarmOthersIsLeftOutAndNamed) {
  ClusterView::Objects nodes;
  add(nodes, "n1", "192.0.2.1", "10.244.1.0/24", 1);
  add(nodes, "n2", "192.0.2.2", "10.244.2.0/24", 2);
  add(nodes, "ours", "192.0.2.10", "10.244.1.128/25", 3);
  add(nodes, "theirs", "192.0.2.11", "10.244.2.0/24", 4);
  add(nodes, "wide", "192.0.2.12", "10.0.0.0/8", 5);
  add(nodes, "local", "127.0.0.1", "10.244.6.0/24", 6);
  add(nodes, "thief", "192.0.2.2", "10.244.7.0/24", 7);
  add(nodes, "fine", "192.0.2.13", "10.244.8.0/24", 8);
  auto out = compute_topology(nodes, context());
  ASSERT_TRUE(out.overlay);
  EXPECT_EQ(out.overlay->peers.size(), 2u);
  EXPECT_TRUE(out.overlay->peers.contains("n2"));
  EXPECT_TRUE(out.overlay->peers.contains("fine"));
  ASSERT_EQ(out.refusals.size(), 5u);
  EXPECT_EQ(out.refusals[0], "node ours is no peer: its pod CIDR 10.244.1.128/25 overlaps that of n1");
  EXPECT_EQ(out.refusals[1], "node theirs is no peer: its pod CIDR 10.244.2.0/24 overlaps that of n2");
  EXPECT_EQ(out.refusals[2], "node wide is no peer: its pod CIDR 10.0.0.0/8 is not one of the cluster's");
  EXPECT_EQ(out.refusals[3], "node local is no peer: its address 127.0.0.1 is a loopback address");
  EXPECT_EQ(out.refusals[4], "node thief is no peer: its address 192.0.2.2 is that of n2");
}

// Further InternalIPs of the underlay's family are uplinks; those that could harm others, and those beyond the bound,
// are left out and named, which does not concern the node's others.
TEST(Topology, FurtherAddressesAreUplinks) {
  ClusterView::Objects nodes;
  add(nodes, "n1", "192.0.2.1", "10.244.1.0/24", 1);
  add(nodes, "n3", "192.0.2.3", "10.244.3.0/24", 3);
  auto several = [&](const std::vector<std::string>& addresses) {
    std::string list;
    for (const auto& a : addresses)
      list += fmt::format(R"({}{{"type":"InternalIP","address":"{}"}})", list.empty() ? "" : ",", a);
    nodes["n2"] = object_from("nodes", fmt::format(R"({{"metadata":{{"name":"n2","creationTimestamp":
        "2026-01-01T00:00:09Z"}},"spec":{{"podCIDRs":["10.244.2.0/24"]}},"status":{{"addresses":[{}]}}}})",
                                                   list));
    return compute_topology(nodes, context());
  };
  auto out = several({"2001:db8::2", "192.0.2.2", "198.51.100.2", "2001:db8::22", "192.0.2.2"});
  const auto& n2 = out.overlay->peers.at("n2");
  EXPECT_EQ(n2.underlay.to_string(), "192.0.2.2");
  ASSERT_EQ(n2.further.size(), 1u) << "of one family, each once";
  EXPECT_EQ(n2.further[0].to_string(), "198.51.100.2");
  EXPECT_TRUE(out.refusals.empty());
  EXPECT_TRUE(out.overlay->peers.at("n3").further.empty());

  out = several({"192.0.2.2", "192.0.2.3", "127.0.0.1", "198.51.100.2"});
  ASSERT_EQ(out.overlay->peers.at("n2").further.size(), 1u);
  ASSERT_EQ(out.refusals.size(), 2u);
  EXPECT_EQ(out.refusals[0], "an uplink of node n2 is left out: its address 192.0.2.3 is that of n3");
  EXPECT_EQ(out.refusals[1], "an uplink of node n2 is left out: its address 127.0.0.1 is a loopback address");

  out = several({"192.0.2.21", "192.0.2.22", "192.0.2.23", "192.0.2.24", "192.0.2.25", "192.0.2.26"});
  EXPECT_EQ(out.overlay->peers.at("n2").further.size(), 3u);
  ASSERT_EQ(out.refusals.size(), 1u);
  EXPECT_EQ(out.refusals[0], "node n2 announces 6 addresses of one family; the first 4 are its uplinks");

  auto own = context();
  own.node_ips = {*base::Ip::parse("192.0.2.1"), *base::Ip::parse("2001:db8::1"), *base::Ip::parse("198.51.100.1")};
  auto ours = compute_topology(nodes, own);
  ASSERT_EQ(ours.overlay->further.size(), 1u);
  EXPECT_EQ(ours.overlay->further[0].to_string(), "198.51.100.1");
}

TEST(Topology, APodCidrMustNotCoverANode) {
  ClusterView::Objects nodes;
  add(nodes, "n1", "10.244.200.1", "10.244.1.0/24", 1);
  add(nodes, "n2", "10.244.200.2", "10.244.200.0/24", 2);
  auto c = context();
  c.node_ips = {*base::Ip::parse("10.244.200.1")};
  auto out = compute_topology(nodes, c);
  ASSERT_TRUE(out.overlay);
  EXPECT_TRUE(out.overlay->peers.empty());
  ASSERT_EQ(out.refusals.size(), 1u);
}

}  // namespace
}  // namespace trama::agent
