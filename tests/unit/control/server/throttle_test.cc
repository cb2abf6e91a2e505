// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/throttle.h"

#include <gtest/gtest.h>

namespace trama::server {
namespace {

using std::chrono::milliseconds;
using Kind = Throttle::Kind;

Limits small() {
  Limits l;
  l.per_second = 10, l.burst = 5, l.in_flight = 3, l.streams = 2;
  l.strangers_per_second = 0.5, l.strangers_burst = 2;
  return l;
}

class ThrottleTest : public testing::Test {
 protected:
  // Asks and is answered at once.
  bool ask(const std::string& who, bool stranger = false) {
    wait = throttle.enter(who, stranger, Kind::request, now);
    if (!wait) throttle.leave(who, Kind::request);
    return !wait;
  }
  Throttle throttle{small()};
  Throttle::Clock::time_point now{std::chrono::hours(1)};
  std::optional<int> wait;
};

TEST_F(ThrottleTest, ABurstThenTheRate) {
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(ask("a")) << i;
  EXPECT_FALSE(ask("a"));
  EXPECT_EQ(*wait, 1);
  EXPECT_TRUE(ask("b")) << "others are not touched";
  int allowed = 0;
  for (int i = 0; i < 1000; ++i) {
    now += milliseconds(10);
    allowed += ask("a") ? 1 : 0;
  }
  EXPECT_NEAR(allowed, 100, 1) << "ten seconds at ten a second";
  now += std::chrono::hours(1);
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(ask("a"));
  EXPECT_FALSE(ask("a")) << "waiting does not save up more than a burst";
}

TEST_F(ThrottleTest, WhatRunsIsCounted) {
  for (int i = 0; i < 3; ++i) EXPECT_FALSE(throttle.enter("a", false, Kind::request, now));
  EXPECT_TRUE(throttle.enter("a", false, Kind::request, now)) << "the fourth at once";
  throttle.leave("a", Kind::request);
  EXPECT_FALSE(throttle.enter("a", false, Kind::request, now));
  now += std::chrono::seconds(10);
  EXPECT_FALSE(throttle.enter("a", false, Kind::stream, now)) << "streams are counted by themselves";
  EXPECT_FALSE(throttle.enter("a", false, Kind::stream, now));
  EXPECT_TRUE(throttle.enter("a", false, Kind::stream, now));
  EXPECT_EQ(throttle.refused(), 2u);
}

TEST_F(ThrottleTest, StrangersGetLess) {
  EXPECT_TRUE(ask("10.0.0.1", true));
  EXPECT_TRUE(ask("10.0.0.1", true));
  EXPECT_FALSE(ask("10.0.0.1", true));
  EXPECT_EQ(*wait, 2) << "at one in two seconds";
  now += std::chrono::seconds(2);
  EXPECT_TRUE(ask("10.0.0.1", true));
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(throttle.may_try("10.0.0.2", now));
    throttle.count_failure("10.0.0.2", now);
  }
  EXPECT_FALSE(throttle.may_try("10.0.0.2", now)) << "who guesses tokens";
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(throttle.may_try("10.0.0.3", now)) << "right ones cost nothing";
}

TEST_F(ThrottleTest, TheQuietAreForgotten) {
  for (int i = 0; i < 1000; ++i) ask("address " + std::to_string(i), true);
  ASSERT_FALSE(throttle.enter("busy", false, Kind::stream, now));
  EXPECT_EQ(throttle.known(), 1001u);
  now += std::chrono::minutes(5);
  ask("new");
  EXPECT_EQ(throttle.known(), 2u) << "the one with a stream, and the new one";
}

}  // namespace
}  // namespace trama::server
