// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes with two uplinks, on two switches: one of them fails at one end or at both, seen by the card or not.
#include <cstdlib>

#include <gtest/gtest.h>

#include "agent/peer_pages.h"
#include "overlay/peers/neighbours.h"
#include "tests/kernel/overlay/capture.h"
#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using peers::Use;
using std::chrono::milliseconds;

class Uplinks : public testing::Test {
 protected:
  void up(unsigned count, const Demands& demands = {}, Family underlay = Family::v4, unsigned second_mtu = 1500) {
    lab = std::make_unique<Lab>(count, std::nullopt, underlay);
    lab->add_uplink(second_mtu);
    for (unsigned n = 1; n <= count; ++n) start(n, demands);
  }
  void start(unsigned n, const Demands& demands = {}) {
    nodes[n].reset();
    nodes[n] = std::make_unique<WholeNode>((*lab)[n], authority(), demands);
  }
  void TearDown() override {
    nodes.clear();
    lab.reset();
  }
  std::string tables() {
    std::string out;
    for (auto& [n, node] : nodes)
      if (node) out += describe(node->status());
    return out;
  }
  bool both_take(unsigned a, unsigned b, Use use, int ms = 5000) {
    return nodes[a]->takes(fmt::format("n{}", b), use, ms) && nodes[b]->takes(fmt::format("n{}", a), use, ms);
  }
  // Uplink number `k` of each, and the other one answers, too.
  bool over(unsigned from, unsigned to, unsigned k, bool spare_well = false, int ms = 5000) {
    return trama::test::eventually(
        [&] {
          auto s = nodes[from]->status();
          const auto* p = peer_in(s, fmt::format("n{}", to));
          auto here = uplinks_of((*lab)[from].desired)[k], there = uplinks_of((*lab)[to].desired)[k];
          bool used = false, spare = !spare_well;
          for (const auto& w : p->ways) {
            used |= w.used && p->way_known && w.here == here && w.there == there;
            spare |= !w.used && w.state == PathState::up && w.here != here && w.there != there;
          }
          if (!used || !spare) return false;
          if (p->use != Use::vxlan) return true;
          return programmed(from, to, here, there);
        },
        ms);
  }
  // In the kernel: the outer addresses of that peer's nexthop.
  bool programmed(unsigned from, unsigned to, const Ip& here, const Ip& there) {
    auto gateway = tunnel_gateway(vtep_ip(*cidr_of((*lab)[to].desired.pod_cidrs, Family::v6)),
                                  vtep_mac("test", (*lab)[to].desired.node));
    for (const auto& [id, n] : (*lab)[from].observe().nexthops)
      if (n.gateway == gateway && n.from == here && n.to == there) return true;
    return false;
  }
  bool both_over(unsigned a, unsigned b, unsigned k, bool spare_well = false, int ms = 5000) {
    return over(a, b, k, spare_well, ms) && over(b, a, k, spare_well, ms);
  }
  // The first switch carries nothing, and no card notices.
  void black_hole() {
    ASSERT_EQ(lab->fabric.shell("nft 'add table bridge test; add chain bridge test f { type filter hook forward "
                                "priority 0; }; add rule bridge test f iifname \"p*\" drop'"),
              0);
  }
  void unhole() { ASSERT_EQ(lab->fabric.shell("nft delete table bridge test"), 0); }
  void port(unsigned n, const char* state) {
    ASSERT_EQ(lab->fabric.shell(fmt::format("ip link set p{} {}", n, state)), 0);
  }
  std::string remote_of(unsigned from, unsigned to) {
    auto s = nodes[from]->status();
    return peer_in(s, fmt::format("n{}", to))->remote;
  }

