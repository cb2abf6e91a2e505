// SPDX-License-Identifier: GPL-2.0-or-later
// trama2: its peers, who gets which key, and what becomes of damage, restarts and removal.
#include <random>

#include <gmock/gmock.h>

#include "overlay/fake_kernel.h"
#include "tests/unit/overlay/worlds.h"

namespace trama::overlay {
namespace {

using test::cidr;
using test::text_of;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

base::WireguardKey key_of(unsigned n) {
  base::WireguardKey key;
  key.octets.fill(static_cast<std::uint8_t>(n));
  return key;
}

std::string run(FakeKernel& kernel, const Desired& desired) {
  for (const auto& op : plan(desired, *kernel.observe()))
    if (auto done = kernel.apply(op); !done) return to_text(op) + ": " + done.error().to_string();
  return "";
}

class PlanWireguard : public testing::Test {
 protected:
  FakeKernel kernel;
  Desired desired = test::node(1, 3);
  void SetUp() override {
    kernel.world = test::empty_machine(desired);
    desired.tunnel = desired.encrypt = desired.wireguard = true;
    for (auto& [name, p] : desired.peers) {
      p.path = Path::wireguard;
      p.wireguard = base::WireguardEnd{key_of(static_cast<unsigned>(name.back())), kWireguardPort};
    }
    ASSERT_EQ(run(kernel, desired), "");
    ASSERT_EQ(text_of(plan(desired, kernel.world)), "");
  }
  Peer& peer(const char* name) { return desired.peers.at(name); }
  // As an agent that begins: it knows Nodes, and has spoken with nobody.
  Desired begins() const {
    auto out = desired;
    for (auto& [name, p] : out.peers) {
      p.path = Path::keep;
      p.told = false;
      p.wireguard.reset();
    }
    return out;
  }
  unsigned through(Through way) const {
    return static_cast<unsigned>(std::count_if(kernel.world.nexthops.begin(), kernel.world.nexthops.end(),
                                               [&](const auto& n) { return n.second.through() == way; }));
  }
};

TEST_F(PlanWireguard, StandsBesideTheOthersWithAPeerForEachNode) {
  const auto& device = *kernel.world.wireguard;
  EXPECT_TRUE(device.up);
  EXPECT_EQ(device.port, 6785);
  EXPECT_EQ(device.mtu, 1440u);
  ASSERT_EQ(device.peers.size(), 2u);
  const auto& n2 = device.peers.at(peer("n2").wireguard->key);
  EXPECT_THAT(n2.allowed, ElementsAre(cidr("10.244.2.0/24"), cidr("fd00:244:2::/64")));
  EXPECT_EQ(n2.endpoint->to_string(), "192.168.77.2:6785");
  EXPECT_EQ(through(Through::wireguard), 2u);
  EXPECT_EQ(kernel.world.wireguard_addresses, kernel.world.tunnel_addresses);
  EXPECT_EQ(kernel.world.routes.at({cidr("10.244.2.0/24"), 0}).mtu, 1440u);
  EXPECT_EQ(pod_mtu(desired, kernel.world), 1436u) << "what the tunnel takes, too";
}

TEST_F(PlanWireguard, AChangeOfThePathIsOneReplaceAndTheMtuShrinksBefore) {
  peer("n2").path = Path::tunnel;
  auto there = plan(desired, kernel.world);
  ASSERT_EQ(there.size(), 3u) << text_of(there);
  EXPECT_THAT(to_text(there[0]), HasSubstr("mtu 1436"));
  EXPECT_THAT(to_text(there[2]), HasSubstr("dev trama1"));
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(kernel.world.wireguard->peers.size(), 2u) << "its key stays: the path is looked at";
  peer("n2").path = Path::wireguard;
  auto back = plan(desired, kernel.world);
  ASSERT_EQ(back.size(), 3u) << text_of(back);
  EXPECT_THAT(to_text(back[0]), HasSubstr("dev trama2"));
}

TEST_F(PlanWireguard, AfterARestartNothingIsDoneUntilPeersHaveSpoken) {
  auto again = begins();
  EXPECT_EQ(text_of(plan(again, kernel.world)), "");
  // One has said that it has none any more.
  again.peers.at("n2").told = true;
  auto ops = plan(again, kernel.world);
  EXPECT_THAT(text_of(ops), HasSubstr("delete wireguard peer " + peer("n2").wireguard->key.to_string()));
  EXPECT_THAT(text_of(ops), HasSubstr("dev trama1"));
  EXPECT_THAT(text_of(ops), Not(HasSubstr(peer("n3").wireguard->key.to_string())));
  // And where it is the first start, packets wait for the tunnel; nothing goes in the clear.
  FakeKernel fresh;
  fresh.world = test::empty_machine(desired);
  ASSERT_EQ(run(fresh, again), "");
  for (const auto& [id, nexthop] : fresh.world.nexthops) EXPECT_TRUE(nexthop.tunnel);
}

TEST_F(PlanWireguard, DamageIsRepairedWithTheSameKey) {
  ASSERT_EQ(run(kernel, desired), "");
  const auto whole = kernel.world;
  auto first = peer("n2").wireguard->key;
  for (auto damage : std::initializer_list<std::function<void(WireguardDevice&)>>{
           [&](auto&) { kernel.delete_wireguard(); }, [](auto& d) { d.up = false; }, [](auto& d) { d.mtu = 900; },
           [](auto& d) { d.mtu = 9000; }, [](auto& d) { d.port = 1; }, [](auto& d) { d.mark = 7; },
           [](auto& d) { d.alias = "mine"; }, [](auto& d) { d.kind = "dummy"; },
           [](auto& d) { d.key = key_of(200), d.own_key = false; }, [&](auto& d) { d.peers.erase(first); },
           [&](auto& d) {
             d.peers.at(first).endpoint = base::IpPort{test::ip("192.0.2.1"), 1};
           },
           [&](auto& d) { d.peers.at(first).preshared = true; }, [&](auto& d) { d.peers.at(first).keepalive = 25; },
           [&](auto& d) { d.peers.at(first).allowed.pop_back(); },
           [&](auto& d) { d.peers.at(first).allowed.push_back(cidr("192.0.2.0/24")); },
           [](auto& d) {
             d.peers[key_of(99)] = {key_of(99), {}, {cidr("192.0.2.0/24")}, false, 0};
           },
           [&](auto&) { kernel.world.wireguard_addresses.clear(); }, [&](auto&) { kernel.delete_tunnel(); },
           [&](auto&) { kernel.delete_device(); }}) {
    kernel.world = whole;
    damage(*kernel.world.wireguard);
    EXPECT_NE(text_of(plan(desired, kernel.world)), "");
    EXPECT_EQ(run(kernel, desired), "");
    EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
    ASSERT_TRUE(kernel.world.wireguard);
    EXPECT_EQ(kernel.world.wireguard->key, whole.wireguard->key);
    EXPECT_EQ(kernel.world.wireguard->peers, whole.wireguard->peers);
    EXPECT_EQ(through(Through::wireguard), 2u);
  }
}

TEST_F(PlanWireguard, NoKeyServesTwo) {
  auto taken = peer("n3").wireguard->key;
  peer("n2").wireguard->key = taken;
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_THAT(kernel.world.wireguard->peers, IsEmpty());
  EXPECT_EQ(through(Through::tunnel), 2u);
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "") << "no going back and forth";
  EXPECT_THAT(problems(desired, kernel.world), Contains(HasSubstr("peer n2 has no WireGuard: it names a key")));
  peer("n2").wireguard->key = kernel.world.wireguard->key;  // ours
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(kernel.world.wireguard->peers.size(), 1u);
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
  // What somebody else names does not take the key from one that has not spoken yet.
  peer("n2").wireguard->key = taken;
  peer("n3").wireguard.reset();
  peer("n3").told = false;
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_FALSE(kernel.world.wireguard->peers.contains(taken) &&
               kernel.world.wireguard->peers.at(taken).allowed.empty());
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
}

// The kernel moves a prefix to who names it last: whatever the order, one pass is enough.
TEST_F(PlanWireguard, PrefixesAndKeysThatChangeHandsComeToRestInOnePass) {
  std::mt19937 random(116);
  for (int round = 0; round < 300; ++round) {
    std::vector<unsigned> keys, ranges;
    for (unsigned i = 2; i < 10; ++i) keys.push_back(i), ranges.push_back(i);
    std::shuffle(keys.begin(), keys.end(), random);
    std::shuffle(ranges.begin(), ranges.end(), random);
    Desired now = desired;
    now.peers.clear();
    for (unsigned i = 2; i < 10; ++i) {
      if (random() % 4 == 0) continue;
      auto p = test::peer(i);
      p.pod_cidrs = test::peer(ranges[i - 2]).pod_cidrs;
      p.path = random() % 2 ? Path::wireguard : Path::keep;
      p.told = random() % 4 != 0;
      if (random() % 4 != 0) p.wireguard = base::WireguardEnd{key_of(keys[i - 2]), kWireguardPort};
      now.peers.emplace(p.node, p);
    }
    ASSERT_EQ(run(kernel, now), "");
    ASSERT_EQ(text_of(plan(now, kernel.world)), "") << round;
    std::set<Cidr> seen;
    for (const auto& [key, p] : kernel.world.wireguard->peers)
      for (const auto& c : p.allowed) EXPECT_TRUE(seen.insert(c).second) << c.to_string();
    for (const auto& [name, p] : now.peers)
      if (p.wireguard) {
        EXPECT_EQ(kernel.world.wireguard->peers.at(p.wireguard->key).allowed.size(), p.pod_cidrs.size());
      }
  }
}

TEST_F(PlanWireguard, WithoutItTheTunnelIsTakenAndNothingOfItIsLeft) {
  const auto whole = kernel.world;
  desired.wireguard = false;
  for (auto& [name, p] : desired.peers) p.path = Path::tunnel, p.wireguard.reset();
  auto ops = plan(desired, kernel.world);
  EXPECT_EQ(to_text(ops.back()), "delete device trama2") << "after the last nexthop that leads there";
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_FALSE(kernel.world.wireguard);
  EXPECT_EQ(through(Through::tunnel), 2u);
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
  // Encryption is switched off, and nobody has been spoken with yet: packets go on as before until somebody has.
  kernel.world = whole;
  auto off = begins();
  off.encrypt = off.wireguard = false;
  ASSERT_EQ(run(kernel, off), "");
  EXPECT_TRUE(kernel.world.wireguard);
  EXPECT_EQ(through(Through::wireguard), 2u);
  for (auto& [name, p] : off.peers) p.path = Path::vxlan, p.told = true;
  ASSERT_EQ(run(kernel, off), "");
  EXPECT_FALSE(kernel.world.wireguard);
  EXPECT_EQ(through(Through::vxlan), 2u);
  kernel.world = whole;
  ASSERT_EQ(run(kernel, Desired{}), "");
  EXPECT_FALSE(kernel.world.wireguard);
  EXPECT_TRUE(plan(Desired{}, kernel.world).empty());
}

TEST_F(PlanWireguard, AKernelWithoutItTakesTheTunnelAndThatIsNoProblem) {
  FakeKernel old;
  old.world = test::empty_machine(desired);
  old.world.no_wireguard = "this kernel has no WireGuard (CONFIG_WIREGUARD)";
  ASSERT_EQ(run(old, desired), "");
  EXPECT_FALSE(old.world.wireguard);
  for (const auto& [id, nexthop] : old.world.nexthops) EXPECT_TRUE(nexthop.tunnel);
  EXPECT_THAT(problems(desired, old.world), IsEmpty());
  EXPECT_EQ(wanted_wireguard_mtu(desired, old.world), 0u);
}

TEST_F(PlanWireguard, NeedsNoTunnelDevice) {
  FakeKernel without;
  without.world = test::empty_machine(desired);
  without.world.no_tunnel = "no /dev/net/tun";
  ASSERT_EQ(run(without, desired), "");
  EXPECT_FALSE(without.world.tunnel);
  EXPECT_EQ(without.world.wireguard->peers.size(), 2u);
  for (const auto& [id, nexthop] : without.world.nexthops) EXPECT_TRUE(nexthop.wireguard);
  EXPECT_EQ(pod_mtu(desired, without.world), 1440u);
  EXPECT_THAT(problems(desired, without.world), ElementsAre(HasSubstr("only nodes that have WireGuard, too")));
}

TEST_F(PlanWireguard, WhoIsAnExceptionMayGoInTheClear) {
  peer("n2").clear = true;
  peer("n2").path = Path::vxlan;
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(through(Through::vxlan), 1u);
  peer("n3").path = Path::vxlan;  // no exception: whatever is said, it is sealed
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(through(Through::tunnel), 1u);
}

}  // namespace
}  // namespace trama::overlay
