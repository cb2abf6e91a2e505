// SPDX-License-Identifier: GPL-2.0-or-later
// The second path between nodes of a lab: packets through the sealed tunnel, the change between both paths, encryption.
#include <random>

#include <gtest/gtest.h>
#include <sys/socket.h>

#include "tests/kernel/overlay/capture.h"
#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using peers::Use;
using std::chrono::milliseconds;

class Tunnel : public testing::Test {
 protected:
  void up(unsigned count, const Demands& demands = {}, Family underlay = Family::v4) {
    lab = std::make_unique<Lab>(count, std::nullopt, underlay);
    for (unsigned n = 1; n <= count; ++n) start(n, demands);
  }
  void start(unsigned n, const Demands& demands) {
    nodes[n].reset();
    nodes[n] = std::make_unique<WholeNode>((*lab)[n], authority(), demands);
  }
  void TearDown() override {
    nodes.clear();
    lab.reset();
  }
  std::string table(unsigned n) { return describe(nodes.at(n)->status()); }
  bool both_take(Use use, int ms = 5000) { return nodes[1]->takes("n2", use, ms) && nodes[2]->takes("n1", use, ms); }
  // Beside VXLAN, whichever is used.
  bool tunnel_stands() {
    return nodes[1]->mesh().wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::tunnel, PathState::up); });
  }
  void block(unsigned n, const std::string& what) {
    (*lab)[n].host.shell(
        "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority -400; }; add rule "
        "inet "
        "test in " +
        what + " drop'");
  }
  void unblock(unsigned n) { (*lab)[n].host.shell("nft delete table inet test"); }
  // Small and large, both families, both ways.
  void expect_all_pass(const char* when) {
    auto &a = (*lab)[1], &b = (*lab)[2];
    // Whose pod believes in a larger MTU is told of the smaller one at the first try.
    (void)udp_round_trip(a.pod, b.pod, b.pod4(), 9000, 100);
    (void)udp_round_trip(b.pod, a.pod, a.pod6(), 9000, 100);
    (void)udp_round_trip(a.pod, b.pod, b.pod6(), 9000, 100);
    for (std::size_t size : {1u, 1300u, 1452u, 9000u}) {
      EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), size), "") << when << " " << size;
      EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod6(), size), "") << when << " " << size;
    }
    EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod4(), 8 << 20), "") << when;
    EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 8 << 20), "") << when;
  }

  std::unique_ptr<Lab> lab;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

// ---- the path -------------------------------------------------------------------------------------------------------

