// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/conntrack_sysctls.h"
#include "agent/machine.h"
#include "agent/nft_tool.h"
#include "agent/node_agent.h"
#include "base/file.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

AgentOptions usual() {
  AgentOptions o;
  o.node_name = "n1";
  o.node_ips = {"192.0.2.1", "2001:db8::1"};
  return o;
}

std::string refused(const AgentOptions& options) {
  auto settings = check_options(options);
  return settings ? "" : settings.error().to_string();
}

TEST(Settings, SeveralAddressesOfOneFamilyAreUplinks) {
  auto options = usual();
  options.node_ips = {"192.0.2.1", "2001:db8::1", "198.51.100.1"};
  auto settings = check_options(options);
  ASSERT_TRUE(settings) << settings.error().to_string();
  EXPECT_EQ(settings->node_ips.size(), 3u);
  ASSERT_EQ(settings->host_ips().size(), 2u) << "pods are told one of each family";
  EXPECT_EQ(settings->host_ips()[0].to_string(), "192.0.2.1");
  EXPECT_EQ(settings->host_ips()[1].to_string(), "2001:db8::1");
  options.node_ips = {"192.0.2.1", "192.0.2.1"};
  EXPECT_THAT(refused(options), HasSubstr("--node-ip: 192.0.2.1 is given twice"));
  options.node_ips = {"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "192.0.2.4", "192.0.2.5"};
  EXPECT_THAT(refused(options), HasSubstr("192.0.2.5 is one too many: a node has at most 4 addresses of a family"));
}

TEST(Settings, NodePortAddresses) {
  auto options = usual();
  EXPECT_TRUE(check_options(options)->nodeport_cidrs.empty()) << "all but loopback";
  options.nodeport_addresses = {"10.0.0.0/8", "primary"};
  auto settings = check_options(options);
  ASSERT_TRUE(settings) << settings.error().to_string();
  std::vector<std::string> texts;
  for (const auto& cidr : settings->nodeport_cidrs) texts.push_back(cidr.to_string());
  EXPECT_THAT(texts, ElementsAre("10.0.0.0/8", "192.0.2.1/32", "2001:db8::1/128"));
  options.nodeport_addresses = {"10.0.0.1"};
  EXPECT_THAT(refused(options), StartsWith("--nodeport-addresses: "));
  options.nodeport_addresses = {"127.0.0.0/8"};
  EXPECT_THAT(refused(options), HasSubstr("--localhost-nodeports serves node ports there"));
}

TEST(Settings, WhatServicesAreToldOfTheNode) {
  auto options = usual();
  options.masquerade_all = true;
  options.nodeport_addresses = {"10.0.0.0/8"};
  options.labels = {{"topology.kubernetes.io/zone", "east"}};
  auto settings = check_options(options);
  ASSERT_TRUE(settings);
  auto facts = settings->node_facts(nullptr, {base::Ip::v4(10, 244, 1, 2)});
  EXPECT_EQ(facts.name, "n1");
  EXPECT_EQ(facts.zone, "east") << "until the Node is known: what it will be labelled with";
  ASSERT_EQ(facts.addresses.size(), 2u);
  EXPECT_EQ(facts.addresses[0].to_string(), "192.0.2.1");
  EXPECT_TRUE(facts.masquerade_all);
  EXPECT_EQ(facts.nodeport_cidrs.size(), 1u);
  EXPECT_EQ(facts.local_pods.size(), 1u);
  EXPECT_EQ(facts.pod_cidrs, settings->cluster_cidrs);
  auto own = object_from("nodes", R"({"metadata":{"name":"n1","labels":{"topology.kubernetes.io/zone":"west"}}})");
  EXPECT_EQ(settings->node_facts(own.get(), {}).zone, "west");
  auto bare = object_from("nodes", R"({"metadata":{"name":"n1"}})");
  EXPECT_EQ(settings->node_facts(bare.get(), {}).zone, "");
  EXPECT_FALSE(settings->services({}).allow_external_ips);
}

TEST(Settings, PlainRoutesAreRefusedWhereTheyCannotBe) {
  auto options = usual();
  options.direct_routing = true;
  EXPECT_EQ(refused(options), "");
  EXPECT_TRUE(check_options(options)->topology({}).direct);
  options.encryption = "required";
  EXPECT_THAT(refused(options), HasSubstr("--direct-routing is not possible: packets would go in the clear"));
  options.encryption = "off";
  options.ports.peer = 0;
  EXPECT_THAT(refused(options), HasSubstr("--peer-port 0 switches off the conversation"));
}

TEST(Settings, WireguardComesWithEncryptionAndHasAPortOfItsOwn) {
  auto options = usual();
  EXPECT_FALSE(check_options(options)->topology({}).wireguard) << "nothing is encrypted";
  options.encryption = "required";
  EXPECT_TRUE(check_options(options)->topology({}).wireguard);
  EXPECT_EQ(check_options(options)->topology({}).wireguard_port, 6785);
  for (std::uint16_t port : {std::uint16_t{0}, options.ports.peer, std::uint16_t{6784}}) {
    options.ports.wireguard = port;
    EXPECT_THAT(refused(options), HasSubstr(fmt::format("--wireguard-port: {} is", port)));
  }
  options.wireguard = "off";
  EXPECT_EQ(refused(options), "");
  EXPECT_FALSE(check_options(options)->topology({}).wireguard);
  options.wireguard = "on";
  EXPECT_THAT(refused(options), HasSubstr("--wireguard: expected auto or off, got \"on\""));
}

TEST(Settings, OtherAddressesReplaceTheFormerOnes) {
  auto options = usual();
  options.nodeport_addresses = {"primary", "10.0.0.0/8"};
  options.cluster_cidrs = {"10.244.0.0/16"};
  auto settings = check_options(options);
  ASSERT_TRUE(settings) << settings.error().to_string();
  EXPECT_FALSE(settings->automatic_ips());
  ASSERT_TRUE(settings->use_node_ips({*base::Ip::parse("192.0.2.9")}));
  std::vector<std::string> texts;
  for (const auto& cidr : settings->nodeport_cidrs) texts.push_back(cidr.to_string());
  EXPECT_THAT(texts, testing::UnorderedElementsAre("10.0.0.0/8", "192.0.2.9/32"));
  auto refused = settings->use_node_ips({*base::Ip::parse("10.244.3.1")});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().to_string(), HasSubstr("10.244.3.1, this node's own address"));
  EXPECT_EQ(settings->node_ips.front().to_string(), "192.0.2.9") << "as before";
  options.cluster_cidrs = {"192.0.0.0/16"};
  EXPECT_FALSE(check_options(options));
}

