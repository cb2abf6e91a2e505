// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/flows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::servicelb {
namespace {
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const Clock::time_point kNow{std::chrono::hours(1)};
const std::optional<seconds> kNoBound;

base::IpPort at(int i) { return {Ip::v4(10, 244, 0, static_cast<std::uint8_t>(i)), 80}; }

// One port with endpoints 10.244.0.<i>, id 7, at 10.96.0.1:80.
Placement placed(std::vector<int> endpoints, Protocol protocol = Protocol::udp) {
  Placement p;
  Pool pool;
  pool.id = 7, pool.protocol = protocol;
  auto& side = pool.sides[0];
  for (int i : endpoints) {
    side.slots.push_back(static_cast<std::uint16_t>(side.backends.size()));
    side.backends.push_back({at(i).ip, at(i).port, "pod", {}});
  }
  side.cls = endpoints.empty() ? kRefuseClass : static_cast<std::uint32_t>(endpoints.size());
  Door door;
  door.front.protocol = protocol, door.front.port = 80, door.front.ip = Ip::v4(10, 96, 0, 1);
  p.doors.push_back(door);
  p.pools.push_back(std::move(pool));
  return p;
}

struct FlowsTest : ::testing::Test {
  Flows flows;
  // What has to be done by then; nothing is marked as done.
  std::vector<FlowsOf> at_time(seconds after) { return flows.stale(kNow + after); }
  void all_done(seconds after) {
    auto list = at_time(after);
    flows.done(list, kNow + after);
  }
  // A service that is known, with nothing left to do.
  void settled(const Placement& p, std::optional<seconds> drain = {}) {
    flows.changed({}, p, drain, kNow);
    all_done(seconds(0));
    ASSERT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
  }
};

TEST_F(FlowsTest, DatagramsToAnEndpointThatIsGoneGoAtOnce) {
  settled(placed({1, 2}));
  flows.changed(placed({1, 2}), placed({2}), kNoBound, kNow);
  EXPECT_TRUE(flows.due(kNow));
  auto list = at_time(seconds(0));
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].id, 7u);
  EXPECT_EQ(list[0].family, Family::v4);
  EXPECT_THAT(list[0].endpoints, ElementsAre(at(2)));
  EXPECT_FALSE(list[0].connections);
  flows.done(list, kNow);
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
  EXPECT_THAT(at_time(seconds(1000)), IsEmpty());
}

TEST_F(FlowsTest, ConnectionsAreLeftAloneWithoutABound) {
  settled(placed({1, 2}, Protocol::tcp));
  flows.changed(placed({1, 2}, Protocol::tcp), placed({2}, Protocol::tcp), kNoBound, kNow);
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
}

TEST_F(FlowsTest, WithABoundEverythingGoesThen) {
  for (Protocol p : {Protocol::tcp, Protocol::udp, Protocol::sctp}) {
    flows = Flows();
    settled(placed({1, 2}, p), seconds(30));
    flows.changed(placed({1, 2}, p), placed({2}, p), seconds(30), kNow);
    EXPECT_FALSE(flows.due(kNow + seconds(29)));
    EXPECT_THAT(at_time(seconds(29)), IsEmpty());
    EXPECT_TRUE(flows.due(kNow + seconds(30)));
    auto list = at_time(seconds(30));
    ASSERT_THAT(list, SizeIs(1));
    EXPECT_THAT(list[0].endpoints, ElementsAre(at(2)));
    EXPECT_TRUE(list[0].connections);
  }
}

