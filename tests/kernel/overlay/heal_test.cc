// SPDX-License-Identifier: GPL-2.0-or-later
// What a hand breaks on a running node is whole again within a second; what the hand did not break stays untouched.
#include <chrono>
#include <iostream>

#include <gmock/gmock.h>
#include <sys/socket.h>

#include "tests/kernel/overlay/running_node.h"

namespace trama::overlay {
namespace {

using test::ip;
using test::Lab;
using test::RunningNode;
using testing::ElementsAre;
using testing::HasSubstr;

struct Damage {
  const char* name;
  const char* command;
};

class Heal : public testing::TestWithParam<Mode> {
 protected:
  Lab lab{2, GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Modes, Heal, testing::Values(Mode::nexthop, Mode::fdb),
                         [](const auto& i) { return to_text(i.param); });

TEST_P(Heal, EveryKindOfDamageWithinASecond) {
  lab[2].converge();
  RunningNode node(lab[1].host.netns(), GetParam());
  node.publish(lab[1].desired);
  auto status = node.wait(true);
  ASSERT_TRUE(status);
  EXPECT_THAT(status->problems, ElementsAre());
  EXPECT_EQ(status->mtu, 1450u);
  EXPECT_EQ(status->uplink, "eth0");
  EXPECT_EQ(status->peers, 1u);
  std::vector<Damage> damages = {
      {"device deleted", "ip link del trama0"},
      {"device down", "ip link set trama0 down"},
      {"routes flushed", "ip route flush proto 116; ip -6 route flush proto 116"},
      {"neighbours flushed", "ip neigh flush dev trama0 nud permanent"},
      {"MAC changed", "ip link set trama0 address 02:00:00:00:00:99"},
      {"MTU changed", "ip link set trama0 mtu 1300"},
      {"address removed", "ip addr flush dev trama0"},
      {"foreign address", "ip addr add 10.9.9.9/24 dev trama0"},
      {"device replaced", "ip link del trama0; ip link add trama0 type bridge"},
      {"uplink MTU", "ip link set eth0 mtu 1400"},
      {"uplink MTU back", "ip link set eth0 mtu 1500"},
      {"forwarding off", "sysctl -qw net.ipv4.ip_forward=0"},
      {"rp_filter on", "sysctl -qw net.ipv4.conf.trama0.rp_filter=1"},
      {"table deleted", "nft delete table inet trama-overlay"},
      {"ruleset flushed", "nft flush ruleset"},
      {"rule added", "nft insert rule inet trama-overlay prerouting drop"},
      {"peer removed from the set", "nft delete element inet trama-overlay peers '{ 192.168.77.2 }'"},
      {"stranger added to the set", "nft add element inet trama-overlay peers '{ 192.168.77.99 }'"},
  };
  if (GetParam() == Mode::nexthop) {
    damages.push_back({"nexthops flushed", "ip nexthop flush proto 116"});
    damages.push_back({"nexthop repointed",
                       "ip nexthop replace id $(ip nexthop | awk '{print $2}') encap ip id 116 dst "
                       "192.168.77.99 via fd00:244:2:: dev trama0 onlink proto 116"});
  } else {
    damages.push_back({"FDB emptied", "bridge fdb del $(bridge fdb show dev trama0 | awk '{print $1}') dev trama0"});
  }
  using clock = std::chrono::steady_clock;
  std::int64_t worst = 0;
  for (const auto& damage : damages) {
    auto repairs = node.repairs();
    auto start = clock::now();
    // ip(8) may complain that things come back while it is still removing others.
    (void)lab[1].host.netns().shell(damage.command);
    EXPECT_TRUE(trama::test::eventually([&] { return node.repairs() > repairs; }, 1000)) << damage.name;
    // A second observer with a kernel port of its own says whether anything is left to do.
    EXPECT_TRUE(trama::test::eventually([&] { return lab[1].outstanding().empty(); }, 1000)) << damage.name << ":\n"
                                                                                             << lab[1].outstanding();
    auto took = std::chrono::duration_cast<std::chrono::milliseconds>(clock::now() - start).count();
    worst = std::max<std::int64_t>(worst, took);
    EXPECT_EQ(test::udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1300), "") << damage.name;
    EXPECT_EQ(test::udp_round_trip(lab[2].pod, lab[1].pod, lab[1].pod6(), 1200), "") << damage.name;
  }
  std::cout << damages.size() << " kinds of damage, slowest repair " << worst << " ms\n";
}

TEST_P(Heal, NothingIsDoneWithoutNeed) {
  lab[2].converge();
  RunningNode node(lab[1].host.netns(), GetParam());
  node.publish(lab[1].desired);
  ASSERT_TRUE(node.wait(true));
  // Its own events wake it once or twice more, then it is quiet, also while others change their own things.
  EXPECT_TRUE(trama::test::eventually([&] {
    auto before = node.passes();
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    return node.passes() == before;
  }));
  auto before = node.passes();
  auto mac = lab[1].host.shell("ip link show trama0; nft list table inet trama-overlay");
  lab[1].host.shell(
      "ip link add other type bridge; ip link set other up; ip link del other; ip neigh add 192.168.77.9 "
      "lladdr 02:00:00:00:00:77 dev eth0; ip neigh del 192.168.77.9 dev eth0");
  EXPECT_EQ(node.passes(), before);
  EXPECT_EQ(lab[1].host.shell("ip link show trama0; nft list table inet trama-overlay"), mac);
}

TEST_P(Heal, ATakenPortIsReportedAndTheOverlayComesWhenItIsFree) {
  auto taken =
      std::make_optional<test::Socket>(lab[1].host.netns(), Family::v4, SOCK_DGRAM, base::IpPort{Ip(), kDataPort});
  RunningNode node(lab[1].host.netns(), GetParam());
  node.publish(lab[1].desired);
  auto status = node.wait(false);
  ASSERT_TRUE(status);
  ASSERT_EQ(status->problems.size(), 1u) << testing::PrintToString(status->problems);  // no echoes of the one cause
  EXPECT_THAT(status->problems[0], HasSubstr("UDP port 6784 is taken by pid"));
  taken.reset();
  EXPECT_TRUE(node.wait(true));
}

TEST_P(Heal, StoppingRemovesNothingAndAnEmptyStateRemovesAll) {
  lab[2].converge();
  {
    RunningNode node(lab[1].host.netns(), GetParam());
    node.publish(lab[1].desired);
    ASSERT_TRUE(node.wait(true));
  }
  EXPECT_EQ(test::udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1400), "");
  RunningNode again(lab[1].host.netns(), GetParam());
  again.publish(lab[1].desired);
  auto status = again.wait(true);
  ASSERT_TRUE(status);
  EXPECT_EQ(status->operations, 0u);
  again.publish(Desired{});
  ASSERT_TRUE(again.wait(true));
  EXPECT_EQ(lab[1].host.shell(
                "exec 2>/dev/null; ip -br link show type vxlan; ip route show proto 116; ip nexthop; nft list ruleset"),
            "");
}

}  // namespace
}  // namespace trama::overlay