TEST_F(Tunnel, CarriesPacketsOfAllSizesOfBothFamilies) {
  Demands demands;
  demands.encrypt = true;
  up(2, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  expect_all_pass("required");
  auto s = nodes[1]->status();
  EXPECT_GT(s.tunnel.sent_packets, 1000u);
  EXPECT_GT(s.tunnel.received_packets, 1000u);
  EXPECT_EQ(s.tunnel.forged + s.tunnel.replayed + s.tunnel.malformed + s.tunnel.wrong_source, 0u);
  EXPECT_EQ(s.peers[0].why, "n1 requires encryption");
  EXPECT_NE(s.peers[0].cipher, "");
  EXPECT_EQ(peers::to_string(s.peers[0].path(PathKind::overlay).state), std::string("unknown")) << "not probed";
}

TEST_F(Tunnel, CarriesPacketsOverAnIpv6Underlay) {
  Demands demands;
  demands.encrypt = true;
  up(2, demands, Family::v6);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  expect_all_pass("over IPv6");
}

TEST_F(Tunnel, TakesOverWhereVxlanDoesNotPassAndGivesBack) {
  up(2);
  ASSERT_TRUE(both_take(Use::vxlan)) << table(1) << table(2);
  ASSERT_TRUE(tunnel_stands()) << table(1);
  auto &a = (*lab)[1], &b = (*lab)[2];
  // A connection that lives through both.
  Conversation talk(a, b);
  EXPECT_EQ(talk.say("before"), "");
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(10));
  auto begin = Clock::now();
  for (unsigned n : {1u, 2u}) block(n, "udp dport 6784");
  EXPECT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  EXPECT_LE(seconds_since(begin), 3.0) << table(1);
  EXPECT_EQ(talk.say(std::string(60'000, 'd')), "") << "during";
  expect_all_pass("6784 is blocked");
  EXPECT_NE(nodes[1]->status().peers[0].why.find("6784 does not pass"), std::string::npos) << table(1);
  begin = Clock::now();
  for (unsigned n : {1u, 2u}) unblock(n);
  EXPECT_TRUE(both_take(Use::vxlan, 15'000)) << table(1) << table(2);
  EXPECT_LE(seconds_since(begin), 15.0);
  EXPECT_EQ(talk.say("after"), "");
  auto result = pinger.stop();
  RecordProperty("longest_gap_ms", static_cast<int>(result.longest_gap.count()));
  EXPECT_LE(result.longest_gap.count(), 3000) << "of the pings";
  EXPECT_EQ(nodes[1]->status().peers[0].switches, 2u);
}

TEST_F(Tunnel, OneWayOnlyThatWayTakesIt) {
  Demands hasty;  // a third of the real times, which are not what is proved here
  hasty.mesh.timers.steady = milliseconds(300);
  hasty.mesh.timers.quick = milliseconds(60);
  hasty.mesh.timers.patience = milliseconds(800);
  up(2, hasty);
  ASSERT_TRUE(both_take(Use::vxlan)) << table(1) << table(2);
  block(2, "udp dport 6784");  // n1 -> n2 is lost
  EXPECT_TRUE(nodes[1]->takes("n2", Use::tunnel)) << table(1);
  EXPECT_TRUE(nodes[2]->takes("n1", Use::vxlan, 15'000)) << table(2);
  std::this_thread::sleep_for(milliseconds(1200));
  EXPECT_TRUE(nodes[1]->takes("n2", Use::tunnel, 100)) << "it stays so\n" << table(1);
  EXPECT_TRUE(nodes[2]->takes("n1", Use::vxlan, 100)) << table(2);
  expect_all_pass("one way");
}

TEST_F(Tunnel, APlannedChangeLosesNothing) {
  up(2);
  ASSERT_TRUE(both_take(Use::vxlan)) << table(1) << table(2);
  ASSERT_TRUE(tunnel_stands()) << table(1);
  auto &a = (*lab)[1], &b = (*lab)[2];
  Pinger pinger(a.pod, b.pod, b.pod4(), milliseconds(1));
  for (int flip = 0; flip < 20; ++flip) {
    auto path = flip % 2 == 0 ? Path::tunnel : Path::vxlan;
    for (unsigned n : {1u, 2u}) nodes[n]->force(path);
    std::this_thread::sleep_for(milliseconds(200));
    EXPECT_TRUE(nodes[1]->programmed("n2", flip % 2 == 0 ? Use::tunnel : Use::vxlan)) << "the control";
  }
  auto result = pinger.stop();
  EXPECT_GE(result.sent, 3500u);
  EXPECT_EQ(result.lost, 0u) << "of " << result.sent;
}

TEST_F(Tunnel, KeysAreRenewedUnderLoadWithoutLoss) {
  Demands demands;
  demands.encrypt = true;
  demands.mesh.renew_after = milliseconds(300);
  up(2, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  auto before = nodes[1]->status().peers[0].keys;
  Pinger pinger((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), milliseconds(1), 1000);
  EXPECT_TRUE(nodes[1]->mesh().wait([&](const MeshStatus& s) { return s.peers[0].keys >= before + 3; }, 40'000))
      << table(1);
  auto result = pinger.stop();
  EXPECT_GE(result.sent, 50u);
  EXPECT_EQ(result.lost, 0u) << "of " << result.sent;
}

TEST_F(Tunnel, ADeletedDeviceComesBackAndPacketsPass) {
  Demands demands;
  demands.encrypt = true;
  up(2, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1);
  for (const char* damage : {"ip link del trama1", "ip link set trama1 down", "ip nexthop flush proto 116",
                             "ip addr flush dev trama1", "ip link set trama1 mtu 1300"}) {
    auto begin = Clock::now();
    (void)(*lab)[1].host.netns().shell(damage);
    EXPECT_TRUE(trama::test::eventually(
        [&] { return udp_round_trip((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 1400, 100).empty(); }, 3000))
        << damage;
    EXPECT_LE(seconds_since(begin), 1.5) << damage;
  }
}

// ---- who may send what
// ------------------------------------------------------------------------------------------------

TEST_F(Tunnel, WhatIsNotThePeersOwnIsDroppedAndCounted) {
  Demands demands;
  demands.encrypt = true;
  up(2, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  auto &a = (*lab)[1], &b = (*lab)[2];
  auto send_as = [&](const std::string& source) {
    b.host.shell("ip addr replace " + source + "/32 dev lo");
    Socket server(a.pod, Family::v4, SOCK_DGRAM);
    Socket client(b.host.netns(), Family::v4, SOCK_DGRAM, base::IpPort{ip(source.c_str()), 0});
    EXPECT_TRUE(client.send_to({a.pod4(), server.port()}, "hello"));
    return server.receive(300).has_value();
  };
  EXPECT_TRUE(send_as("10.244.2.77")) << "the control: a pod's address of n2";
  EXPECT_FALSE(send_as("10.244.3.77")) << "of another node's pods";
  EXPECT_FALSE(send_as("10.244.1.77")) << "of the receiver's own";
  EXPECT_EQ(nodes[1]->status().tunnel.wrong_source, 2u);
}

TEST_F(Tunnel, NothingForgedReplayedOrReflectedIsTaken) {
  Demands demands;
  demands.encrypt = true;
  up(2, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  Capture capture((*lab)[1].host.netns(), "eth0");
  whisper((*lab)[1], (*lab)[2]);
  std::vector<std::string> datagrams;
  for (const auto& f : capture.take())
    if (udp_port_of(f) == 6783 && f.size() > 42 + 32 && f[44] == 16) datagrams.push_back(f.substr(42));
  ASSERT_GE(datagrams.size(), 100u) << "both directions";
  Host stranger(lab->fabric, "p9", {"192.168.77.99/16"});
  auto before = nodes[1]->status().tunnel;
  const int tries = std::getenv("TRAMA_LONG") ? 1'000'000 : 60'000;
  std::mt19937_64 random(11);
  Socket out(stranger.netns(), Family::v4, SOCK_DGRAM);
  for (int i = 0; i < tries; ++i) {
    auto d = datagrams[random() % datagrams.size()];
    switch (random() % 4) {
      case 0: break;  // as it was: replayed, or reflected to who had sent it
      case 1: d[random() % d.size()] ^= static_cast<char>(1 << random() % 8); break;
      case 2:
        for (std::size_t at = 8; at < 16; ++at) d[at] = static_cast<char>(random());
        break;
      default: d.resize(4 + random() % (d.size() - 4));
    }
    out.send_to({(*lab)[1].desired.underlay, 6783}, d);
    if (i % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));  // to be looked at, not to flood
  }
  std::this_thread::sleep_for(milliseconds(100));
  auto after = nodes[1]->status().tunnel;
  EXPECT_EQ(after.received_packets, before.received_packets);
  EXPECT_GT(after.forged + after.replayed - before.forged - before.replayed, static_cast<unsigned>(tries) / 2)
      << "the control: they have come";
  EXPECT_EQ(udp_round_trip((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 1000), "")
      << "who belongs here still passes";
  EXPECT_TRUE(nodes[1]->takes("n2", Use::tunnel, 100)) << table(1);
}

// ---- encryption
// -------------------------------------------------------------------------------------------------------

TEST_F(Tunnel, NothingIsSeenOnTheWireWhereEncryptionIsRequired) {
  up(2);
  ASSERT_TRUE(both_take(Use::vxlan)) << table(1) << table(2);
  Capture capture((*lab)[1].host.netns(), "eth0");
  whisper((*lab)[1], (*lab)[2]);
  auto open = look(capture.take(), kSecret);
  EXPECT_GE(open.clear, 100u) << "the control: the capture sees plaintext";
  EXPECT_GE(open.vxlan, 100u);
  Demands demands;
  demands.encrypt = true;
  for (unsigned n : {1u, 2u}) start(n, demands);
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  (void)capture.take();
  whisper((*lab)[1], (*lab)[2]);
  auto sealed = look(capture.take(), kSecret);
  EXPECT_EQ(sealed.clear, 0u);
  EXPECT_EQ(sealed.vxlan, 0u) << "not even a probe";
  EXPECT_GE(sealed.tunnel, 100u);
  // VXLAN by hand, both ways: the guard is in its way.
  for (unsigned n : {1u, 2u}) nodes[n]->force(Path::vxlan);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_TRUE(nodes[1]->programmed("n2", Use::tunnel)) << "a plan for VXLAN is none where encryption is required";
  auto drops = (*lab)[1].counted("in the clear, where encryption is required");
  auto gateway = tunnel_gateway(ip("fd00:244:2::"), vtep_mac("test", "n2")).to_string();
  (*lab)[1].host.shell("ip nexthop replace id 9 encap ip id 116 src 192.168.77.1 dst 192.168.77.2 via " + gateway +
                       " dev trama0 onlink; ip route add 10.244.2.5/32 nhid 9; ip neigh replace " + gateway +
                       " lladdr " + vtep_mac("test", "n2").to_string() + " dev trama0");
  EXPECT_NE(udp_round_trip((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 100, 300), "");
  EXPECT_GT((*lab)[1].counted("in the clear, where encryption is required"), drops);
  EXPECT_EQ(look(capture.take(), "uuuuuuuuuuuuuuuuuuuu").vxlan, 0u) << "dropped before it left";
}

TEST_F(Tunnel, ToggledLiveWithLessThanASecondOfLossAndNoResidue) {
  up(2);
  ASSERT_TRUE(both_take(Use::vxlan)) << table(1) << table(2);
  auto state = [&] {
    return (*lab)[1].host.shell(
        "exec 2>/dev/null; ip -br link show type vxlan | awk '{print $1}'; ip route show proto 116; nft list table "
        "inet trama-overlay | "
        "sed 's/counter packets [0-9]* bytes [0-9]*/counter/'; ip nexthop");
  };
  auto before = state();
  Demands required;
  required.encrypt = true;
  Pinger pinger((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), milliseconds(5));
  for (unsigned n : {1u, 2u}) start(n, required);
  EXPECT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  auto on = pinger.stop();
  EXPECT_LE(on.longest_gap.count(), 1000) << "off -> required";
  std::string guards = (*lab)[1].host.shell("nft list table inet trama-overlay");
  EXPECT_NE(guards.find("encryption is required"), std::string::npos) << "the control";
  Pinger back((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), milliseconds(5));
  for (unsigned n : {1u, 2u}) start(n, Demands{});
  EXPECT_TRUE(both_take(Use::vxlan, 15'000)) << table(1) << table(2);
  auto off = back.stop();
  EXPECT_LE(off.longest_gap.count(), 1000) << "required -> off";
  RecordProperty("gap_on_ms", static_cast<int>(on.longest_gap.count()));
  RecordProperty("gap_off_ms", static_cast<int>(off.longest_gap.count()));
  EXPECT_TRUE(trama::test::eventually([&] { return state() == before; })) << before << "\n---\n" << state();
}

TEST_F(Tunnel, ATrustedSubnetIsAnExceptionIfBothSaySo) {
  Demands trusting, plain;
  trusting.encrypt = plain.encrypt = true;
  trusting.trusted = {"n2"};
  lab = std::make_unique<Lab>(2, std::nullopt);
  start(1, trusting);
  start(2, plain);
  ASSERT_TRUE(both_take(Use::tunnel)) << "one of them says so\n" << table(1) << table(2);
  trusting.trusted = {"n1"};
  start(2, trusting);
  ASSERT_TRUE(both_take(Use::vxlan)) << "both say so\n" << table(1) << table(2);
  expect_all_pass("trusted");
}

TEST_F(Tunnel, OneSideThatRequiresEncryptionIsEnough) {
  Demands required;
  required.encrypt = true;
  lab = std::make_unique<Lab>(2, std::nullopt);
  start(1, required);
  start(2, Demands{});
  ASSERT_TRUE(both_take(Use::tunnel)) << table(1) << table(2);
  EXPECT_EQ(nodes[2]->status().peers[0].why, "n1 requires encryption");
  expect_all_pass("one side");
}

// ---- certificates

// n1 and n3 begin with certificates that end soon. n1 gets another one in time, as agents do; n3 does not.
TEST(Certificates, AreRenewedWhilePacketsFlow) {
  Lab lab(3, std::nullopt);
  Demands lasting;
  lasting.encrypt = true;
  lasting.mesh.redial = std::chrono::milliseconds(100);
  auto brief = lasting;
  brief.life = std::chrono::seconds(4);
  auto begin = Clock::now();
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
  for (unsigned n : {1u, 2u, 3u}) nodes[n] = std::make_unique<WholeNode>(lab[n], authority(), n == 2 ? lasting : brief);
  auto speaks = [&](const char* with) {
    auto s = nodes[2]->status();
    return peer_in(s, with)->connection == peers::Connection::established;
  };
  auto keys = [&](const char* with) { return peer_in(nodes[2]->status(), with)->keys; };
  for (const char* name : {"n1", "n3"}) ASSERT_TRUE(nodes[2]->takes(name, peers::Use::tunnel, 3500)) << name;
  ASSERT_TRUE(nodes[1]->takes("n2", peers::Use::tunnel, 3500));
  ASSERT_TRUE(speaks("n1") && speaks("n3")) << describe(nodes[2]->status());
  ASSERT_LE(seconds_since(begin), 3.5) << "this machine is too slow for this test";
  Conversation talk(lab[1], lab[2]);
  EXPECT_EQ(talk.say("before"), "");
  Pinger pinger(lab[1].pod, lab[2].pod, lab[2].pod4(), std::chrono::milliseconds(2), 1000);
  nodes[1]->mesh().set_credentials(authority().node("n1"));
  EXPECT_TRUE(speaks("n1")) << "what was agreed on with the old one goes on";
  auto before = keys("n1");
  // The other side ends it when what it was shown has ended; a new one is begun with the new certificate.
  EXPECT_TRUE(trama::test::eventually([&] { return keys("n1") > before && speaks("n1"); }, 8000))
      << describe(nodes[2]->status());
  EXPECT_TRUE(trama::test::eventually([&] { return !speaks("n3"); }, 3000)) << "the control: without a new one";
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  EXPECT_FALSE(speaks("n3")) << describe(nodes[2]->status());
  EXPECT_TRUE(speaks("n1")) << describe(nodes[2]->status());
  EXPECT_EQ(talk.say(std::string(60'000, 'd')), "");
  auto result = pinger.stop();
  EXPECT_GE(result.sent, 500u);
  EXPECT_EQ(result.lost, 0u) << "of " << result.sent;
  EXPECT_TRUE(nodes[1]->takes("n2", peers::Use::tunnel, 100));
}

}  // namespace
}  // namespace trama::overlay::test