TEST(Machine, AnAddressIsLeftOnlyWhenItIsGoneAndAnotherIsThere) {
  auto ips = [](std::initializer_list<const char*> texts) {
    std::vector<base::Ip> out;
    for (const auto* t : texts) out.push_back(*base::Ip::parse(t));
    return out;
  };
  auto had = ips({"192.0.2.1", "2001:db8::1"});
  EXPECT_EQ(followed_addresses(had, had, had), had);
  EXPECT_EQ(followed_addresses(had, ips({"192.0.2.2", "2001:db8::2"}), had), had) << "another would be chosen now";
  EXPECT_EQ(followed_addresses(had, ips({"192.0.2.2", "2001:db8::1"}), ips({"192.0.2.2", "2001:db8::1"})),
            ips({"192.0.2.2", "2001:db8::1"}));
  EXPECT_EQ(followed_addresses(had, {}, {}), had) << "a cable is out";
  EXPECT_EQ(followed_addresses(had, ips({"2001:db8::7"}), ips({"2001:db8::7"})), ips({"192.0.2.1", "2001:db8::7"}));
  EXPECT_EQ(followed_addresses(ips({"192.0.2.1"}), ips({"192.0.2.2", "2001:db8::7"}), ips({"192.0.2.2"})),
            ips({"192.0.2.2"}))
      << "no family that others do not know";
}

TEST(Machine, LocalAddressesLeaveLoopbackOut) {
  for (const auto& ip : local_addresses()) EXPECT_FALSE(ip.is_loopback() || ip.is_link_local()) << ip.to_string();
}

TEST(ConntrackSysctls, TheLimitFollowsTheCores) {
  EXPECT_EQ(wanted_conntrack_max(1), 131'072u);
  EXPECT_EQ(wanted_conntrack_max(8), 262'144u);
  EXPECT_EQ(wanted_conntrack_max(64), 1'048'576u);
}

class SysctlDirectory : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/trama-sysctl-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    dir = name;
  }
  void TearDown() override { EXPECT_TRUE(base::remove_tree(dir)); }
  void put(const std::string& name, const std::string& value) {
    ASSERT_TRUE(base::write_file_replace(dir + "/" + name, value));
  }
  std::string get(const std::string& name) const { return base::read_file(dir + "/" + name).value_or("absent"); }
  std::string dir;
};

TEST_F(SysctlDirectory, RaisesTheLimitAndSetsTheTimeouts) {
  put("nf_conntrack_max", "65536\n");
  put("nf_conntrack_tcp_timeout_established", "60\n");
  put("nf_conntrack_tcp_timeout_close_wait", "3600\n");
  EXPECT_THAT(apply_conntrack_sysctls(2, dir),
              ElementsAre("nf_conntrack_max: 65536 -> 131072", "nf_conntrack_tcp_timeout_established: 60 -> 86400"));
  EXPECT_THAT(get("nf_conntrack_max"), StartsWith("131072"));
  EXPECT_THAT(get("nf_conntrack_tcp_timeout_established"), StartsWith("86400"));
  EXPECT_TRUE(apply_conntrack_sysctls(2, dir).empty()) << "nothing to do the second time";
}

TEST_F(SysctlDirectory, NeverLowersTheLimitAndMissesNothingThatIsNotThere) {
  put("nf_conntrack_max", "2000000\n");
  EXPECT_TRUE(apply_conntrack_sysctls(2, dir).empty());
  EXPECT_EQ(get("nf_conntrack_max"), "2000000\n");
  EXPECT_EQ(get("nf_conntrack_tcp_timeout_established"), "absent");
}

TEST(NftTool, OwnedTablesAreListedRightFrom110On) {
  for (const char* right : {"", "nftables v1.1.0 (Commodore Bullmoose)", "nftables v1.1.3 (Commodore Bullmoose #4)",
                            "nftables v2.0", "nftables v1.2"})
    EXPECT_TRUE(lists_owned_tables(right)) << right;
  for (const char* wrong : {"nftables v1.0.6 (Lester Gooch #5)", "nftables v1.0.9", "nftables v0.9.8 (E.D.S.)",
                            "nftables", "something else v", "nftables vv1.1.3", "nftables v99999999999999999999"})
    EXPECT_FALSE(lists_owned_tables(wrong)) << wrong;
}

TEST(NftTool, IsAskedForItsVersion) {
  auto version = nft_version();
  EXPECT_THAT(version, ::testing::AnyOf("", StartsWith("nftables v")));
}

}  // namespace
}  // namespace trama::agent
