// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/election.h"

#include <gtest/gtest.h>

#include "control/loops/fenced_store.h"
#include "tests/unit/control/world.h"

namespace trama::control::test {
namespace {

using namespace std::chrono_literals;
using Clock = LeaseView::Clock;

const std::chrono::system_clock::time_point kWall = at("2026-01-02T15:04:05Z");

api::ObjectPtr lease(const LeaseView& view, const api::Object* before, Clock::time_point now, std::uint64_t revision) {
  auto body = view.claim(before, now, kWall);
  return body ? api::make_object(Election::key(), *body, revision) : nullptr;
}

std::string text(const api::ObjectPtr& o, const char* path) { return api::text_at(o->body, path); }

TEST(LeaseView, WhoeverComesFirstHasIt) {
  auto now = Clock::now();
  LeaseView a("a", 15s), b("b", 15s);
  a.saw(nullptr, now);
  auto first = lease(a, nullptr, now, 1);
  ASSERT_TRUE(first);
  EXPECT_EQ(text(first, "spec.holderIdentity"), "a");
  EXPECT_EQ(text(first, "spec.renewTime"), "2026-01-02T15:04:05.000000Z");
  EXPECT_EQ(api::int_at(first->body, "spec.leaseDurationSeconds"), 15);
  b.saw(first.get(), now);
  EXPECT_FALSE(lease(b, first.get(), now, 2));
}

TEST(LeaseView, ItIsFreeWhenItWasNotRenewedForItsDuration) {
  auto now = Clock::now();
  LeaseView a("a", 15s), b("b", 3s);
  auto first = lease(a, nullptr, now, 1);
  b.saw(first.get(), now);
  EXPECT_FALSE(lease(b, first.get(), now + 14s, 2)) << "the holder's duration counts, not one's own";
  // Renewed after it was seen, and that only the transaction has noticed.
  auto renewed = lease(a, first.get(), now + 14s, 2);
  EXPECT_FALSE(lease(b, renewed.get(), now + 16s, 3));
  b.saw(renewed.get(), now + 16s);
  EXPECT_FALSE(lease(b, renewed.get(), now + 30s, 3));
  auto taken = lease(b, renewed.get(), now + 32s, 3);
  ASSERT_TRUE(taken);
  EXPECT_EQ(text(taken, "spec.holderIdentity"), "b");
  EXPECT_EQ(api::int_at(taken->body, "spec.leaseTransitions"), 1);
  a.saw(taken.get(), now + 32s);
  EXPECT_FALSE(lease(a, taken.get(), now + 33s, 4)) << "who was paused does not take it back";
}

TEST(LeaseView, ItsOwnIsRenewedAndOneThatWasGivenBackIsTakenAtOnce) {
  auto now = Clock::now();
  LeaseView a("a", 15s), b("b", 15s);
  auto first = lease(a, nullptr, now, 1);
  auto renewed = lease(a, first.get(), now + 5s, 2);
  ASSERT_TRUE(renewed);
  EXPECT_EQ(api::int_at(renewed->body, "spec.leaseTransitions"), 0);
  EXPECT_EQ(text(renewed, "spec.acquireTime"), text(first, "spec.acquireTime"));
  auto body = renewed->body;
  api::make_object_at(body, "spec")["holderIdentity"] = "";
  auto free = api::make_object(Election::key(), body, 3);
  b.saw(free.get(), now + 6s);
  EXPECT_TRUE(lease(b, free.get(), now + 6s, 4));
}

}  // namespace
}  // namespace trama::control::test
