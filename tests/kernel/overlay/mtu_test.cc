// SPDX-License-Identifier: GPL-2.0-or-later
// A network between nodes that carries less than their links: what is too large is lost, or cut in pieces.
#include <gtest/gtest.h>

#include "tests/kernel/overlay/whole_node.h"

namespace trama::overlay::test {
namespace {

using Clock = std::chrono::steady_clock;
using peers::Use;

class PathMtu : public testing::Test {
 protected:
  static constexpr unsigned kOuter = 1400, kInner = kOuter - 50;

  PathMtu() : lab(2, std::nullopt, Family::v4) {
    Demands demands;
    demands.mesh.mtu.raise = std::chrono::milliseconds(3'000);
    demands.mesh.mtu.verify = std::chrono::milliseconds(2'000);
    // As on a wire: many segments in one buffer would count as one long packet there.
    for (unsigned n : {1u, 2u}) lab[n].host.shell("ip link set eth0 gso_max_segs 1");
    for (unsigned n : {1u, 2u}) nodes[n] = std::make_unique<WholeNode>(lab[n], authority, demands);
  }
  bool up() { return nodes[1]->takes("n2", Use::vxlan) && nodes[2]->takes("n1", Use::vxlan); }
  void rule(const std::string& what) {
    for (unsigned n : {1u, 2u})
      lab[n].host.shell(
          "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority -400; }; "
          "add rule inet test in " +
          what + " drop'");
  }
  void no_rule() {
    for (unsigned n : {1u, 2u}) lab[n].host.shell("nft delete table inet test");
  }
  // Of the routes to the other node's pods.
  std::pair<unsigned, unsigned> programmed(unsigned n) {
    auto text = lab[n].host.shell(fmt::format("ip route show proto 116 10.244.{}.0/24", 3 - n));
    auto text6 = lab[n].host.shell(fmt::format("ip -6 route show proto 116 fd00:244:{}::/64", 3 - n));
    auto of = [](const std::string& s) {
      auto at = s.find(" mtu ");
      return at == s.npos ? 0u : static_cast<unsigned>(std::stoul(s.substr(at + 5)));
    };
    return {of(text), of(text6)};
  }
  bool both_within(unsigned least, unsigned most, int ms) {
    return trama::test::eventually(
        [&] {
          for (unsigned n : {1u, 2u}) {
            auto [v4, v6] = programmed(n);
            if (v4 < least || v4 > most || v6 != v4) return false;
          }
          return true;
        },
        ms);
  }
  std::uint64_t vxlan_downs() { return peer_in(nodes[1]->status(), "n2")->path(PathKind::overlay).downs; }

  TestAuthority authority;
  Lab lab;
  std::map<unsigned, std::unique_ptr<WholeNode>> nodes;
};

TEST_F(PathMtu, ABlackHoleForLargePacketsEndsWithinThreeSeconds) {
  ASSERT_TRUE(up()) << describe(nodes[1]->status());
  ASSERT_TRUE(both_within(1450, 1450, 1000));
  rule(fmt::format("udp dport 6784 meta length > {}", kOuter));
  auto begin = Clock::now();
  EXPECT_NE(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1400, 300), "") << "the control: it is a black hole";
  // A transfer that is stuck in it goes on.
  EXPECT_EQ(tcp_transfer(lab[1].pod, lab[2].pod, lab[2].pod4(), 1 << 20), "");
  RecordProperty("seconds_of_a_transfer", std::to_string(std::chrono::duration<double>(Clock::now() - begin).count()));
  ASSERT_TRUE(both_within(1280, kInner, 3'500)) << describe(nodes[1]->status());
  RecordProperty("seconds", std::to_string(std::chrono::duration<double>(Clock::now() - begin).count()));
  ASSERT_TRUE(both_within(kInner - 8, kInner, 10'000)) << describe(nodes[1]->status());
  for (unsigned n : {1u, 2u})  // pods are told of the smaller size at the first try
    (void)udp_round_trip(lab[n].pod, lab[3 - n].pod, lab[3 - n].pod6(), 9000, 300);
  EXPECT_EQ(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 9000, 2000), "") << "cut before, not on the way";
  EXPECT_EQ(udp_round_trip(lab[2].pod, lab[1].pod, lab[1].pod6(), 9000, 2000), "");
  EXPECT_EQ(vxlan_downs(), 0u) << "the path was never called dead";
  EXPECT_EQ(peer_in(nodes[1]->status(), "n2")->switches, peer_in(nodes[2]->status(), "n1")->switches);
  no_rule();
  EXPECT_TRUE(both_within(1450, 1450, 8'000)) << "and more again when more passes";
}

TEST_F(PathMtu, CuttingInPiecesOnTheWayIsNoticedToo) {
  ASSERT_TRUE(up()) << describe(nodes[1]->status());
  // What may be cut in pieces has been, and is whole again here; the rest is lost.
  rule(fmt::format("udp dport 6784 meta length > {} ip frag-off & 0x4000 != 0", kOuter));
  EXPECT_EQ(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1400, 1000), "") << "the control: pods do not notice";
  EXPECT_TRUE(both_within(kInner - 8, kInner, 12'000)) << describe(nodes[1]->status());
  EXPECT_EQ(vxlan_downs(), 0u);
}

}  // namespace
}  // namespace trama::overlay::test
