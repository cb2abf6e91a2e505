// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/obstacles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::agent {
namespace {
using nft::ChainSeen;
using nft::Family;
using nft::Hook;
using ::testing::HasSubstr;

ChainSeen chain(Family family, std::string table, std::string name, Hook hook, bool drop = true) {
  ChainSeen c;
  c.family = family, c.table = std::move(table), c.chain.name = std::move(name);
  nft::Chain::Base base;
  base.hook = hook, base.drop = drop;
  c.chain.base = base;
  return c;
}

TEST(Obstacles, ADropPolicyOfOthersIsOneAndSaysWhatToDo) {
  auto found = find_obstacles(
      {chain(Family::ip, "filter", "FORWARD", Hook::forward), chain(Family::inet, "firewall", "in", Hook::input)});
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(
      found[0].line(),
      "table ip filter, chain FORWARD (hook forward, policy drop) drops connections between pods, and of pods and "
      "clients outside to Services unless a rule of it accepts them; to do: iptables -P FORWARD ACCEPT, or "
      "iptables -I FORWARD -s <pod CIDR> -j ACCEPT and the same with -d");
  EXPECT_EQ(found[1].line(),
            "table inet firewall, chain in (hook input, policy drop) drops packets of the overlay from peers and "
            "connections to endpoints on the node itself unless a rule of it accepts them; to do: accept the pod CIDRs "
            "and udp port 6784 in it, or nft 'chain inet firewall in { policy accept; }'");
}

TEST(Obstacles, OursAndHarmlessOnesAreNone) {
  ChainSeen regular = chain(Family::inet, "firewall", "helper", Hook::forward);
  regular.chain.base.reset();
  EXPECT_TRUE(find_obstacles({chain(Family::ip, "trama", "services", Hook::prerouting),
                              chain(Family::inet, "trama-overlay", "input", Hook::input),
                              chain(Family::ip, "filter", "FORWARD", Hook::forward, false),
                              chain(Family::bridge, "filter", "forward", Hook::forward),
                              chain(Family::inet, "firewall", "ingress", static_cast<Hook>(5)), regular})
                  .empty());
  EXPECT_EQ(find_obstacles({chain(Family::inet, "tramatic", "forward", Hook::forward)}).size(), 1u)
      << "a name that only begins like ours";
}

TEST(Obstacles, EveryHookThatPacketsMeetHasItsWords) {
  for (auto hook : {Hook::prerouting, Hook::input, Hook::forward, Hook::output, Hook::postrouting}) {
    auto found = find_obstacles({chain(Family::ip6, "filter", "x", hook)});
    ASSERT_EQ(found.size(), 1u);
    EXPECT_FALSE(found[0].hook.empty());
    EXPECT_THAT(found[0].harm, HasSubstr("drops"));
  }
}

TEST(Obstacles, TheConditionNamesThem) {
  EXPECT_EQ(judge_obstacles({}).reason, "NoForeignDrops");
  auto verdict = judge_obstacles(find_obstacles(
      {chain(Family::ip, "filter", "FORWARD", Hook::forward), chain(Family::ip6, "filter", "FORWARD", Hook::forward)}));
  EXPECT_EQ(verdict.reason, "ForeignChainDrops");
  EXPECT_THAT(verdict.message,
              HasSubstr("these chains drop by policy: ip filter FORWARD, ip6 filter FORWARD; table ip filter"));
}

}  // namespace
}  // namespace trama::agent
