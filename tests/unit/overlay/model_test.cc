// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/model.h"

#include <set>

#include <gmock/gmock.h>

#include "tests/unit/overlay/worlds.h"

namespace trama::overlay {
namespace {

using test::cidr;
using test::ip;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Model, MacsAreStableLocalAndDistinct) {
  auto a = vtep_mac("c1", "n1");
  EXPECT_EQ(a, vtep_mac("c1", "n1"));
  EXPECT_EQ(a.octets[0], 2);
  std::set<Mac> seen;
  for (int n = 0; n < 2000; ++n) seen.insert(vtep_mac("c1", "n" + std::to_string(n)));
  EXPECT_EQ(seen.size(), 2000u);
  EXPECT_NE(vtep_mac("c1", "n1"), vtep_mac("c2", "n1"));
  // Seeds do not run into each other.
  EXPECT_NE(vtep_mac("c", "1n"), vtep_mac("c1", "n"));
}

TEST(Model, MtuIsTheUnderlaysMinusTheOverhead) {
  auto d = test::node(1, 2);
  EXPECT_EQ(overlay_mtu(d, 1500), 1450u);
  EXPECT_EQ(overlay_mtu(d, 9000), 8950u);
  EXPECT_EQ(overlay_mtu(d, 0), 1450u);
  EXPECT_EQ(overlay_mtu(d, 1300), 1280u);  // IPv6 inside needs 1280
  auto v4 = test::node(1, 2, false);
  EXPECT_EQ(overlay_mtu(v4, 1300), 1250u);
  EXPECT_EQ(overlay_mtu(v4, 40), 576u);
  d.underlay = ip("fd77::1");
  EXPECT_EQ(overlay_mtu(d, 1500), 1430u);
}

TEST(Model, APeerThatContradictsIsLeftOutAndOthersAreNot) {
  auto d = test::node(1, 4);
  EXPECT_THAT(admit(d).refused, ElementsAre());
  d.peers.at("n2").pod_cidrs[0] = cidr("10.244.0.0/15");    // swallows ours
  d.peers.at("n4").pod_cidrs[1] = cidr("fd00:244:3::/80");  // inside n3's
  auto a = admit(d);
  ASSERT_EQ(a.peers.size(), 1u);
  EXPECT_EQ(a.peers[0]->node, "n3");
  EXPECT_THAT(a.refused,
              ElementsAre(HasSubstr("peer n2 is left out: its pod range 10.244.0.0/15 overlaps that of node n1"),
                          HasSubstr("overlaps that of node n3")));
}

TEST(Model, UnderlayAddressesAreChecked) {
  auto d = test::node(1, 6);
  d.peers.at("n2").underlay = d.underlay;
  d.peers.at("n3").underlay = ip("fd77::3");
  d.peers.at("n4").underlay = ip("0.0.0.0");
  d.peers.at("n5").pod_cidrs.push_back(cidr("10.250.0.0/24"));
  auto a = admit(d);
  ASSERT_EQ(a.peers.size(), 1u);
  EXPECT_EQ(a.peers[0]->node, "n6");
  EXPECT_THAT(a.refused, ElementsAre(HasSubstr("is our own"), HasSubstr("another family"),
                                     HasSubstr("cannot be sent to"), HasSubstr("two pod ranges of one family")));
}

}  // namespace
}  // namespace trama::overlay
