// SPDX-License-Identifier: GPL-2.0-or-later
// Plain routes between nodes on one link: packets as they are, whose they may be, and what happens when the link does
// not take them.
#include <gtest/gtest.h>

#include "tests/kernel/overlay/capture.h"
#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using peers::Use;
using std::chrono::milliseconds;

class Direct : public testing::Test {
 protected:
  void up(unsigned count, Family underlay = Family::v4) {
    lab = std::make_unique<Lab>(count, std::nullopt, underlay);
    for (auto& [n, node] : lab->nodes) {
      node->host.shell("ip link set pod0 mtu 1500");
      int done = node->pod.shell("ip link set eth0 mtu 1500");
      ASSERT_EQ(done, 0);
    }
    for (unsigned n = 1; n <= count; ++n) start(n);
  }
  void start(unsigned n, bool direct = true) {
    nodes[n].reset();
    Demands demands;
    demands.direct = direct;
    demands.mesh.redial = milliseconds(100);
    nodes[n] = std::make_unique<WholeNode>((*lab)[n], authority(), demands);
  }
  void TearDown() override {
    nodes.clear();
    lab.reset();
  }
  bool both_take(Use use, int ms = 6000) { return nodes[1]->takes("n2", use, ms) && nodes[2]->takes("n1", use, ms); }
  std::string table() { return describe(nodes.at(1)->status()) + describe(nodes.at(2)->status()); }
  // The switch forgets what it has been told.
  void filter(const std::string& what) {
    ASSERT_EQ(lab->fabric.shell("nft 'add table bridge test; add chain bridge test f { type filter hook forward "
                                "priority 0; }; add rule bridge test f " +
                                what + " drop'"),
              0);
  }
  void unfilter() { ASSERT_EQ(lab->fabric.shell("nft delete table bridge test"), 0); }

  std::unique_ptr<Lab> lab;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

std::uint16_t ethertype_of(const std::string& frame) {
  return static_cast<std::uint16_t>(static_cast<std::uint8_t>(frame[12]) << 8 | static_cast<std::uint8_t>(frame[13]));
}

TEST_F(Direct, PacketsGoAsTheyAreAtTheFullSizeOfTheLink) {
  up(2);
  ASSERT_TRUE(both_take(Use::direct)) << table();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Capture capture(a.host.netns(), "eth0");
  const std::string secret = "as it is, without anything around it";
  for (int i = 0; i < 20; ++i) {
    Socket server(b.pod, Family::v4, SOCK_DGRAM), client(a.pod, Family::v4, SOCK_DGRAM);
    ASSERT_TRUE(client.send_to({b.pod4(), server.port()}, secret));
    ASSERT_TRUE(server.receive());
  }
  std::size_t plain = 0, wrapped = 0;
  for (const auto& f : capture.take())
    if (f.find(secret) != f.npos) ++(udp_port_of(f) == 6784 ? wrapped : plain);
  EXPECT_GE(plain, 20u);
  EXPECT_EQ(wrapped, 0u);
  // 1500 bytes in one piece, which VXLAN has no room for.
  EXPECT_EQ(a.pod.shell("ping -c 2 -i 0.2 -W 1 -M do -s 1472 " + b.pod4().to_string()), 0);
  EXPECT_NE(a.pod.shell("ping -c 1 -W 1 -M do -s 1473 " + b.pod4().to_string()), 0);
  for (std::size_t size : {1u, 1472u, 9000u}) EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod4(), size), "") << size;
  EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod4(), 8 << 20), "");
  // IPv6 has no gateway on an IPv4 link: the overlay carries it all the same.
  (void)udp_round_trip(a.pod, b.pod, b.pod6(), 9000, 100);
  (void)udp_round_trip(b.pod, a.pod, a.pod6(), 9000, 100);
  (void)capture.take();
  EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod6(), 1000), "");
  EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 1 << 20), "");
  for (const auto& f : capture.take())
    EXPECT_FALSE(ethertype_of(f) == 0x86dd && f.find("uuuuuuuu") != f.npos) << "an IPv6 packet of a pod as it is";
  auto s = nodes[1]->status();
  EXPECT_EQ(s.peers[0].path(PathKind::direct).mtu, 1500u) << table();
  EXPECT_EQ(s.peers[0].path(PathKind::overlay).state, PathState::up) << "watched beside it\n" << table();
}

