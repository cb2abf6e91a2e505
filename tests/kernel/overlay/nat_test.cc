// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes behind NAT, and nodes that move while packets flow: a real NAT between them, in a namespace of its own.
#include <gtest/gtest.h>

#include "agent/peer_pages.h"
#include "tests/kernel/overlay/capture.h"
#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using peers::Use;
using std::chrono::milliseconds;

// Neighbours that are given, not asked for: all namespaces of a machine share one table of those that are, and a large
// lab elsewhere may have filled it.
void know(const Host& host, const std::string& link, const std::string& ip, const std::string& mac) {
  host.shell(fmt::format("ip neigh replace {} lladdr {} nud permanent dev {}", ip, mac, link));
}
std::string mac(const Host& host, const std::string& link) {
  return host.shell("ip -br link show " + link + " | awk '{print $3}'").substr(0, 17);
}

// Translates what a node sends to `outside`, each flow with a random port. The node loses its place on the switch.
class Nat {
 public:
  Nat(Lab& lab, unsigned number, std::string outside)
      : lab_(lab), number_(number), box_(lab.fabric, fmt::format("q{}", number), {outside + "/16"}), outside_(outside) {
    auto& node = lab[number];
    box_.shell(fmt::format(
        "sysctl -qw net.ipv4.ip_forward=1; ip link add in0 type veth peer name up0 netns {}; ip addr add "
        "10.9.{}.1/24 dev in0; ip link set in0 up; nft 'add table ip nat; add chain ip nat post {{ type nat hook "
        "postrouting priority 100; }}; add rule ip nat post oifname eth0 masquerade fully-random'",
        node.host.netns().path(), number));
    node.host.shell(
        fmt::format("ip link set eth0 down; ip addr flush dev eth0; ip addr add {}/24 dev up0; ip link "
                    "set up0 up; ip route add default via 10.9.{}.1",
                    inside(), number));
    know(node.host, "up0", fmt::format("10.9.{}.1", number), mac(box_, "in0"));
    know(box_, "in0", inside(), mac(node.host, "up0"));
    for (auto& [n, other] : lab.nodes) {
      if (n == number) continue;
      know(box_, "eth0", other->desired.underlay.to_string(), mac(other->host, "eth0"));
      know(other->host, "eth0", outside_, mac(box_, "eth0"));
    }
    auto address = ip(inside().c_str());
    node.desired.underlay = address;
    for (auto& [n, other] : lab.nodes)
      if (n != number) other->desired.peers.at(node.desired.node).underlay = address;
  }
  std::string inside() const { return fmt::format("10.9.{}.2", number_); }
  const std::string& outside() const { return outside_; }
  const Host& box() const { return box_; }
  // Every flow gets a new port with its next packet.
  void forget_flows() { box_.shell("conntrack -F 2>/dev/null"); }
  void move_to(const std::string& outside) {
    for (auto& [n, other] : lab_.nodes)
      if (n != number_) know(other->host, "eth0", outside, mac(box_, "eth0"));
    box_.shell(
        fmt::format("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1; ip addr add {}/16 dev eth0; ip addr del "
                    "{}/16 dev eth0; conntrack -F 2>/dev/null",
                    outside, outside_));
    outside_ = outside;
  }

 private:
  Lab& lab_;
  unsigned number_;
  Host box_;
  std::string outside_;
};

class BehindNat : public testing::Test {
 protected:
  void SetUp() override {
    lab = std::make_unique<Lab>(2, std::nullopt);
    nat = std::make_unique<Nat>(*lab, 1, "192.168.77.101");
    Demands demands;
    demands.mesh.redial = milliseconds(100);
    for (unsigned n : {1u, 2u}) nodes[n] = std::make_unique<WholeNode>((*lab)[n], authority(), demands);
    ASSERT_TRUE(both_take_the_tunnel()) << table();
  }
  void TearDown() override {
    nodes.clear();
    nat.reset();
    lab.reset();
  }
  bool both_take_the_tunnel(int ms = 8000) {
    return nodes[1]->takes("n2", Use::tunnel, ms) && nodes[2]->takes("n1", Use::tunnel, ms);
  }
  std::string table() { return describe(nodes.at(1)->status()) + describe(nodes.at(2)->status()); }
  std::string found_at() { return nodes[2]->status().peers[0].found_at; }
  void expect_all_pass() {
    auto &a = (*lab)[1], &b = (*lab)[2];
    (void)udp_round_trip(a.pod, b.pod, b.pod4(), 9000, 100);  // the smaller MTU is told at the first try
    (void)udp_round_trip(b.pod, a.pod, a.pod6(), 9000, 100);
    (void)udp_round_trip(a.pod, b.pod, b.pod6(), 9000, 100);
    for (std::size_t size : {1u, 1300u, 9000u}) {
      EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), size), "") << size;
      EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod6(), size), "") << size;
    }
    EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod4(), 4 << 20), "");
    EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 4 << 20), "");
  }

  std::unique_ptr<Lab> lab;
  std::unique_ptr<Nat> nat;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

