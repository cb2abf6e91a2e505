// SPDX-License-Identifier: GPL-2.0-or-later
// Packets over a third node between nodes of a lab that do not reach each other, and keys for those that no
// conversation is kept with.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "overlay/peers/neighbours.h"
#include "tests/kernel/overlay/capture.h"
#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using peers::Use;
using std::chrono::milliseconds;

class Relay : public testing::Test {
 protected:
  void start(unsigned n, const Demands& demands = {}) {
    nodes[n].reset();
    nodes[n] = std::make_unique<WholeNode>((*lab)[n], authority(), demands);
  }
  void up(unsigned count, const Demands& demands = {}, Family underlay = Family::v4) {
    if (!lab) lab = std::make_unique<Lab>(count, std::nullopt, underlay);
    for (unsigned n = 1; n <= count; ++n) start(n, demands);
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
  // Nothing of the underlay passes between the two any more.
  void cut(unsigned a, unsigned b) {
    for (auto [here, there] : {std::pair{a, b}, std::pair{b, a}}) {
      auto address = (*lab)[there].desired.underlay;
      (*lab)[here].host.shell(
          "nft 'add table inet cut; add chain inet cut in { type filter hook prerouting priority -400; }; add rule "
          "inet "
          "cut in " +
          std::string(address.is_v4() ? "ip" : "ip6") + " saddr " + address.to_string() + " drop'");
    }
  }
  void join(unsigned a, unsigned b) {
    for (unsigned n : {a, b}) (*lab)[n].host.shell("nft delete table inet cut");
  }
  bool both_take(unsigned a, unsigned b, Use use, int ms = 5000) {
    return nodes[a]->takes(fmt::format("n{}", b), use, ms) && nodes[b]->takes(fmt::format("n{}", a), use, ms);
  }
  std::string via(unsigned from, unsigned to) {
    auto s = nodes[from]->status();
    const auto* p = peer_in(s, fmt::format("n{}", to));
    return p ? p->via : "";
  }
  void expect_all_pass(unsigned from, unsigned to, const char* when) {
    auto &a = (*lab)[from], &b = (*lab)[to];
    // Whose pod believes in a larger MTU is told of the smaller one at the first try.
    for (std::size_t size : {1404u, 9000u}) {
      (void)udp_round_trip(a.pod, b.pod, b.pod4(), size, 100);
      (void)udp_round_trip(b.pod, a.pod, a.pod4(), size, 100);
      (void)udp_round_trip(a.pod, b.pod, b.pod6(), size, 100);
      (void)udp_round_trip(b.pod, a.pod, a.pod6(), size, 100);
    }
    for (std::size_t size : {1u, 1300u, 1404u, 1452u, 9000u, 40'000u}) {
      EXPECT_EQ(udp_round_trip(a.pod, b.pod, b.pod4(), size), "") << when << " " << size;
      EXPECT_EQ(udp_round_trip(b.pod, a.pod, a.pod6(), size), "") << when << " " << size;
    }
    EXPECT_EQ(tcp_transfer(a.pod, b.pod, b.pod4(), 8 << 20), "") << when;
    EXPECT_EQ(tcp_transfer(b.pod, a.pod, a.pod6(), 8 << 20), "") << when;
  }

  std::unique_ptr<Lab> lab;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

// ---- the path over a third node -------------------------------------------------------------------------------------

TEST_F(Relay, TakesOverWhereNothingElsePassesAndGivesBack) {
  up(3);
  ASSERT_TRUE(both_take(1, 3, Use::vxlan)) << tables();
  ASSERT_TRUE(both_take(1, 2, Use::vxlan) && both_take(2, 3, Use::vxlan)) << tables();
  for (unsigned n : {1u, 2u, 3u})
    ASSERT_TRUE(nodes[n]->mesh().wait([](const MeshStatus& s) {
      return s.peers[0].path(PathKind::tunnel).state == PathState::up &&
             s.peers[1].path(PathKind::tunnel).state == PathState::up;
    })) << tables();
  auto &a = (*lab)[1], &c = (*lab)[3];
  Conversation conversation(a, c);
  EXPECT_EQ(conversation.say("before"), "");
  EXPECT_EQ(via(1, 3), "") << "nobody is asked while all is well";
  Pinger pinger(a.pod, c.pod, c.pod4(), milliseconds(10));
  auto begin = Clock::now();
  cut(1, 3);
  EXPECT_TRUE(both_take(1, 3, Use::relay)) << tables();
  auto took = seconds_since(begin);
  RecordProperty("seconds_to_relay", std::to_string(took));
  EXPECT_LE(took, 3.3) << tables();
  EXPECT_EQ(via(1, 3), "n2");
  EXPECT_EQ(via(3, 1), "n2");
  EXPECT_NE(a.host.shell("ip route show 10.244.3.0/24").find("mtu 1392"), std::string::npos)
      << "the envelope costs 44 bytes of the tunnel's 1436\n"
      << a.host.shell("ip route show 10.244.3.0/24");
  EXPECT_EQ(conversation.say(std::string(60'000, 'd')), "") << "during";
  expect_all_pass(1, 3, "over n2");
  auto third = nodes[2]->status();
  EXPECT_GT(third.tunnel.relayed_packets, 1000u);
  EXPECT_EQ(third.tunnel.relay_refused + third.tunnel.forged + third.tunnel.replayed + third.tunnel.malformed, 0u);
  EXPECT_EQ(third.splices, 0u) << "there were keys";
  auto s = nodes[1]->status();
  EXPECT_NE(peer_in(s, "n3")->why.find("vxlan: "), std::string::npos) << peer_in(s, "n3")->why;
  EXPECT_TRUE(nodes[1]->takes("n2", Use::vxlan, 100)) << "the control: others are not touched";
  begin = Clock::now();
  join(1, 3);
  EXPECT_TRUE(both_take(1, 3, Use::vxlan, 15'000)) << tables();
  EXPECT_LE(seconds_since(begin), 15.0);
  EXPECT_EQ(conversation.say("after"), "");
  auto result = pinger.stop();
  RecordProperty("longest_gap_ms", static_cast<int>(result.longest_gap.count()));
  EXPECT_LE(result.longest_gap.count(), 3300) << "of the pings";
  auto before = nodes[2]->status().tunnel.relayed_packets;
  EXPECT_EQ(tcp_transfer(a.pod, c.pod, c.pod4(), 1 << 20), "");
  EXPECT_LE(nodes[2]->status().tunnel.relayed_packets, before + 40) << "at most probes go over it";
}

// A line from the start: no packet ever passed between the two ends, so their keys are made over the middle, too.
TEST_F(Relay, KeysAreMadeOverTheThirdNodeWhichReadsNothing) {
  lab = std::make_unique<Lab>(3, std::nullopt);
  cut(1, 3);
  Demands required;
  required.encrypt = true;
  auto begin = Clock::now();
  up(3, required);
  ASSERT_TRUE(both_take(1, 3, Use::relay, 15'000)) << tables();
  RecordProperty("seconds_with_keys", std::to_string(seconds_since(begin)));
  EXPECT_GE(nodes[2]->status().splices, 1u);
  EXPECT_EQ(peer_in(nodes[1]->status(), "n3")->path(PathKind::tunnel).state == PathState::up, false);
  Capture middle((*lab)[2].host.netns(), "eth0"), end((*lab)[1].host.netns(), "eth0");
  whisper((*lab)[1], (*lab)[3]);
  auto at_middle = look(middle.take(), kSecret), at_end = look(end.take(), kSecret);
  EXPECT_GE(at_middle.relayed, 200u) << "in and out, there and back";
  EXPECT_EQ(at_middle.clear + at_end.clear, 0u);
  EXPECT_EQ(at_middle.vxlan + at_end.vxlan, 0u) << "not even a probe";
  // The control: the capture sees plaintext where there is some.
  Socket server((*lab)[2].host.netns(), Family::v4, SOCK_DGRAM), client((*lab)[1].host.netns(), Family::v4, SOCK_DGRAM);
  ASSERT_TRUE(client.send_to({(*lab)[2].desired.underlay, server.port()}, kSecret));
  ASSERT_TRUE(server.receive());
  EXPECT_EQ(look(middle.take(), kSecret).clear, 1u);
  expect_all_pass(1, 3, "along the line");
  Conversation conversation((*lab)[1], (*lab)[3]);
  EXPECT_EQ(conversation.say("over the middle"), "");
  // The link between the ends appears.
  join(1, 3);
  EXPECT_TRUE(both_take(1, 3, Use::tunnel, 15'000)) << tables();
  EXPECT_EQ(conversation.say("directly"), "");
  EXPECT_TRUE(nodes[1]->mesh().wait(
      [](const MeshStatus& s) { return peer_in(s, "n3")->connection == peers::Connection::established; }, 15'000))
      << tables();
}

TEST_F(Relay, AnIpv6UnderlayDoesAsWell) {
  lab = std::make_unique<Lab>(3, std::nullopt, Family::v6);
  up(3, hasty());
  for (auto [a, b] : {std::pair{1u, 2u}, {1u, 3u}, {2u, 3u}}) ASSERT_TRUE(both_take(a, b, Use::vxlan)) << tables();
  for (unsigned n : {1u, 2u, 3u})
    ASSERT_TRUE(nodes[n]->mesh().wait([](const MeshStatus& s) {
      return std::all_of(s.peers.begin(), s.peers.end(), [](const auto& p) {
        return p.connection == peers::Connection::established && p.path(PathKind::control).state == PathState::up &&
               p.remote.starts_with("[fd77::");
      });
    })) << tables();
  Conversation conversation((*lab)[1], (*lab)[3]);
  EXPECT_EQ(conversation.say("before"), "");
  cut(1, 3);
  ASSERT_TRUE(both_take(1, 3, Use::relay)) << tables();
  EXPECT_EQ(conversation.say(std::string(60'000, 'd')), "");
  expect_all_pass(1, 3, "over n2");
  EXPECT_GT(nodes[2]->status().tunnel.relayed_packets, 1000u);
  join(1, 3);
  EXPECT_TRUE(both_take(1, 3, Use::vxlan, 15'000)) << tables();
  EXPECT_EQ(conversation.say("after"), "");
}

// Within three seconds; with hasty timers, which a third of that goes with. The real ones: TRAMA_LONG=1.
TEST_F(Relay, ADeadThirdNodeIsReplacedWithinThreeSeconds) {
  bool real = std::getenv("TRAMA_LONG") != nullptr;
  up(4, real ? Demands{} : hasty());
  for (unsigned a = 1; a <= 4; ++a)
    for (unsigned b = a + 1; b <= 4; ++b) ASSERT_TRUE(both_take(a, b, Use::vxlan)) << tables();
  cut(1, 3);
  ASSERT_TRUE(both_take(1, 3, Use::relay)) << tables();
  auto first = via(1, 3);
  ASSERT_TRUE(first == "n2" || first == "n4");  // each end chooses for itself
  std::this_thread::sleep_for(milliseconds(real ? 20'000 : 700));
  EXPECT_EQ(via(1, 3), first) << "kept while it works";
  auto &a = (*lab)[1], &c = (*lab)[3];
  Pinger pinger(a.pod, c.pod, c.pod4(), milliseconds(10));
  unsigned dead = first == "n2" ? 2 : 4;
  (*lab)[dead].host.shell("ip link set eth0 down");
  std::this_thread::sleep_for(milliseconds(real ? 4500 : 2000));
  auto result = pinger.stop();
  RecordProperty("longest_gap_ms", static_cast<int>(result.longest_gap.count()));
  EXPECT_LE(result.longest_gap.count(), real ? 3000 : 1500) << tables();
  EXPECT_GT(result.sent - result.lost, 100u) << "the control: pings passed";
  auto second = first == "n2" ? "n4" : "n2";
  EXPECT_EQ(via(1, 3), second) << tables();
  EXPECT_EQ(via(3, 1), second) << tables();
  expect_all_pass(1, 3, "over the other one");
}

// ---- who may use it -------------------------------------------------------------------------------------------------

TEST_F(Relay, AStrangerCanUseNeitherTheRelayNorTheSplice) {
  // n4 has a certificate of this cluster and believes that it is a member; the others do not know it.
  lab = std::make_unique<Lab>(4, std::nullopt);
  for (unsigned n : {1u, 2u, 3u}) (*lab)[n].desired.peers.erase("n4");
  cut(4, 3);
  up(4, hasty());
  cut(1, 3);
  ASSERT_TRUE(both_take(1, 3, Use::relay, 10'000)) << "the control: a member can\n" << tables();
  auto passed = nodes[2]->status().splices;
  EXPECT_FALSE(nodes[4]->takes("n3", Use::relay, 1000)) << tables();
  EXPECT_EQ(peer_in(nodes[4]->status(), "n3")->keys, 0u);
  EXPECT_EQ(nodes[2]->status().splices, passed);
  // A stranger without any, who replays and bends what it has seen.
  Capture capture((*lab)[2].host.netns(), "eth0");
  whisper((*lab)[1], (*lab)[3]);
  std::vector<std::string> datagrams;
  for (const auto& f : capture.take())
    if (udp_port_of(f) == 6783 && f.size() > 42 + 32 && f[44] == 17) datagrams.push_back(f.substr(42));
  ASSERT_GE(datagrams.size(), 200u);
  Host stranger(lab->fabric, "p9", {"192.168.77.99/16"});
  Socket out(stranger.netns(), Family::v4, SOCK_DGRAM);
  auto before = nodes[2]->status().tunnel;
  auto received = nodes[3]->status().tunnel.received_packets;
  constexpr int kTries = 20'000;
  for (int i = 0; i < kTries; ++i) {
    auto d = datagrams[static_cast<std::size_t>(i) % datagrams.size()];
    if (i % 2) d[static_cast<std::size_t>(i / 2) % d.size()] ^= static_cast<char>(1 << i % 8);
    out.send_to({(*lab)[i % 3 == 0 ? 3 : 2].desired.underlay, 6783}, d);
    if (i % 64 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  std::this_thread::sleep_for(milliseconds(100));
  auto after = nodes[2]->status().tunnel;
  EXPECT_GT(after.forged + after.replayed - before.forged - before.replayed, static_cast<unsigned>(kTries) / 4)
      << "the control: they have come";
  EXPECT_LE(after.relayed_packets, before.relayed_packets + 60) << "probes alone";
  EXPECT_EQ(nodes[3]->status().tunnel.received_packets, received);
  EXPECT_EQ(udp_round_trip((*lab)[1].pod, (*lab)[3].pod, (*lab)[3].pod4(), 1000), "") << "who belongs here passes";
}

TEST_F(Relay, SwitchedOffOnTheThirdNodeItCarriesNothing) {
  lab = std::make_unique<Lab>(3, std::nullopt);
  cut(1, 3);
  auto off = hasty();
  off.mesh.relay = false;
  for (unsigned n : {1u, 3u}) start(n, hasty());
  start(2, off);
  EXPECT_FALSE(nodes[1]->takes("n3", Use::relay, 1200)) << tables();
  EXPECT_EQ(nodes[2]->status().relay_off, "switched off (--relay off)");
  auto s = nodes[2]->status();
  EXPECT_EQ(s.tunnel.relayed_packets + s.splices, 0u);
  EXPECT_NE(peer_in(nodes[1]->status(), "n3")->path(PathKind::relay).reason, "") << tables();
}

// ---- keys on demand
// ----------------------------------------------------------------------------------------------------

// Six nodes on the ring with only neighbours speaking, as in a cluster of hundreds. Three of them run.
class OnDemand : public Relay {
 protected:
  void ring(const Demands& demands) {
    std::vector<std::string> names{"n1", "n2", "n3", "n4", "n5", "n6"};
    auto near = [&](unsigned n) {
      auto others = names;
      others.erase(others.begin() + (n - 1));
      return peers::neighbours(names[n - 1], others, 2);
    };
    auto known = near(1);
    for (unsigned n = 2; n <= 6; ++n) (known.contains(names[n - 1]) ? neighbour : far) = n;
    ASSERT_NE(far, 0u);
    lab = std::make_unique<Lab>(6, std::nullopt);
    how = demands;
    how.mesh.full_mesh = 2;
    for (unsigned n : {1u, far, neighbour}) start(n, how);
  }
  peers::PeerStatus seen(unsigned from, unsigned to) {
    auto s = nodes[from]->status();
    return *peer_in(s, fmt::format("n{}", to));
  }
  unsigned far = 0, neighbour = 0;
  Demands how;
};

TEST_F(OnDemand, NodesThatAreNoNeighboursEncryptAndEndTheConversation) {
  Demands required;
  required.encrypt = true;
  required.mesh.renew_after = milliseconds(900);
  ring(required);
  ASSERT_TRUE(both_take(1, far, Use::tunnel, 10'000)) << tables();
  ASSERT_TRUE(both_take(1, neighbour, Use::tunnel, 10'000)) << tables();
  expect_all_pass(1, far, "no neighbours");
  Capture capture((*lab)[1].host.netns(), "eth0");
  whisper((*lab)[1], (*lab)[far]);
  auto sight = look(capture.take(), kSecret);
  EXPECT_EQ(sight.clear + sight.vxlan, 0u);
  EXPECT_GE(sight.tunnel, 100u);
  auto quiet = [&](unsigned n, unsigned of) { return seen(n, of).connection == peers::Connection::unneeded; };
  EXPECT_TRUE(trama::test::eventually([&] { return quiet(1, far) && quiet(far, 1); }, 3000)) << tables();
  EXPECT_EQ(seen(1, far).trouble.find("agreed on"), std::string::npos) << "its end is no trouble";
  EXPECT_EQ(seen(1, neighbour).connection, peers::Connection::established) << "the control";
  // Renewed the same way, and nothing is lost by it.
  auto before = seen(1, far).keys;
  Pinger pinger((*lab)[1].pod, (*lab)[far].pod, (*lab)[far].pod4(), milliseconds(2), 1000);
  EXPECT_TRUE(trama::test::eventually([&] { return seen(1, far).keys >= before + 2; }, 20'000)) << tables();
  auto result = pinger.stop();
  EXPECT_GE(result.sent, 50u);
  EXPECT_EQ(result.lost, 0u) << "of " << result.sent;
  EXPECT_TRUE(trama::test::eventually([&] { return quiet(1, far) && quiet(far, 1); }, 3000)) << tables();
}

TEST_F(OnDemand, KeysAreMadeWhenTheTunnelIsWantedAndNotBefore) {
  ring(hasty());
  ASSERT_TRUE(both_take(1, far, Use::vxlan)) << tables();
  std::this_thread::sleep_for(milliseconds(600));
  EXPECT_EQ(seen(1, far).keys + seen(far, 1).keys, 0u) << "the control: nobody needs them";
  EXPECT_NE(seen(1, far).path(PathKind::tunnel).reason.find("keys are made when they are needed"), std::string::npos);
  auto begin = Clock::now();
  for (unsigned n : {1u, far})
    (*lab)[n].host.shell(
        "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority -400; }; add rule "
        "inet "
        "test in udp dport 6784 drop'");
  EXPECT_TRUE(both_take(1, far, Use::tunnel, 10'000)) << tables();
  RecordProperty("seconds_with_keys", std::to_string(seconds_since(begin)));
  EXPECT_LE(seconds_since(begin), 4.0);
  expect_all_pass(1, far, "keys on demand");
  for (unsigned n : {1u, far}) (*lab)[n].host.shell("nft delete table inet test");
  EXPECT_TRUE(both_take(1, far, Use::vxlan, 15'000)) << tables();
  EXPECT_TRUE(
      trama::test::eventually([&] { return seen(1, far).path(PathKind::control).state == PathState::unknown; }, 15'000))
      << "and are not used any more\n"
      << tables();
}

// In a large cluster the third node may be no neighbour of the peer: it makes keys with it when it is asked to. A ring
// of 24, of which three nodes run: two that are no neighbours, and one that is a neighbour of the first alone.
TEST_F(OnDemand, AThirdNodeThatIsNoNeighbourMakesKeysWhenItIsAsked) {
  constexpr unsigned kNodes = 24;
  auto name = [](unsigned n) { return fmt::format("n{}", n); };
  auto near = [&](unsigned n) {
    std::vector<std::string> others;
    for (unsigned k = 1; k <= kNodes; ++k)
      if (k != n) others.push_back(name(k));
    return peers::neighbours(name(n), others, 2);
  };
  unsigned third = 0;
  for (unsigned f = 2; f <= kNodes && third == 0; ++f)
    for (unsigned t = 2; t <= f + 4 && t <= kNodes && third == 0; ++t)
      if (t != f && !near(1).contains(name(f)) && near(1).contains(name(t)) && !near(f).contains(name(t)))
        far = f, third = t;
  ASSERT_NE(third, 0u);
  auto real = std::max(far, third);
  lab = std::make_unique<Lab>(real, std::nullopt);
  // Whoever dials one of the others is refused at once.
  std::vector<std::string> addresses;
  for (unsigned n = real + 1; n <= kNodes; ++n) {
    addresses.push_back(peer(n).underlay.to_string() + "/16");
    for (auto& [number, one] : lab->nodes) one->desired.peers.emplace(name(n), peer(n));
  }
  Host crowd(lab->fabric, "crowd", addresses);
  how = hasty();
  how.mesh.full_mesh = 2;
  for (unsigned n : {1u, far, third}) start(n, how);
  ASSERT_TRUE(both_take(1, far, Use::vxlan)) << tables();
  ASSERT_TRUE(both_take(1, third, Use::vxlan)) << tables();
  ASSERT_TRUE(trama::test::eventually([&] { return seen(1, third).keys > 0; })) << tables();
  EXPECT_EQ(seen(third, far).keys, 0u) << "the control: they have nothing to say to each other";
  EXPECT_EQ(seen(third, far).connection, peers::Connection::unneeded);
  cut(1, far);
  ASSERT_TRUE(both_take(1, far, Use::relay, 20'000)) << tables();
  EXPECT_EQ(via(1, far), name(third));
  EXPECT_EQ(via(far, 1), name(third));
  EXPECT_GT(seen(third, far).keys, 0u) << "made for it";
  expect_all_pass(1, far, "over a neighbour of one end");
}

// Every pair of a larger ring has keys soon after all began to require encryption at once, nobody keeps a conversation
// for it, and one pair that is cut goes over a third node in the midst of it. TRAMA_LONG=1.
TEST_F(OnDemand, AWholeRingBeginsToRequireEncryptionAtOnce) {
  if (!std::getenv("TRAMA_LONG")) GTEST_SKIP() << "TRAMA_LONG=1 runs it";
  constexpr unsigned kNodes = 24;
  lab = std::make_unique<Lab>(kNodes, std::nullopt);
  Demands required;
  required.encrypt = true;
  required.mesh.full_mesh = 2;
  cut(1, 2);
  auto begin = Clock::now();
  for (unsigned n = 1; n <= kNodes; ++n) start(n, required);
  auto sealed = [&](unsigned n) {
    auto s = nodes[n]->status();
    return std::all_of(s.peers.begin(), s.peers.end(),
                       [](const auto& p) { return peers::is_sealed(p.use) && p.used().state == PathState::up; });
  };
  for (unsigned n = 1; n <= kNodes; ++n)
    EXPECT_TRUE(trama::test::eventually([&] { return sealed(n); }, 60'000)) << describe(nodes[n]->status());
  RecordProperty("seconds_to_all_keys", std::to_string(seconds_since(begin)));
  EXPECT_TRUE(both_take(1, 2, Use::relay, 20'000)) << describe(nodes[1]->status());
  std::size_t least = 0, most = 0;
  auto count = [&] {
    least = kNodes, most = 0;
    for (unsigned n = 1; n <= kNodes; ++n) {
      auto s = nodes[n]->status();
      auto own = static_cast<std::size_t>(std::count_if(s.peers.begin(), s.peers.end(), [](const auto& p) {
        return p.connection == peers::Connection::established;
      }));
      least = std::min(least, own), most = std::max(most, own);
    }
    return most;
  };
  EXPECT_TRUE(trama::test::eventually([&] { return count() <= 10; }, 60'000)) << most << " conversations of one node";
  EXPECT_GE(least, 6u) << "the control: neighbours speak, eight of them, or seven where two are cut off";
  std::uint64_t failed = 0;
  for (unsigned n = 1; n <= kNodes; ++n) failed += nodes[n]->status().handshakes_failed + nodes[n]->status().refused;
  RecordProperty("handshakes_failed_or_refused", static_cast<int>(failed));
}

}  // namespace
}  // namespace trama::overlay::test
