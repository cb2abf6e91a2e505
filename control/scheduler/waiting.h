// SPDX-License-Identifier: GPL-2.0-or-later
// Pods without a node: whose turn it is, and who waits for what. Pure: the time is told.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

#include "base/backoff.h"
#include "control/api/object.h"
#include "control/scheduler/verdict.h"

namespace trama::control {

struct WaitingOptions {
  std::chrono::milliseconds backoff_lowest{1'000};
  std::chrono::milliseconds backoff_highest{10'000};
  std::chrono::milliseconds longest{300'000};  // then it is tried again whatever has happened
};

// By priority, then by age. A pod that fitted nowhere has its next turn when something has changed that could help it,
// and not before its back-off has passed, which doubles with each attempt.
class Waiting {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Waiting(WaitingOptions options) : options_(options) {}

  // In turn at once; a pod that is known keeps its age and its back-off.
  void add(const api::Key& pod, std::int64_t priority, std::uint64_t age);
  void forget(const api::Key& pod) { remove(pod); }
  // The next pod; it stays known until it is parked, added again or forgotten.
  std::optional<api::Key> take();
  // It has been taken and fits nowhere; `help` could change that.
  void park(const api::Key& pod, Changes help, Clock::time_point now);
  bool is_parked(const api::Key& pod) const;

  void changed(Changes what) { changes_ |= what; }
  // Those whose time has come get their turn.
  void look(Clock::time_point now);
  // When look() should be called again at the latest.
  Clock::time_point next_look() const { return changes_ != 0 ? Clock::time_point() : next_; }

  std::size_t in_turn() const { return turns_.size(); }
  std::size_t parked() const { return parked_.size(); }

 private:
  using Turn = std::tuple<std::int64_t, std::uint64_t, api::Key>;  // -priority, age, key
  struct Pod {
    std::int64_t priority = 0;
    std::uint64_t age = 0;
    base::Backoff backoff;
  };
  struct Parked {
    Changes help = 0;
    bool helped = false;
    Clock::time_point earliest, latest;
  };
  Turn turn_of(const api::Key& key, const Pod& pod) const { return {-pod.priority, pod.age, key}; }
  void remove(const api::Key& pod);

  WaitingOptions options_;
  std::map<api::Key, Pod> pods_;
  std::set<Turn> turns_;
  std::map<api::Key, Parked> parked_;
  Changes changes_ = 0;  // since the last look
  Clock::time_point next_ = Clock::time_point::max();
};

}  // namespace trama::control
