// SPDX-License-Identifier: GPL-2.0-or-later
// The search for a path's MTU in simulated time, beside the liveness whose probes it watches.
#include "overlay/peers/mtu_search.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

namespace trama::overlay::peers {
namespace {

constexpr unsigned kBase = 1280, kLargest = 1450;

struct Simulation {
  explicit Simulation(unsigned seed, unsigned largest = kLargest)
      : random(seed), path_mtu(largest), now(Millis(random() % 1000)) {
    search.resize(largest, now);
  }

  void run(Millis time) {
    for (auto end = now + time; now < end;) step();
  }
  // Steps until the condition holds; how long that took.
  template <class F>
  Millis until(F condition, Millis most = Millis(120'000)) {
    auto begin = now;
    while (!condition() && now - begin < most) step();
    return now - begin;
  }
  void step() {
    now += Millis(100);
    for (auto it = underway.begin(); it != underway.end() && it->first <= now; it = underway.erase(it)) {
      auto sequence = it->second;
      if (sequence & MtuSearch::kMark) {
        if (search.answered(sequence, now)) live.heard(now);
      } else if (live.answered(sequence, now, trip)) {
        search.answered(now);
      }
    }
    if (live.due(now)) {
      auto sequence = live.probe(now);
      search.sent(now);
      send(sequence, search.mtu());
    }
    if (auto probe = search.due(now)) {
      ++probes;
      ASSERT_GE(probe->size, kBase);
      ASSERT_LE(probe->size, largest());
      send(probe->sequence, probe->size);
    }
    if (live.tick(now) && live.state() == PathState::down) ++downs;
    ASSERT_GE(search.mtu(), std::min(kBase, largest()));
    if (search.mtu() != before) ++changes;
    before = search.mtu();
  }
  unsigned any(unsigned below) { return static_cast<unsigned>(random() % below); }
  void send(std::uint64_t sequence, unsigned size) {
    bool lost = std::uniform_real_distribution<>(0, 1)(random) < loss;
    bool cut = fragments && !(sequence & MtuSearch::kMark);
    if (!lost && (cut || size <= path_mtu)) underway.emplace(now + Millis(20), sequence);
  }
  unsigned largest() const { return device; }
  void device_takes(unsigned size) {
    device = size;
    search.resize(size, now);
  }

  std::mt19937 random;
  unsigned path_mtu, device = kLargest;
  double loss = 0;
  bool fragments = false;  // the network cuts what it may
  Micros trip{20'000};
  PathLiveness live{LivenessTimers{}, Millis{0}};
  MtuSearch search;
  Millis now;
  std::multimap<Millis, std::uint64_t> underway;
  unsigned before = kLargest, changes = 0, downs = 0, probes = 0;
};

TEST(MtuSearch, WhereEverythingPassesAlmostNothingIsSent) {
  Simulation s(1);
  s.run(Millis(300'000));
  EXPECT_EQ(s.search.state(), MtuState::whole);
  EXPECT_EQ(s.search.mtu(), kLargest);
  EXPECT_LE(s.probes, 30u) << "one in ten seconds";
  EXPECT_EQ(s.changes, 0u);
}

TEST(MtuSearch, ABlackHoleEndsWithinThreeSecondsAndTheRestIsFound) {
  for (unsigned seed = 0; seed < 200; ++seed) {
    Simulation s(seed);
    s.run(Millis(5'000 + s.any(2'000)));
    unsigned passes = kBase + s.any(kLargest - kBase);
    s.path_mtu = passes;
    auto took = s.until([&] { return s.search.mtu() <= passes; });
    ASSERT_LE(took, Millis(3'000)) << seed;
    took += s.until([&] { return s.search.state() == MtuState::settled; });
    ASSERT_LE(took, Millis(12'000)) << seed;
    ASSERT_LE(s.search.mtu(), passes) << seed;
    ASSERT_GE(s.search.mtu() + 8, passes) << seed;
    s.run(Millis(100'000));
    ASSERT_LE(s.search.mtu(), passes) << seed;
    ASSERT_EQ(s.downs, 0u) << "the path was never dead; " << seed;
    ASSERT_EQ(s.live.state(), PathState::up) << seed;
  }
}

TEST(MtuSearch, WithoutSmallProbesThePathWouldBeCalledDead) {  // the control
  Simulation s(1);
  s.run(Millis(5'000));
  s.path_mtu = kBase - 1;
  s.run(Millis(5'000));
  EXPECT_EQ(s.live.state(), PathState::down);
  EXPECT_EQ(s.search.mtu(), kLargest) << "a dead path says nothing about sizes";
}

TEST(MtuSearch, CuttingInPiecesEndsAfterSeconds) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed);
    s.fragments = true;
    s.run(Millis(5'000 + s.any(2'000)));
    unsigned passes = s.path_mtu = kBase + s.any(kLargest - kBase);
    ASSERT_LE(s.until([&] { return s.search.mtu() <= passes; }), Millis(11'500)) << seed;
    s.run(Millis(12'000));
    ASSERT_LE(s.search.mtu(), passes) << seed;
    ASSERT_GE(s.search.mtu() + 8, passes) << seed;
    ASSERT_EQ(s.downs, 0u) << seed;
  }
}

TEST(MtuSearch, MoreIsFoundWhenMorePasses) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed);
    s.path_mtu = kBase + s.any(100);
    s.until([&] { return s.search.state() == MtuState::settled; });
    unsigned more = s.path_mtu + 9 + s.any(kLargest - s.path_mtu - 8);
    s.path_mtu = more;
    auto took = s.until([&] { return s.search.mtu() + 8 >= more; });
    ASSERT_LE(took, Millis(45'000)) << seed;
    ASSERT_LE(s.search.mtu(), more) << seed;
    ASSERT_EQ(s.downs, 0u) << seed;
    s.path_mtu = kLargest;
    s.until([&] { return s.search.state() == MtuState::whole; }, Millis(40'000));
    ASSERT_EQ(s.search.mtu(), kLargest) << seed;
  }
}

TEST(MtuSearch, APathThatWasAwayIsLookedAtAnewAtOnce) {
  Simulation s(3);
  s.path_mtu = 1300;
  s.until([&] { return s.search.state() == MtuState::settled; });
  s.path_mtu = 0;
  s.run(Millis(60'000));
  EXPECT_EQ(s.live.state(), PathState::down);
  s.path_mtu = kLargest;
  EXPECT_LE(s.until([&] { return s.search.mtu() == kLargest; }), Millis(5'000));
}

TEST(MtuSearch, LossAloneChangesNothingForLong) {
  unsigned changes = 0;
  for (unsigned seed = 0; seed < 20; ++seed) {
    Simulation s(seed);
    s.loss = 0.2;
    s.run(Millis(600'000));
    changes += s.changes;
    s.loss = 0;
    s.run(Millis(40'000));
    ASSERT_EQ(s.search.mtu(), kLargest) << seed;
  }
  EXPECT_LE(changes, 40u) << "in 200 minutes with a fifth lost";
}

TEST(MtuSearch, TheDevicesSizeIsFollowed) {
  Simulation s(5);
  s.run(Millis(3'000));
  s.device_takes(1400);
  EXPECT_EQ(s.search.mtu(), 1400u) << "at once";
  s.path_mtu = 8950;
  s.device_takes(8950);
  EXPECT_EQ(s.search.mtu(), 1400u) << "not before it is known to pass";
  EXPECT_LE(s.until([&] { return s.search.mtu() == 8950; }), Millis(1'000));
  s.path_mtu = 1450;
  s.device_takes(9000);
  s.run(Millis(15'000));
  EXPECT_LE(s.search.mtu(), 1450u);
  EXPECT_GE(s.search.mtu(), 1442u);
}

TEST(MtuSearch, RandomHistories) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Simulation s(seed);
    for (int i = 0; i < 12; ++i) {
      switch (s.any(4)) {
        case 0: s.path_mtu = s.any(3) ? kBase + s.any(300) : 0; break;
        case 1: s.loss = s.any(3) ? 0 : 0.3; break;
        case 2: s.device_takes(kBase + s.any(300)); break;
        case 3: break;
      }
      s.run(Millis(s.any(20'000)));
      ASSERT_FALSE(HasFatalFailure());
    }
    s.loss = 0;
    s.path_mtu = kBase + s.any(300);
    s.run(Millis(60'000));
    auto expected = std::min(s.path_mtu, s.device);
    ASSERT_LE(s.search.mtu(), expected) << seed;
    ASSERT_GE(s.search.mtu() + 8, expected) << seed;
  }
}

}  // namespace
}  // namespace trama::overlay::peers