TEST_F(FlowsTest, EveryEndpointHasItsOwnTime) {
  auto tcp = [](std::vector<int> e) { return placed(std::move(e), Protocol::tcp); };
  settled(tcp({1, 2, 3}), seconds(30));
  flows.changed(tcp({1, 2, 3}), tcp({2, 3}), seconds(30), kNow);
  flows.changed(tcp({2, 3}), tcp({3}), seconds(30), kNow + seconds(10));
  auto list = at_time(seconds(30));
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_THAT(list[0].endpoints, ElementsAre(at(2), at(3))) << "2 has ten seconds more";
  flows.done(list, kNow + seconds(30));
  EXPECT_FALSE(flows.due(kNow + seconds(39)));
  ASSERT_THAT(at_time(seconds(40)), SizeIs(1));
  EXPECT_THAT(at_time(seconds(40))[0].endpoints, ElementsAre(at(3)));
  all_done(seconds(40));
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
}

TEST_F(FlowsTest, AnEndpointThatComesBackStays) {
  settled(placed({1, 2}), seconds(30));
  flows.changed(placed({1, 2}), placed({2}), seconds(30), kNow);
  flows.changed(placed({2}), placed({1, 2}), seconds(30), kNow + seconds(20));
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
  // and its time begins anew when it goes again
  flows.changed(placed({1, 2}), placed({2}), seconds(30), kNow + seconds(25));
  EXPECT_FALSE(flows.due(kNow + seconds(54)));
  EXPECT_TRUE(flows.due(kNow + seconds(55)));
}

TEST_F(FlowsTest, AnotherChangeDoesNotPutOffTheTime) {
  settled(placed({1, 2, 3}), seconds(30));
  flows.changed(placed({1, 2, 3}), placed({2, 3}), seconds(30), kNow);
  flows.changed(placed({2, 3}), placed({2, 3, 4}), seconds(30), kNow + seconds(20));
  EXPECT_TRUE(flows.due(kNow + seconds(30)));
  EXPECT_THAT(at_time(seconds(30))[0].endpoints, ElementsAre(at(2), at(3), at(4)));
}

TEST_F(FlowsTest, AServiceThatGoesTakesAllItsFlows) {
  settled(placed({1, 2}), seconds(30));
  flows.changed(placed({1, 2}), Placement{}, seconds(30), kNow);
  EXPECT_FALSE(flows.due(kNow + seconds(29)));
  auto list = at_time(seconds(30));
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_THAT(list[0].endpoints, IsEmpty());
}

TEST_F(FlowsTest, DoneKeepsWhatCameMeanwhile) {
  settled(placed({1, 2, 3}));
  flows.changed(placed({1, 2, 3}), placed({2, 3}), kNoBound, kNow);
  auto asked = at_time(seconds(0));
  // while the kernel deletes, the next one goes
  flows.changed(placed({2, 3}), placed({3}), kNoBound, kNow + seconds(1));
  flows.done(asked, kNow);
  EXPECT_TRUE(flows.due(kNow + seconds(1)));
  ASSERT_THAT(at_time(seconds(1)), SizeIs(1));
  EXPECT_THAT(at_time(seconds(1))[0].endpoints, ElementsAre(at(3)));
}

TEST_F(FlowsTest, AFrontEndThatIsNewFreesFlowsThatWentNowhere) {
  flows.changed({}, placed({1}), kNoBound, kNow);
  auto list = at_time(seconds(0));
  ASSERT_THAT(list, SizeIs(1));
  ASSERT_THAT(list[0].untranslated, SizeIs(1));
  EXPECT_EQ(list[0].untranslated[0].ip, Ip::v4(10, 96, 0, 1));
  flows.done(list, kNow);
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
  flows.changed(placed({1}), placed({1, 2}), kNoBound, kNow);
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000))) << "the front end was there";
  flows.changed({}, placed({1}, Protocol::tcp), kNoBound, kNow);
  EXPECT_THAT(at_time(seconds(0)), IsEmpty()) << "a connection begins anew by itself";
}

TEST_F(FlowsTest, AfterAStartNobodyKnows) {
  flows.unknown(placed({1, 2}), kNoBound, kNow);
  ASSERT_THAT(at_time(seconds(0)), SizeIs(1));
  EXPECT_THAT(at_time(seconds(0))[0].endpoints, ElementsAre(at(1), at(2)));
  all_done(seconds(0));
  flows.unknown(placed({1, 2}, Protocol::tcp), kNoBound, kNow);
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000))) << "connections without a bound";
  flows.unknown(placed({1, 2}, Protocol::tcp), seconds(30), kNow);
  EXPECT_FALSE(flows.due(kNow + seconds(29)));
  EXPECT_TRUE(flows.due(kNow + seconds(30)));
}