  std::unique_ptr<Lab> lab;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

// With the real times.
TEST_F(Uplinks, ASilentSwitchIsLeftWithinThreeSecondsAndReturnedTo) {
  up(2);
  ASSERT_TRUE(both_take(1, 2, Use::vxlan)) << tables();
  ASSERT_TRUE(both_over(1, 2, 0, true)) << tables();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Conversation talk(a, b);
  EXPECT_EQ(talk.say("before"), "");
  Capture second(a.host.netns(), "eth1");
  EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), 1000), "");
  for (const auto& f : second.take()) EXPECT_NE(udp_port_of(f), 6784) << "the control: nothing goes there";
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(10));
  auto begin = Clock::now();
  black_hole();
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  auto took = seconds_since(begin);
  EXPECT_LE(took, 3.0) << tables();
  EXPECT_EQ(talk.say(std::string(60'000, 'd')), "") << "during";
  EXPECT_TRUE(both_take(1, 2, Use::vxlan, 3000)) << tables();
  for (std::size_t size : {1u, 1400u, 9000u}) EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod4(), size), "") << size;
  EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod6(), 4 << 20), "");
  unsigned there = 0;
  for (const auto& f : second.take()) there += udp_port_of(f) == 6784;
  EXPECT_GT(there, 100u);
  EXPECT_TRUE(trama::test::eventually(
      [&] { return remote_of(1, 2) == "172.30.0.2:6783" || remote_of(2, 1) == "172.30.0.1:6783"; }, 4000))
      << "the conversation is begun anew there\n"
      << tables();
  EXPECT_TRUE(nodes[1]->mesh().wait([](const MeshStatus& s) {
    return s.peers[0].path(PathKind::control).state == PathState::up;
  })) << tables();
  auto s = nodes[1]->status();
  EXPECT_NE(agent::overlay_connections(s).find("(over 172.30.0.1 -> 172.30.0.2, because 192.168.77.1 -> 192.168.77.2 "
                                               "does not answer)"),
            std::string::npos)
      << agent::overlay_connections(s);
  EXPECT_NE(agent::overlay_paths(s).find("172.30.0.1 -> 172.30.0.2"), std::string::npos);
  begin = Clock::now();
  unhole();
  EXPECT_TRUE(both_over(1, 2, 0, true, 15'000)) << tables();
  auto back = seconds_since(begin);
  EXPECT_EQ(talk.say("after"), "");
  auto result = pinger.stop();
  std::printf("left after %.2f s, back after %.2f s, longest gap %d ms\n", took, back,
              static_cast<int>(result.longest_gap.count()));
  EXPECT_GT(result.lost, 0u) << "the control: it was cut";
  EXPECT_LE(result.longest_gap.count(), 3000);
  EXPECT_EQ(nodes[1]->status().tunnel.forged, 0u);
  for (auto* node : {&a, &b}) EXPECT_EQ(node->counted("the sender is no peer"), 0u);
}

// A cable is out at one end: n3 and the other end's other peers keep the first switch.
TEST_F(Uplinks, ALostCarrierAtEitherEndConcernsThatNodeAlone) {
  up(3, hasty(), Family::v6);
  for (auto [x, y] : {std::pair{1u, 2u}, {1u, 3u}, {2u, 3u}}) ASSERT_TRUE(both_over(x, y, 0, true)) << tables();
  Conversation talk((*lab)[1], (*lab)[2]);
  for (unsigned cut : {1u, 2u}) {
    Pinger pinger((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), milliseconds(5));
    port(cut, "down");
    EXPECT_TRUE(both_over(1, 2, 1)) << cut << tables();
    EXPECT_TRUE(both_over(cut, 3, 1)) << cut << tables();
    EXPECT_TRUE(both_over(3 - cut, 3, 0)) << "the control: others are not touched\n" << tables();
    EXPECT_EQ(talk.say(std::string(40'000, 'c')), "") << cut;
    auto result = pinger.stop();
    EXPECT_LE(result.longest_gap.count(), 1500) << cut;
    port(cut, "up");
    EXPECT_TRUE(both_over(1, 2, 0, true, 15'000)) << cut << tables();
    EXPECT_TRUE(both_over(cut, 3, 0, true, 15'000)) << cut << tables();
    EXPECT_EQ(talk.say("back"), "") << cut;
  }
  // At both ends at once.
  port(1, "down");
  port(2, "down");
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  EXPECT_EQ(talk.say(std::string(40'000, 'b')), "");
  if (!std::getenv("TRAMA_LONG")) return;
  // Both switches: nothing is torn down, and what comes back first carries.
  ASSERT_EQ(lab->fabric.shell("ip link set sw2 down"), 0);
  EXPECT_TRUE(nodes[1]->mesh().wait([](const MeshStatus& s) { return s.peers[0].used().state == PathState::down; }));
  EXPECT_TRUE(over(1, 2, 1)) << "where nothing answers, nothing changes\n" << tables();
  port(1, "up");
  port(2, "up");
  EXPECT_TRUE(both_over(1, 2, 0, false, 15'000)) << tables();
  EXPECT_EQ(talk.say("at last"), "");
}

TEST_F(Uplinks, TheTunnelTakesTheOtherUplinkAndNothingGoesInTheClear) {
  up(2, hasty(true));
  ASSERT_TRUE(both_take(1, 2, Use::tunnel)) << tables();
  ASSERT_TRUE(both_over(1, 2, 0, true)) << tables();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Conversation talk(a, b);
  EXPECT_EQ(talk.say("before"), "");
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(5));
  black_hole();
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  EXPECT_EQ(talk.say(std::string(60'000, 'd')), "");
  Capture capture(a.host.netns(), "eth1");
  whisper(a, b);
  auto sight = look(capture.take(), kSecret);
  EXPECT_GE(sight.tunnel, 100u);
  EXPECT_EQ(sight.clear + sight.vxlan, 0u);
  EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 4 << 20), "");
  unhole();
  EXPECT_TRUE(both_over(1, 2, 0, true, 15'000)) << tables();
  EXPECT_EQ(talk.say("after"), "");
  auto result = pinger.stop();
  EXPECT_LE(result.longest_gap.count(), 1500);
}

TEST_F(Uplinks, TheOtherUplinksMtuIsToldAtOnce) {
  up(2, hasty(), Family::v4, 1400);
  ASSERT_TRUE(both_over(1, 2, 0, true)) << tables();
  ASSERT_TRUE(both_take(1, 2, Use::vxlan)) << tables();
  auto &a = (*lab)[1], &b = (*lab)[2];
  auto route = [&] { return a.host.shell("ip route show 10.244.2.0/24"); };
  EXPECT_NE(route().find("mtu 1450"), std::string::npos) << route();
  black_hole();
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  EXPECT_TRUE(trama::test::eventually([&] { return route().find("mtu 1350") != std::string::npos; }, 1000)) << route();
  (void)udp_round_trip(a.pod, b.pod, b.pod4(), 9000, 100);  // the smaller MTU is told at the first try
  (void)udp_round_trip(b.pod, a.pod, a.pod4(), 9000, 100);
  EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), 9000), "");
  EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod4(), 4 << 20), "");
  unhole();
  EXPECT_TRUE(both_over(1, 2, 0, true, 15'000)) << tables();
  EXPECT_TRUE(trama::test::eventually([&] { return route().find("mtu 1450") != std::string::npos; }, 3000)) << route();
}

// What the kernel has when an agent begins, stays until the agent knows better.
TEST_F(Uplinks, ARestartedOrStoppedAgentChangesNothing) {
  up(2, hasty());
  ASSERT_TRUE(both_over(1, 2, 0, true)) << tables();
  black_hole();
  ASSERT_TRUE(both_over(1, 2, 1)) << tables();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(5));
  start(1, hasty());
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  EXPECT_TRUE(both_take(1, 2, Use::vxlan)) << tables();
  auto result = pinger.stop();
  EXPECT_EQ(result.lost, 0u) << "of " << result.sent;
  unhole();
  ASSERT_TRUE(both_over(1, 2, 0, true, 15'000)) << tables();
  // An agent that has stopped answers on no uplink: that says nothing about any.
  auto switches = nodes[1]->status().peers[0].way_switches;
  nodes[2]->mesh().stall(milliseconds(2000));
  EXPECT_TRUE(both_over(1, 2, 0, true, 5000)) << tables();
  EXPECT_EQ(nodes[1]->status().peers[0].way_switches, switches) << tables();
  if (!std::getenv("TRAMA_LONG")) return;  // PlanOfUplinks and Guards have the rest
  // One of n2's addresses is announced no longer.
  nodes[1].reset();
  a.desired.peers.at("n2").further.clear();
  start(1, hasty());
  EXPECT_TRUE(trama::test::eventually([&] { return nodes[1]->status().peers[0].ways.size() == 2; })) << tables();
  EXPECT_TRUE(trama::test::eventually([&] {
    return a.host.shell("nft list set inet trama-overlay peers").find("172.30.0.2 comment") == std::string::npos;
  })) << a.host.shell("nft list set inet trama-overlay peers");
}

// Nodes that keep no conversation: keys are made when the first uplink falls silent, over the other one.
TEST_F(Uplinks, NodesThatAreNoNeighboursFindTheOtherUplink) {
  lab = std::make_unique<Lab>(6, std::nullopt);
  lab->add_uplink();
  Demands demands;
  demands.mesh.full_mesh = 2;
  std::set<std::string> near = peers::neighbours("n1", {"n2", "n3", "n4", "n5", "n6"}, 2);
  unsigned far = 0;
  for (unsigned n = 2; n <= 6; ++n)
    if (!near.contains(fmt::format("n{}", n))) far = n;
  ASSERT_NE(far, 0u);
  for (unsigned n : {1u, far}) start(n, demands);
  ASSERT_TRUE(both_take(1, far, Use::vxlan)) << tables();
  EXPECT_EQ(peer_in(nodes[1]->status(), fmt::format("n{}", far))->keys, 0u) << "the control: nobody needs them";
  Pinger pinger((*lab)[1].pod, (*lab)[far].pod, (*lab)[far].pod4(), milliseconds(10));
  black_hole();
  EXPECT_TRUE(both_over(1, far, 1)) << tables();
  std::this_thread::sleep_for(milliseconds(300));
  auto result = pinger.stop();
  std::printf("longest gap %d ms\n", static_cast<int>(result.longest_gap.count()));
  EXPECT_LE(result.longest_gap.count(), 3300);
  unhole();
  EXPECT_TRUE(both_over(1, far, 0, false, 15'000)) << tables();
}

TEST_F(Uplinks, PlainRoutesLeadOverTheFirstOneAlone) {
  lab = std::make_unique<Lab>(2, std::nullopt);
  lab->add_uplink();
  auto demands = hasty();
  demands.direct = true;
  for (unsigned n : {1u, 2u}) start(n, demands);
  ASSERT_TRUE(both_take(1, 2, Use::direct)) << tables();
  ASSERT_TRUE(both_over(1, 2, 0, true)) << tables();
  Conversation talk((*lab)[1], (*lab)[2]);
  black_hole();
  EXPECT_TRUE(both_over(1, 2, 1)) << tables();
  EXPECT_TRUE(both_take(1, 2, Use::vxlan)) << tables();
  EXPECT_EQ(talk.say(std::string(40'000, 'v')), "");
  EXPECT_TRUE(nodes[1]->mesh().wait([](const MeshStatus& s) {
    return s.peers[0].path(PathKind::direct).reason.find("the first one alone") != std::string::npos;
  })) << tables();
  unhole();
  EXPECT_TRUE(both_take(1, 2, Use::direct, 15'000)) << tables();
  EXPECT_EQ(talk.say("after"), "");
}

}  // namespace
}  // namespace trama::overlay::test
