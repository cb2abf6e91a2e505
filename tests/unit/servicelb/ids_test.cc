// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/ids.h"

#include <random>
#include <set>

#include <gtest/gtest.h>

namespace trama::servicelb {
namespace {

const Clock::time_point kNow{std::chrono::hours(1)};
PortKey key(int n) { return PortKey{{"ns", "s" + std::to_string(n)}, Protocol::tcp, ""}; }

TEST(IdPool, IdsAreStableAndHeldBack) {
  IdPool pool(4);
  auto key = [](const char* n) { return PortKey{{"ns", n}, Protocol::tcp, ""}; };
  EXPECT_EQ(pool.acquire(key("a"), kNow), 1u);
  EXPECT_EQ(pool.acquire(key("b"), kNow), 2u);
  EXPECT_EQ(pool.acquire(key("a"), kNow), 1u);
  pool.release(key("a"), kNow);
  EXPECT_EQ(pool.acquire(key("c"), kNow), 3u) << "not the one just released";
  EXPECT_EQ(pool.acquire(key("a"), kNow), 1u) << "the same port gets its id back";
  pool.release(key("a"), kNow);
  EXPECT_TRUE(pool.adopt(key("d"), 4));
  EXPECT_FALSE(pool.adopt(key("e"), 4));
  EXPECT_EQ(pool.acquire(key("e"), kNow + kHoldDown / 2), std::nullopt) << "all are taken or held";
  EXPECT_EQ(pool.acquire(key("e"), kNow + kHoldDown), 1u);
  // released, back, released again: the second release counts
  pool.release(key("b"), kNow);
  EXPECT_EQ(pool.acquire(key("b"), kNow), 2u);
  pool.release(key("b"), kNow + kHoldDown);
  EXPECT_EQ(pool.acquire(key("f"), kNow + kHoldDown + std::chrono::seconds(1)), std::nullopt);
  EXPECT_EQ(pool.acquire(key("f"), kNow + 2 * kHoldDown), 2u);
}

TEST(IdPool, EveryPartOfTheKeyCounts) {
  IdPool pool;
  std::set<std::uint32_t> ids;
  for (const char* ns : {"a", "b"})
    for (const char* name : {"a", "b"})
      for (Protocol p : {Protocol::tcp, Protocol::udp})
        for (const char* port : {"", "http"})
          for (auto variant : {std::uint8_t{0}, std::uint8_t{1}})
            ids.insert(*pool.acquire({{ns, name}, p, port, variant}, kNow));
  EXPECT_EQ(ids.size(), 32u);
  EXPECT_EQ(*ids.begin(), 1u) << "0 means none";
}

TEST(IdPool, AdoptedIdsAreNotGivenToOthers) {
  IdPool pool(5);
  EXPECT_FALSE(pool.adopt(key(1), 0));
  EXPECT_FALSE(pool.adopt(key(1), 6));
  EXPECT_TRUE(pool.adopt(key(1), 2));
  EXPECT_TRUE(pool.adopt(key(1), 2)) << "twice is fine";
  EXPECT_FALSE(pool.adopt(key(1), 3)) << "it has one";
  pool.hold(4, kNow);
  pool.hold(2, kNow);  // somebody has it: nothing happens
  EXPECT_FALSE(pool.adopt(key(2), 4)) << "held";
  EXPECT_EQ(pool.acquire(key(3), kNow), 1u);
  EXPECT_EQ(pool.acquire(key(4), kNow), 3u);
  EXPECT_EQ(pool.acquire(key(5), kNow), 5u);
  EXPECT_EQ(pool.acquire(key(6), kNow + kHoldDown / 2), std::nullopt);
  EXPECT_EQ(pool.acquire(key(6), kNow + kHoldDown), 4u);
  EXPECT_EQ(pool.find(key(1)), 2u);
  EXPECT_EQ(pool.used(), 5u);
}

// No id is two ports' at a time, nor another port's before its hold-down has passed.
TEST(IdPool, Property) {
  std::mt19937 random(1);
  IdPool pool(40);
  auto now = kNow;
  std::map<int, std::uint32_t> have;
  std::map<std::uint32_t, std::pair<int, Clock::time_point>> released;  // id -> whose it was, since when
  for (int round = 0; round < 20'000; ++round) {
    now += std::chrono::seconds(random() % 30);
    int n = static_cast<int>(random() % 60);
    if (have.contains(n)) {
      ASSERT_EQ(pool.acquire(key(n), now), have[n]);
      if (random() % 2) continue;
      pool.release(key(n), now);
      released[have[n]] = {n, now};
      have.erase(n);
    } else if (auto id = pool.acquire(key(n), now)) {
      for (const auto& [other, its] : have) ASSERT_NE(its, *id);
      if (auto it = released.find(*id); it != released.end() && it->second.first != n) {
        ASSERT_GE(now - it->second.second, kHoldDown);
      }
      have[n] = *id;
    } else {  // all are taken, or held
      auto held = std::count_if(released.begin(), released.end(), [&](const auto& r) {
        bool taken = std::any_of(have.begin(), have.end(), [&](const auto& h) { return h.second == r.first; });
        return !taken && now - r.second.second < kHoldDown;
      });
      ASSERT_EQ(have.size() + static_cast<std::size_t>(held), 40u);
    }
  }
}

}  // namespace
}  // namespace trama::servicelb
