// SPDX-License-Identifier: GPL-2.0-or-later
// Liveness in simulated time: what a path's state does under losses, stops and flapping, over many random worlds.
#include "overlay/peers/liveness.h"

#include <map>
#include <random>

#include <gtest/gtest.h>

#include "overlay/peers/status.h"

namespace trama::overlay::peers {
namespace {

// A path in simulated time. Real time passes in steps of the agent's tick; `lost` decides for each probe.
class Simulation {
 public:
  explicit Simulation(unsigned seed, Micros round_trip = Micros(400)) : random(seed), trip(round_trip) {}

  // Runs for `time`; the agent's loop wakes every 100 ms and at most `late` after that.
  void run(Millis time, double loss, Millis late = Millis{0}) {
    auto end = real + time;
    while (real < end) {
      real += Millis(100);
      if (late.count() > 0) real += Millis(static_cast<std::int64_t>(random() % static_cast<unsigned>(late.count())));
      step(loss);
    }
  }
  // Nothing runs; answers wait in the socket.
  void stop(Millis time) { real += time; }

  void step(double loss) {
    auto now = clock.advance(real);
    bool rests = now < path.rests_until(now, pace) && (underway.empty() || underway.begin()->first > real);
    if (rests) {
      ++rested;
      EXPECT_FALSE(path.due(now, pace)) << to_string(path.state());
      EXPECT_FALSE(path.hurries(now)) << to_string(path.state());
    }
    for (auto it = underway.begin(); it != underway.end() && it->first <= real;) {
      path.answered(it->second, now, trip);
      it = underway.erase(it);
    }
    if (path.due(now, pace)) {
      auto sequence = path.probe(now);
      ++probes;
      bool lost = std::uniform_real_distribution<>(0, 1)(random) < loss;
      if (!lost) underway.emplace(real + std::chrono::duration_cast<Millis>(trip), sequence);
    }
    bool changed = path.tick(now);
    EXPECT_FALSE(rests && changed) << "only time has passed, to " << to_string(path.state());
    if (changed) history.emplace_back(real, path.state());
  }
  std::size_t downs() const { return static_cast<std::size_t>(path.downs()); }