TEST_F(Direct, AnIpv6LinkTakesBothFamilies) {
  up(2, Family::v6);
  ASSERT_TRUE(both_take(Use::direct)) << table();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Capture capture(a.host.netns(), "eth0");
  EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod6(), 1452), "");
  EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), 1472), "");
  EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 4 << 20), "");
  std::set<std::uint16_t> seen;
  for (const auto& f : capture.take())
    if (f.find("uuuuuuuu") != f.npos) seen.insert(ethertype_of(f));
  EXPECT_EQ(seen, (std::set<std::uint16_t>{0x0800, 0x86dd})) << "IPv4 over a gateway of the other family";
}

// Port security: a switch that lets out of a port only the addresses that it has given it.
TEST_F(Direct, WhereTheSwitchFiltersThemVxlanTakesOverWithinThreeSeconds) {
  up(2);
  ASSERT_TRUE(both_take(Use::direct)) << table();
  auto &a = (*lab)[1], &b = (*lab)[2];
  Conversation talk(a, b);
  EXPECT_EQ(talk.say("before"), "");
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(10));
  auto begin = Clock::now();
  filter("ip saddr 10.244.0.0/16");
  // At first perhaps the tunnel: the other kernel's answers to VXLAN's probes went over the link as well.
  auto left = [&] { return !nodes[1]->programmed("n2", Use::direct) && !nodes[2]->programmed("n1", Use::direct); };
  EXPECT_TRUE(trama::test::eventually(left)) << table();
  EXPECT_LE(seconds_since(begin), 3.0) << table();
  EXPECT_TRUE(both_take(Use::vxlan)) << table();
  EXPECT_EQ(talk.say(std::string(60'000, 'd')), "") << "during";
  EXPECT_NE(nodes[1]->status().peers[0].why.find("port security"), std::string::npos) << table();
  begin = Clock::now();
  unfilter();
  EXPECT_TRUE(both_take(Use::direct, 15'000)) << table();
  EXPECT_LE(seconds_since(begin), 15.0);
  EXPECT_EQ(talk.say("after"), "");
  auto result = pinger.stop();
  std::printf("longest gap %d ms\n", static_cast<int>(result.longest_gap.count()));
  EXPECT_LE(result.longest_gap.count(), 3000) << "of the pings";
}

TEST_F(Direct, APodsPacketFromAnotherStationIsDroppedAndCounted) {
  up(3);
  ASSERT_TRUE(both_take(Use::direct)) << table();
  auto &a = (*lab)[1], &b = (*lab)[2], &c = (*lab)[3];
  const std::string dropped = "a pod's packet that another than its node has sent";
  Host stranger(lab->fabric, "p9", {"192.168.77.99/16"});
  auto gets_in = [&](const Host& from, const std::string& source) {
    from.shell("ip addr replace " + source + "/32 dev lo; ip route replace 10.244.1.5/32 via 192.168.77.1 dev eth0");
    Socket server(a.pod, Family::v4, SOCK_DGRAM);
    Socket client(from.netns(), Family::v4, SOCK_DGRAM, base::IpPort{ip(source.c_str()), 0});
    EXPECT_TRUE(client.send_to({a.pod4(), server.port()}, "hello"));
    bool in = server.receive(200).has_value();
    from.shell("ip addr del " + source + "/32 dev lo; ip route del 10.244.1.5/32 dev eth0");
    return in;
  };
  EXPECT_TRUE(gets_in(b.host, "10.244.2.77")) << "the control: a pod's address of n2";
  auto before = a.counted(dropped);
  EXPECT_FALSE(gets_in(stranger, "10.244.2.77")) << "a stranger";
  EXPECT_FALSE(gets_in(c.host, "10.244.2.77")) << "another node";
  EXPECT_FALSE(gets_in(b.host, "10.244.3.77")) << "n2 as a pod of n3";
  EXPECT_FALSE(gets_in(stranger, "10.244.1.77")) << "as a pod of the receiver's own";
  EXPECT_FALSE(gets_in(stranger, "10.244.200.7")) << "of nobody";
  EXPECT_EQ(a.counted(dropped), before + 5);
  // The other control: without that rule, and so without plain routes, whoever is on the link can do it.
  start(1, false);
  ASSERT_TRUE(nodes[1]->takes("n2", Use::vxlan)) << table();
  EXPECT_TRUE(trama::test::eventually([&] { return a.counted(dropped) == 0; }));
  EXPECT_TRUE(gets_in(stranger, "10.244.2.77"));
}

// One pair goes over a third node while that node's own pairs go directly.
TEST_F(Direct, TheThirdNodeOfARelayIsReachedDirectly) {
  up(3);
  for (auto [x, y] : {std::pair{1u, 2u}, {1u, 3u}, {2u, 3u}}) {
    ASSERT_TRUE(nodes[x]->takes(fmt::format("n{}", y), Use::direct)) << table();
    ASSERT_TRUE(nodes[y]->takes(fmt::format("n{}", x), Use::direct)) << table();
  }
  Conversation talk((*lab)[1], (*lab)[3]);
  EXPECT_EQ(talk.say("before"), "");
  filter("iifname { \"p1\", \"p3\" } oifname { \"p1\", \"p3\" }");
  EXPECT_TRUE(nodes[1]->takes("n3", Use::relay, 8000)) << table();
  EXPECT_TRUE(nodes[3]->takes("n1", Use::relay, 8000)) << table();
  EXPECT_TRUE(nodes[1]->takes("n2", Use::direct, 100)) << table();
  EXPECT_TRUE(nodes[3]->takes("n2", Use::direct, 100)) << table();
  EXPECT_EQ(talk.say(std::string(60'000, 'r')), "");
  EXPECT_EQ(tcp_transfer((*lab)[1].pod, (*lab)[3].pod, (*lab)[3].pod4(), 4 << 20), "");
  EXPECT_EQ(tcp_transfer((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 4 << 20), "");
  EXPECT_GT(nodes[2]->status().tunnel.relayed_packets, 1000u);
  unfilter();
  EXPECT_TRUE(nodes[1]->takes("n3", Use::direct, 15'000)) << table();
  EXPECT_TRUE(nodes[3]->takes("n1", Use::direct, 15'000)) << table();
  EXPECT_EQ(talk.say("after"), "");
}

TEST_F(Direct, BothMustWantItAndEncryptionForbidsIt) {
  lab = std::make_unique<Lab>(2, std::nullopt);
  start(1);
  start(2, false);
  ASSERT_TRUE(both_take(Use::vxlan)) << table();
  EXPECT_TRUE(nodes[1]->mesh().wait([](const MeshStatus& s) {
    return s.peers[0].path(PathKind::direct).reason == "n2 does not offer it (--direct-routing)";
  })) << table();
  EXPECT_TRUE(nodes[1]->takes("n2", Use::vxlan, 100)) << table();
  Demands encrypted;
  encrypted.direct = encrypted.encrypt = true;
  nodes[2].reset();
  nodes[2] = std::make_unique<WholeNode>((*lab)[2], authority(), encrypted);
  ASSERT_TRUE(both_take(Use::tunnel)) << "one that requires encryption is enough\n" << table();
  EXPECT_EQ((*lab)[2].host.shell("nft list table inet trama-overlay").find("direct4"), std::string::npos);
}

TEST_F(Direct, ARestartedAgentChangesNothing) {
  up(2);
  ASSERT_TRUE(both_take(Use::direct)) << table();
  for (unsigned n : {1u, 2u}) {
    Pinger pinger((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), milliseconds(5));
    start(n);
    EXPECT_TRUE(both_take(Use::direct)) << table();
    auto result = pinger.stop();
    EXPECT_EQ(result.lost, 0u) << "of " << result.sent << ", n" << n;
  }
  // What is ours and damaged comes back.
  for (const char* damage :
       {"ip nexthop flush proto 116", "nft delete table inet trama-overlay", "ip link del trama0"}) {
    auto begin = Clock::now();
    (void)(*lab)[1].host.netns().shell(damage);
    EXPECT_TRUE(both_take(Use::direct)) << damage << table();
    EXPECT_EQ(udp_round_trip((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 1400), "") << damage;
    EXPECT_LE(seconds_since(begin), 1.5) << damage;
  }
}

}  // namespace
}  // namespace trama::overlay::test