TEST_F(BehindNat, PacketsTakeTheTunnelAndItIsSaidWhy) {
  expect_all_pass();
  auto seen = found_at();
  EXPECT_EQ(seen.substr(0, seen.find(':')), nat->outside()) << table();
  auto there = nodes[2]->status(), here = nodes[1]->status();
  EXPECT_TRUE(there.peers[0].translated);
  EXPECT_EQ(here.peers[0].sees_us, seen) << "the other side says so";
  EXPECT_NE(agent::overlay_connections(there).find("(behind NAT, seen as " + seen + ")"), std::string::npos)
      << agent::overlay_connections(there);
  EXPECT_NE(agent::overlay_peers(there).find("behind NAT, seen as " + seen), std::string::npos);
  EXPECT_NE(agent::overlay_peers(here).find("sees us behind NAT as " + seen), std::string::npos);
  // VXLAN is down, for that reason, and stays so.
  std::this_thread::sleep_for(milliseconds(2500));
  for (unsigned n : {1u, 2u}) {
    auto path = nodes[n]->status().peers[0].path(PathKind::overlay);
    EXPECT_EQ(path.state, PathState::down) << table();
    EXPECT_LE(path.downs, 1u);
    EXPECT_NE(path.reason.find("n1 is behind NAT, "), std::string::npos) << path.reason;
    EXPECT_NE(nodes[n]->status().peers[0].why.find("n1 is behind NAT"), std::string::npos) << table();
    for (const auto& line : nodes[n]->mesh().history()) EXPECT_EQ(line.find("vxlan up"), line.npos) << line;
  }
  // The guards are as closed as ever: what comes out of the NAT on 6784 is from no peer.
  auto before = (*lab)[2].counted("the sender is no peer");
  nodes[1]->force(Path::vxlan);
  EXPECT_TRUE(trama::test::eventually([&] { return nodes[1]->programmed("n2", Use::vxlan); }));
  EXPECT_NE(udp_round_trip((*lab)[1].pod, (*lab)[2].pod, (*lab)[2].pod4(), 100, 300), "");
  EXPECT_GT((*lab)[2].counted("the sender is no peer"), before);
}

