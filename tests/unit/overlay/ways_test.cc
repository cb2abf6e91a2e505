// SPDX-License-Identifier: GPL-2.0-or-later
// Which ways there are between nodes with several uplinks, and which one is taken when.
#include "overlay/peers/ways.h"

#include <gtest/gtest.h>

namespace trama::overlay::peers {
namespace {

Ip ip(const char* text) { return *Ip::parse(text); }
World::Uplink uplink(const char* address, const char* subnet) { return {ip(address), *base::Cidr::parse(subnet)}; }

World two() {
  World w;
  w.underlay = ip("10.1.0.1");
  w.uplinks = {uplink("10.1.0.1", "10.1.0.0/24"), uplink("10.2.0.1", "10.2.0.0/24")};
  return w;
}
std::string text(const std::vector<WayEnds>& ways) {
  std::string out;
  for (const auto& w : ways) out += fmt::format("{}>{} ", w.here.to_string(), w.there.to_string());
  return out;
}

TEST(WaysBetween, NodesAreThoseOnASharedLinkFirst) {
  auto ways = ways_between(two(), {ip("10.1.0.2"), ip("10.2.0.2")}, true);
  EXPECT_EQ(text(ways), "10.1.0.1>10.1.0.2 10.2.0.1>10.2.0.2 10.1.0.1>10.2.0.2 10.2.0.1>10.1.0.2 ");
  EXPECT_EQ(ways[1].uplink, 1u);
  // Announced in another order there: still the shared links.
  EXPECT_EQ(text(ways_between(two(), {ip("10.2.0.2"), ip("10.1.0.2")}, true)),
            "10.1.0.1>10.1.0.2 10.2.0.1>10.2.0.2 10.1.0.1>10.2.0.2 10.2.0.1>10.1.0.2 ");
}

TEST(WaysBetween, BothEndsComeToTheSameOrder) {
  World other;
  other.uplinks = {uplink("10.1.0.2", "10.1.0.0/24"), uplink("10.9.0.2", "10.9.0.0/24"),
                   uplink("10.2.0.2", "10.2.0.0/24")};
  auto here = ways_between(two(), {ip("10.1.0.2"), ip("10.9.0.2"), ip("10.2.0.2")}, true);
  auto there = ways_between(other, {ip("10.1.0.1"), ip("10.2.0.1")}, false);
  ASSERT_EQ(here.size(), 6u);
  ASSERT_EQ(there.size(), 6u);
  for (std::size_t i = 0; i < here.size(); ++i) {
    EXPECT_EQ(here[i].here, there[i].there) << i;
    EXPECT_EQ(here[i].there, there[i].here) << i;
  }
}

TEST(WaysBetween, OneAddressEachIsOneWayAndFamiliesDoNotMix) {
  World w;
  w.underlay = ip("10.1.0.1");
  EXPECT_EQ(text(ways_between(w, {ip("10.1.0.2")}, true)), "10.1.0.1>10.1.0.2 ");
  EXPECT_EQ(text(ways_between(w, {ip("10.1.0.2"), ip("fd00::2")}, true)), "10.1.0.1>10.1.0.2 ");
  EXPECT_EQ(ways_between(w, {ip("fd00::2")}, true).size(), 0u);
}

WaySight well() { return {PathState::up, false, false, 0, false}; }
WaySight dead() { return {PathState::down, true, false, 100, false}; }
WaySight unheard() { return {PathState::probing, false, false, 0, false}; }
WaySight silent() { return {PathState::up, true, true, 0, false}; }
WaySight answering() { return {PathState::up, false, false, 0, true}; }

WayChoice on(std::size_t way) {
  WayChoice c;
  c.adopt(way);
  return c;
}

TEST(WayChoiceOf, TheFirstThatAnswersIsTakenOnceBetterOnesHadTheirTime) {
  WayChoice c;
  EXPECT_FALSE(c.decide({unheard(), well()})) << "the better one may still answer";
  EXPECT_FALSE(c.known());
  EXPECT_TRUE(c.decide({dead(), well()}));
  EXPECT_EQ(c.used(), 1u);
  EXPECT_TRUE(c.known());
  WayChoice first;
  EXPECT_TRUE(first.decide({well(), unheard()}));
  EXPECT_EQ(first.used(), 0u);
  EXPECT_EQ(first.switches(), 0u);
}

TEST(WayChoiceOf, ASilentWayIsLeftForOneThatAnswersNow) {
  auto c = on(0);
  EXPECT_FALSE(c.decide({silent(), well()})) << "what answered before says nothing: the agent there may have stopped";
  EXPECT_TRUE(c.decide({silent(), answering()}));
  EXPECT_EQ(c.used(), 1u);
  EXPECT_FALSE(c.decide({dead(), well()})) << "kept";
  EXPECT_FALSE(c.decide({unheard(), well()}));
  EXPECT_TRUE(c.decide({well(), well()})) << "and left as soon as the best one is well";
  EXPECT_EQ(c.used(), 0u);
  EXPECT_EQ(c.switches(), 2u);
}

TEST(WayChoiceOf, WhereNothingAnswersNothingChanges) {
  auto c = on(1);
  EXPECT_FALSE(c.decide({dead(), dead()}));
  EXPECT_FALSE(c.decide({silent(), silent()}));
  EXPECT_EQ(c.used(), 1u);
  EXPECT_EQ(c.switches(), 1u) << "when it was adopted";
}

TEST(WayChoiceOf, MuchLossIsLeftForOneThatLosesNothingAndLittleIsNot) {
  auto lossy = [](unsigned percent) { return WaySight{PathState::degraded, false, false, percent, false}; };
  auto c = on(0);
  EXPECT_FALSE(c.decide({lossy(20), well()}));
  EXPECT_FALSE(c.decide({lossy(40), lossy(30)}));
  EXPECT_TRUE(c.decide({lossy(40), well()}));
  EXPECT_EQ(c.used(), 1u);
  EXPECT_FALSE(c.decide({lossy(8), well()})) << "not yet well again";
}

TEST(WayChoiceOf, ADoubtfulWayIsNotReturnedTo) {
  auto c = on(1);
  EXPECT_FALSE(c.decide({{PathState::up, false, true, 0, true}, well()}));
  EXPECT_FALSE(c.decide({{PathState::up, false, false, 6, true}, well()}));
  EXPECT_TRUE(c.decide({well(), well()}));
}

TEST(WayChoiceOf, OtherWaysAreJudgedAnewUnlessTheOneInUseStays) {
  auto c = on(1);
  c.restart(0);
  EXPECT_TRUE(c.known());
  EXPECT_EQ(c.used(), 0u);
  c.restart(std::nullopt);
  EXPECT_FALSE(c.known());
}

TEST(WayProbes, AreToldFromAllOtherNumbers) {
  EXPECT_TRUE(is_way_probe(kWayMark | 7));
  EXPECT_FALSE(is_way_probe(7));
  EXPECT_FALSE(is_way_probe(std::uint64_t{1} << 63 | kWayMark));
  EXPECT_FALSE(is_way_probe(std::uint64_t{3} << 62 | kWayMark));
}

TEST(PathLivenessOf, AWayThatWasLeftMustBeWellForAWhile) {
  PathLiveness l;
  Millis t{0};
  auto answer = [&] { return l.answered(l.probe(t), t, Micros(100)); };
  answer();
  l.tick(t);
  ASSERT_EQ(l.state(), PathState::up);
  l.give_up(t);
  EXPECT_EQ(l.state(), PathState::down);
  for (unsigned i = 0; i < LivenessTimers{}.recover; ++i) {
    l.tick(t);
    EXPECT_EQ(l.state(), PathState::down) << i;
    t += Millis(200);
    EXPECT_TRUE(l.due(t, PathLiveness::Pace::eager));
    answer();
  }
  l.tick(t);
  EXPECT_EQ(l.state(), PathState::up);
  EXPECT_FALSE(l.due(t + Millis(200), PathLiveness::Pace::reserve));
  EXPECT_TRUE(l.due(t + Millis(200), PathLiveness::Pace::eager)) << "another one fails";
}

}  // namespace
}  // namespace trama::overlay::peers