TEST_F(FlowsTest, WhatBeganWithoutRulesBeginsAgain) {
  for (Protocol p : {Protocol::udp, Protocol::tcp}) {
    settled(placed({1, 2}, p));
    flows.rules_were_missing(placed({1, 2}, p));
    auto list = at_time(seconds(0));
    ASSERT_THAT(list, SizeIs(1));
    EXPECT_THAT(list[0].endpoints, ElementsAre(at(1), at(2))) << "flows that were translated stay";
    EXPECT_FALSE(list[0].connections);
    ASSERT_THAT(list[0].untranslated, SizeIs(1));
    EXPECT_EQ(list[0].untranslated[0].protocol, p);
    flows.done(list, kNow);
    EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
    // Front ends without an endpoint refuse; there is nothing to free.
    flows.rules_were_missing(Placement{});
    EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
  }
}

TEST_F(FlowsTest, ADrainGoesOnWhileRulesAreMissing) {
  settled(placed({1, 2}), seconds(30));
  flows.changed(placed({1, 2}), placed({2}), seconds(30), kNow);
  flows.rules_were_missing(placed({2}));
  auto list = at_time(seconds(1));
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_THAT(list[0].endpoints, ElementsAre(at(1), at(2))) << "the one that leaves has its time";
  flows.done(list, kNow + seconds(1));
  EXPECT_FALSE(flows.due(kNow + seconds(29)));
  EXPECT_TRUE(flows.due(kNow + seconds(30)));
}

TEST_F(FlowsTest, AnIdThatNobodyHasLosesEverything) {
  flows.orphaned(Family::v6, 9, kNow);
  auto list = at_time(seconds(0));
  ASSERT_THAT(list, SizeIs(1));
  EXPECT_EQ(list[0].id, 9u);
  EXPECT_EQ(list[0].family, Family::v6);
  EXPECT_THAT(list[0].endpoints, IsEmpty());
}

TEST_F(FlowsTest, FlowsOfAFormerIdGoWithTheirEndpoint) {
  for (auto drain : {std::optional(seconds(30)), kNoBound}) {
    flows = Flows();
    settled(placed({1, 2}), drain);
    auto after = placed({1, 2});
    after.pools[0].id = 8, after.former_ids = {7};
    flows.changed(placed({1, 2}), after, drain, kNow);
    all_done(seconds(0));  // the front end counts as new to the new id
    EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000))) << "both endpoints are still there";
    auto fewer = placed({2});
    fewer.pools[0].id = 8, fewer.former_ids = {7};
    flows.changed(after, fewer, drain, kNow);
    auto list = at_time(seconds(30));
    ASSERT_THAT(list, SizeIs(2));
    for (const auto& f : list) EXPECT_THAT(f.endpoints, ElementsAre(at(2))) << f.id;
  }
}

TEST_F(FlowsTest, ManyServicesInTheOrderOfTheirTimes) {
  for (std::uint32_t id = 1; id <= 100; ++id) {
    auto before = placed({1, 2}, Protocol::tcp), after = placed({2}, Protocol::tcp);
    before.pools[0].id = after.pools[0].id = id;
    flows.changed(before, after, seconds(id), kNow);
  }
  for (std::uint32_t id = 1; id <= 100; ++id) {
    auto list = at_time(seconds(id));
    ASSERT_THAT(list, SizeIs(1));
    EXPECT_EQ(list[0].id, id);
    flows.done(list, kNow + seconds(id));
  }
  EXPECT_FALSE(flows.due(kNow + std::chrono::hours(1000)));
}

}  // namespace
}  // namespace trama::servicelb