TEST_F(BehindNat, NewPortsAndAddressesAreFollowedWhilePacketsFlow) {
  auto &a = (*lab)[1], &b = (*lab)[2];
  Conversation talk(b, a);
  EXPECT_EQ(talk.say("before"), "");
  // From the side that has to find the other one.
  Pinger pinger(b.pod, a.pod, a.pod4(), milliseconds(10));
  for (const char* what : {"port", "address"}) {
    auto before = found_at();
    if (what == std::string("port"))
      nat->forget_flows();
    else
      nat->move_to("192.168.77.102");
    EXPECT_TRUE(trama::test::eventually([&] { return found_at() != before; }, 4000)) << what << "\n" << table();
    auto after = found_at();
    EXPECT_EQ(after.substr(0, after.find(':')), nat->outside()) << what;
    EXPECT_EQ(talk.say(std::string(40'000, 'd')), "") << what;
    std::this_thread::sleep_for(milliseconds(300));
  }
  auto result = pinger.stop();
  RecordProperty("longest_gap_ms", static_cast<int>(result.longest_gap.count()));
  std::printf("longest gap %d ms, %u of %u lost\n", static_cast<int>(result.longest_gap.count()), result.lost,
              result.sent);
  EXPECT_GT(result.lost, 0u) << "the control: the flows were cut";
  EXPECT_LE(result.longest_gap.count(), 3000) << "of the pings";
  EXPECT_TRUE(both_take_the_tunnel(100)) << table();
}

TEST_F(BehindNat, WhatIsCopiedFromAnotherPlaceMovesNobody) {
  Host stranger(lab->fabric, "p9", {"192.168.77.99/16"});
  know(stranger, "eth0", "192.168.77.2", mac((*lab)[2].host, "eth0"));
  know((*lab)[2].host, "eth0", "192.168.77.99", mac(stranger, "eth0"));
  Socket out(stranger.netns(), Family::v4, SOCK_DGRAM);
  Capture capture(nat->box().netns(), "eth0");
  std::this_thread::sleep_for(milliseconds(1200));
  auto copies = [&] {
    std::vector<std::string> datagrams;
    for (const auto& f : capture.take())
      if (udp_port_of(f) == 6783 && f.size() > 42 + 32 && f[44] < 16) datagrams.push_back(f.substr(42));
    return datagrams;
  };
  auto home = found_at();
  auto replayed = copies();
  ASSERT_GE(replayed.size(), 2u);
  auto refused = nodes[2]->status().forged;
  for (const auto& d : replayed) out.send_to({ip("192.168.77.2"), 6783}, d);
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(found_at(), home) << "replayed";
  EXPECT_GE(nodes[2]->status().forged, refused + replayed.size()) << "the control: they have come";
  // Genuine ones that have never arrived: whoever holds them up and sends them on himself is asked, and cannot answer.
  (*lab)[2].host.shell(
      "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority -400; }; add rule inet "
      "test in ip saddr " +
      nat->outside() + " drop'");
  (void)copies();
  std::this_thread::sleep_for(milliseconds(700));
  auto fresh = copies();
  ASSERT_GE(fresh.size(), 1u);
  refused = nodes[2]->status().forged;
  for (const auto& d : fresh) out.send_to({ip("192.168.77.2"), 6783}, d);
  EXPECT_TRUE(out.receive(1000)) << "the control: they were genuine, so the place is asked";
  EXPECT_EQ(nodes[2]->status().forged, refused);
  std::this_thread::sleep_for(milliseconds(200));
  EXPECT_EQ(found_at(), home) << "held up and sent on";
  (*lab)[2].host.shell("nft delete table inet test");
  EXPECT_TRUE(both_take_the_tunnel()) << table();
  EXPECT_EQ(udp_round_trip((*lab)[2].pod, (*lab)[1].pod, (*lab)[1].pod4(), 1000), "");
}

// Each dials a place where nobody is: no conversation, no keys, and both say so. Who is reachable reaches both.
TEST(BothBehindNat, DoNotFindEachOtherAndReachWhoIsReachable) {
  Lab lab(3, std::nullopt);
  Nat first(lab, 1, "192.168.77.101"), second(lab, 2, "192.168.77.102");
  for (auto* nat : {&first, &second}) nat->box().shell("ip route add unreachable 10.9.0.0/16");
  Demands demands;
  demands.mesh.redial = milliseconds(100);
  demands.mesh.relay = false;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
  for (unsigned n : {1u, 2u, 3u}) nodes[n] = std::make_unique<WholeNode>(lab[n], authority(), demands);
  for (unsigned n : {1u, 2u}) {
    EXPECT_TRUE(nodes[n]->takes("n3", Use::tunnel, 8000)) << describe(nodes[n]->status());
    EXPECT_TRUE(nodes[3]->takes(fmt::format("n{}", n), Use::tunnel, 8000)) << describe(nodes[3]->status());
    EXPECT_EQ(udp_round_trip(lab[n].pod, lab[3].pod, lab[3].pod4(), 1000), "") << n;
  }
  EXPECT_TRUE(nodes[1]->mesh().wait([](const MeshStatus& s) { return !peer_in(s, "n2")->trouble.empty(); })) << "why";
  auto s = nodes[1]->status();
  const auto* p = peer_in(s, "n2");
  ASSERT_TRUE(p);
  EXPECT_NE(p->connection, peers::Connection::established);
  EXPECT_NE(p->path(PathKind::tunnel).reason.find("no keys"), std::string::npos) << describe(s);
  EXPECT_NE(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 100, 300), "");
}

// The same with the relay: no packet can pass between the two, so their keys are made over n3, and packets go over it.
TEST(BothBehindNat, ReachEachOtherOverWhoReachesBoth) {
  Lab lab(3, std::nullopt);
  Nat first(lab, 1, "192.168.77.101"), second(lab, 2, "192.168.77.102");
  for (auto* nat : {&first, &second}) nat->box().shell("ip route add unreachable 10.9.0.0/16");
  Demands demands;
  demands.mesh.redial = milliseconds(100);
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
  for (unsigned n : {1u, 2u, 3u}) nodes[n] = std::make_unique<WholeNode>(lab[n], authority(), demands);
  auto tables = [&] {
    std::string out;
    for (auto& [n, node] : nodes) out += describe(node->status());
    return out;
  };
  for (unsigned n : {1u, 2u}) ASSERT_TRUE(nodes[n]->takes(fmt::format("n{}", 3 - n), Use::relay, 20'000)) << tables();
  for (unsigned n : {1u, 2u}) {
    auto s = nodes[n]->status();
    const auto* p = peer_in(s, fmt::format("n{}", 3 - n));
    EXPECT_EQ(p->via, "n3");
    EXPECT_NE(p->path(PathKind::tunnel).state, PathState::up) << "the control: nothing passes directly\n" << tables();
  }
  EXPECT_GE(nodes[3]->status().splices, 1u) << "their keys, too";
  auto &a = lab[1], &b = lab[2];
  for (std::size_t size : {1404u, 9000u}) {  // the smaller MTU is told at the first try
    (void)udp_round_trip(a.pod, b.pod, b.pod4(), size, 100);
    (void)udp_round_trip(b.pod, a.pod, a.pod4(), size, 100);
    (void)udp_round_trip(a.pod, b.pod, b.pod6(), size, 100);
    (void)udp_round_trip(b.pod, a.pod, a.pod6(), size, 100);
  }
  for (std::size_t size : {1u, 1300u, 9000u}) {
    EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), size), "") << size;
    EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod6(), size), "") << size;
  }
  EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod4(), 4 << 20), "");
  EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 4 << 20), "");
  EXPECT_GT(nodes[3]->status().tunnel.relayed_packets, 1000u);
  // One of them gets another address from its NAT while packets flow.
  Conversation talk(a, b);
  EXPECT_EQ(talk.say("before"), "");
  first.move_to("192.168.77.103");
  EXPECT_EQ(talk.say(std::string(40'000, 'm')), "") << tables();
}

}  // namespace
}  // namespace trama::overlay::test