  std::mt19937 random;
  Micros trip;
  Millis real{1'000'000};
  AttentiveClock clock;
  PathLiveness path;
  std::multimap<Millis, std::uint64_t> underway;
  std::vector<std::pair<Millis, PathState>> history;
  unsigned probes = 0, rested = 0;
  PathLiveness::Pace pace = PathLiveness::Pace::usual;
};

TEST(Liveness, BeginsUnknownAndIsUpWithTheFirstAnswer) {
  Simulation s(1);
  EXPECT_EQ(s.path.state(), PathState::unknown);
  s.run(Millis(300), 0);
  EXPECT_EQ(s.path.state(), PathState::up);
  Simulation dead(1);
  dead.run(Millis(300), 1);
  EXPECT_EQ(dead.path.state(), PathState::probing);
  dead.run(Millis(3000), 1);
  EXPECT_EQ(dead.path.state(), PathState::down);
  EXPECT_FALSE(dead.path.ever_up());
}

TEST(Liveness, SteadyProbesAreOneASecondSuspiciousOnesFive) {
  Simulation s(2);
  s.run(Millis(10'000), 0);
  EXPECT_LE(s.probes, 12u);
  auto before = s.probes;
  s.run(Millis(2'000), 1);
  EXPECT_GE(s.probes - before, 4u);
  s.run(Millis(60'000), 1);
  before = s.probes;
  s.run(Millis(10'000), 1);
  EXPECT_LE(s.probes - before, 11u) << "a path that is down for long is asked once a second";
}

// Property: whenever a path dies, it is down within three seconds; whenever it lives, it is up within three.
// step() compares each rest with what would have happened.
TEST(Liveness, APathThatIsWellRestsMostOfTheTime) {
  for (unsigned seed = 1; seed <= 50; ++seed) {
    Simulation s(seed);
    s.run(Millis(60'000), 0);
    EXPECT_GT(s.rested, 600u * 7 / 10);
    for (double loss : {0.05, 0.3, 0.9, 1.0, 0.0}) s.run(Millis(20'000), loss);
    EXPECT_EQ(s.path.state(), PathState::up);
  }
}

TEST(Liveness, DeathAndReturnAreSeenWithinThreeSecondsInAnyPhase) {
  for (unsigned seed = 0; seed < 300; ++seed) {
    Simulation s(seed, Micros(100 + seed * 400));
    s.run(Millis(70'000 + seed * 37), 0);  // longer than what counts as flapping
    ASSERT_EQ(s.path.state(), PathState::up) << seed;
    auto died = s.real;
    s.run(Millis(4'000), 1);
    ASSERT_EQ(s.path.state(), PathState::down) << seed;
    EXPECT_LE((s.history.back().first - died).count(), 3'000) << seed;
    s.run(Millis(static_cast<std::int64_t>(seed) * 100), 1);
    auto returned = s.real;
    s.run(Millis(4'000), 0);
    ASSERT_EQ(s.path.state(), PathState::up) << seed;
    EXPECT_LE((s.history.back().first - returned).count(), 3'000) << seed;
  }
}

TEST(Liveness, APathInReserveIsAskedSeldomAndStillKnown) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed, Micros(100 + seed * 400));
    s.run(Millis(5'000 + seed * 37), 0);
    s.pace = PathLiveness::Pace::reserve;
    auto before = s.probes;
    s.run(Millis(60'000), 0);
    EXPECT_LE(s.probes - before, 13u);
    ASSERT_EQ(s.path.state(), PathState::up);
    EXPECT_EQ(s.downs(), 0u);
    // Nobody takes it and it dies.
    auto died = s.real;
    s.run(Millis(9'000), 1);
    ASSERT_EQ(s.path.state(), PathState::down) << seed;
    EXPECT_LE((s.history.back().first - died).count(), 5'000 + 2'000) << seed;
    s.run(Millis(10'000), 0);
    ASSERT_EQ(s.path.state(), PathState::up) << seed;
    // It has died together with the other one, and is needed as soon as that is noticed.
    s.run(Millis(70'000), 0);
    s.run(Millis(1'000), 1);
    s.pace = PathLiveness::Pace::usual;
    s.run(Millis(300), 1);
    EXPECT_TRUE(s.path.doubtful(s.clock.now()) || !works(s.path.state())) << seed;
    s.run(Millis(1'700), 1);
    EXPECT_EQ(s.path.state(), PathState::down) << seed;
  }
}

TEST(Liveness, WhereManyHurryNobodyDoesAndDeathIsSeenInTimeAllTheSame) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed);
    s.pace = PathLiveness::Pace::calm;
    s.run(Millis(70'000 + seed * 37), 0);
    ASSERT_EQ(s.path.state(), PathState::up);
    auto died = s.real;
    auto before = s.probes;
    s.run(Millis(4'000), 1);
    EXPECT_LE(s.probes - before, 5u);
    ASSERT_EQ(s.path.state(), PathState::down) << seed;
    EXPECT_LE((s.history.back().first - died).count(), 3'000) << seed;
  }
}

TEST(Liveness, TwentyPercentLossIsDegradedAndDoesNotFlap) {
  std::size_t downs = 0;
  for (unsigned seed = 0; seed < 50; ++seed) {
    Simulation s(seed);
    s.run(Millis(5'000), 0);
    s.run(Millis(600'000), 0.2);
    downs += s.downs();
    EXPECT_NEAR(s.path.loss(), 20, 20) << seed;
    EXPECT_TRUE(works(s.path.state())) << seed;
    s.run(Millis(60'000), 0);
    EXPECT_EQ(s.path.state(), PathState::up) << seed;
  }
  EXPECT_EQ(downs, 0u) << "in 500 minutes";
}

// Half a second late with every step, as on a machine without a processor to spare.
TEST(Liveness, AStarvedAgentDeclaresNobodyDead) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed);
    s.run(Millis(600'000), 0, Millis(1'500));
    EXPECT_EQ(s.downs(), 0u) << seed;
  }
}

TEST(Liveness, AStoppedAgentDeclaresNobodyDeadButSeesWhatIsDeadAfterwards) {
  for (unsigned seed = 0; seed < 100; ++seed) {
    Simulation s(seed);
    s.run(Millis(20'000 + seed * 13), 0);
    s.stop(Millis(5'000));
    s.run(Millis(5'000), 0);
    EXPECT_EQ(s.downs(), 0u) << seed;
    EXPECT_GE(s.clock.slept().count(), 4'500);
    s.stop(Millis(60'000));
    s.run(Millis(3'000), 1);  // the control: it died meanwhile
    EXPECT_EQ(s.path.state(), PathState::down) << seed;
  }
}

// Without the attentive clock the same agent would have: the control for the two tests above.
TEST(Liveness, TheRealClockWouldRaiseAFalseAlarm) {
  PathLiveness path;
  auto first = path.probe(Millis(1000));
  path.answered(first, Millis(1000), Micros(400));
  path.tick(Millis(1000));
  ASSERT_EQ(path.state(), PathState::up);
  path.probe(Millis(2000));  // its answer waits while nothing runs
  path.tick(Millis(6000));
  EXPECT_EQ(path.state(), PathState::down);
}

TEST(Liveness, FlappingPathsAreHeldDownLongerAndLonger) {
  Simulation s(3);
  s.run(Millis(5'000), 0);
  std::vector<std::int64_t> holds;
  for (int i = 0; i < 9; ++i) {
    s.run(Millis(3'000), 1);
    ASSERT_EQ(s.path.state(), PathState::down) << i;
    holds.push_back(s.path.hold().count());
    auto returned = s.real;
    while (s.path.state() == PathState::down && s.real - returned < Millis(70'000)) s.run(Millis(100), 0);
    ASSERT_EQ(s.path.state(), PathState::up) << i;
  }
  EXPECT_EQ(holds.front(), 0);
  EXPECT_EQ(holds.back(), 60'000);
  EXPECT_TRUE(std::is_sorted(holds.begin(), holds.end()));
  s.run(Millis(100'000), 0);
  s.run(Millis(3'000), 1);
  EXPECT_EQ(s.path.hold().count(), 0) << "it was well for long enough";
}

TEST(Liveness, AnswersToNothingChangeNothing) {
  PathLiveness path;
  EXPECT_FALSE(path.answered(1, Millis(0), Micros(1)));
  auto s = path.probe(Millis(0));
  EXPECT_FALSE(path.answered(s + 1, Millis(1), Micros(1)));
  EXPECT_TRUE(path.answered(s, Millis(1), Micros(1)));
  EXPECT_FALSE(path.answered(s, Millis(2), Micros(1))) << "a second time";
  path.forget(Millis(3));
  EXPECT_EQ(path.state(), PathState::unknown);
  EXPECT_GT(path.probe(Millis(4)), s) << "late answers of the time before find nothing";
}

TEST(AttentiveClock, CountsNoStepLongerThanAQuarterSecond) {
  AttentiveClock c;
  c.advance(Millis(1000));
  EXPECT_EQ(c.now().count(), 0);
  EXPECT_EQ(c.advance(Millis(1100)).count(), 100);
  EXPECT_EQ(c.advance(Millis(61'100)).count(), 350);
  EXPECT_EQ(c.slept().count(), 59'750);
  EXPECT_EQ(c.advance(Millis(61'000)).count(), 350) << "a clock that goes back stands still";
}

TEST(Arrivals, CountWhatNeverCame) {
  Arrivals a;
  EXPECT_FALSE(a.any());
  for (std::uint64_t i = 1; i <= 40; ++i)
    if (i % 4 != 0) a.arrived(i, Millis(static_cast<std::int64_t>(i)));
  EXPECT_EQ(a.loss(), 25u);  // 40 itself did not come: 32 up to 39
  EXPECT_EQ(a.age(Millis(50)).count(), 11);
  a.arrived(38, Millis(60));  // twice, and late: neither counts
  EXPECT_EQ(a.loss(), 25u);
  a.arrived(1, Millis(70));  // the other side has begun anew
  EXPECT_EQ(a.loss(), 0u);
}

// ---- what follows from paths ----------------------------------------------------------------------------------------

PeerStatus peer(const char* name, PathState overlay, PathState control, bool was_up = true) {
  PeerStatus p;
  p.node = name;
  p.overlay = "10.244.2.0";
  p.path(PathKind::overlay).state = overlay;
  p.path(PathKind::control).state = control;
  for (auto& path : p.paths) path.downs = was_up ? 1 : 0;
  return p;
}

TEST(Isolation, NeedsSeveralPeersThatAllWent) {
  auto down = PathState::down, up = PathState::up;
  EXPECT_FALSE(is_isolated({}));
  EXPECT_FALSE(is_isolated({peer("a", down, down)})) << "of one peer it may be the peer's fault";
  EXPECT_TRUE(is_isolated({peer("a", down, down), peer("b", down, PathState::unknown)}));
  EXPECT_FALSE(is_isolated({peer("a", down, down), peer("b", down, up)}));
  EXPECT_FALSE(is_isolated({peer("a", down, down), peer("b", PathState::degraded, down)}));
}

TEST(Explanation, NamesTheDirection) {
  Evidence e;
  e.self = "n1", e.peer = "n2";
  e.hears_us = false, e.heard_lately = true;
  EXPECT_EQ(explain_down(e), "one way: what n1 sends to n2 is lost, the other direction works");
  e.hears_us = true, e.heard_lately = false;
  EXPECT_EQ(explain_down(e), "one way: what n2 sends to n1 is lost, the other direction works");
  e.hears_us = false;
  e.other_path_works = true;
  EXPECT_EQ(explain_down(e), "UDP 6784 does not pass between n1 and n2, although 6783 does");
  e.other_path_works = false;
  EXPECT_EQ(explain_down(e), "n2 has never answered");
  e.send_error = "Message too long";
  EXPECT_EQ(explain_down(e), "cannot send to n2: Message too long");
  EXPECT_EQ(explain_loss(e, 30, 0, 30), "30 % lost, on the way from n1 to n2");
  EXPECT_EQ(explain_loss(e, 30, 30, 2), "30 % lost, on the way from n2 to n1");
  EXPECT_EQ(explain_loss(e, 30, 0, std::nullopt), "30 % lost");
}

}  // namespace
}  // namespace trama::overlay::peers
