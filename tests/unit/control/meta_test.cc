// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/meta.h"

#include "control/loops/event_recorder.h"
#include "control/loops/label_selector.h"
#include "tests/unit/control/world.h"

namespace trama::control {
namespace {

using namespace test;

TEST(Meta, ConditionsKeepTheirTransitionTime) {
  json::object o;
  EXPECT_TRUE(set_condition(o, "Ready", "True", "A", "", at("2026-01-01T00:00:00Z")));
  EXPECT_FALSE(set_condition(o, "Ready", "True", "A", "", at("2026-01-01T01:00:00Z")));
  EXPECT_TRUE(set_condition(o, "Ready", "True", "B", "", at("2026-01-01T02:00:00Z")));
  EXPECT_EQ(api::text_at(*condition(o, "Ready"), "lastTransitionTime"), "2026-01-01T00:00:00Z");
  EXPECT_TRUE(set_condition(o, "Ready", "False", "B", "", at("2026-01-01T03:00:00Z")));
  EXPECT_EQ(api::text_at(*condition(o, "Ready"), "lastTransitionTime"), "2026-01-01T03:00:00Z");
}

TEST(LabelSelector, Operators) {
  auto s = LabelSelector::of(object(
      R"({"matchLabels":{"a":"1"},"matchExpressions":[{"key":"b","operator":"In","values":["x","y"]},{"key":"c","operator":"DoesNotExist"}]})"));
  EXPECT_TRUE(s.matches({{"a", "1"}, {"b", "y"}}));
  EXPECT_FALSE(s.matches({{"a", "1"}, {"b", "z"}}));
  EXPECT_FALSE(s.matches({{"a", "1"}, {"b", "y"}, {"c", ""}}));
  EXPECT_FALSE(s.matches({{"b", "y"}}));
  EXPECT_TRUE(LabelSelector::of({}).matches({}));
}

TEST(StaleEvents, TtlAndCap) {
  std::vector<api::ObjectPtr> events;
  for (int i = 0; i < 10; ++i)
    events.push_back(
        stored("events",
               fmt::format(R"({{"metadata":{{"namespace":"d","name":"e{}"}},"lastTimestamp":"2026-01-01T00:0{}:00Z"}})",
                           i, i)));
  auto now = at("2026-01-01T00:10:00Z");
  EXPECT_TRUE(stale_events(events, now, std::chrono::hours(1), 100).empty());
  EXPECT_EQ(stale_events(events, now, std::chrono::minutes(5), 100).size(), 5u);
  auto capped = stale_events(events, now, std::chrono::hours(1), 8);
  ASSERT_EQ(capped.size(), 2u);
  EXPECT_EQ(capped[0].name, "e1");
  EXPECT_EQ(capped[1].name, "e0");
}

}  // namespace
}  // namespace trama::control
