// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <tuple>

#include "base/async/task_group.h"
#include "base/backoff.h"
#include "base/log.h"
#include "control/loops/event_recorder.h"
#include "control/scheduler/choice.h"
#include "control/store/store.h"

namespace trama::control {

struct SchedulerOptions {
  std::chrono::milliseconds backoff_lowest{1'000};
  std::chrono::milliseconds backoff_highest{10'000};
  std::optional<std::uint64_t> seed;   // the same pods and nodes in the same order give the same placement
  std::size_t batch = 256;             // pods bound in one transaction
  std::chrono::milliseconds slice{5};  // longest time spent on choosing before others have their turn
};

// Gives every unplaced pod a node. Decides against its own picture of the nodes, in which pods being bound count
// already, and binds many pods in one write. A pod that fits nowhere is told so and tried again after a back-off that a
// change of nodes or the end of a pod cuts short.
class Scheduler {
 public:
  Scheduler(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events, SchedulerOptions options);
  void start(async::TaskGroup& group);

  std::uint64_t bound() const { return bound_; }
  std::uint64_t unschedulable() const { return failed_; }  // attempts that found no node
  std::size_t pending() const { return active_.size(); }
  std::size_t waiting() const { return parked_.size(); }

 private:
  using Clock = std::chrono::steady_clock;
  using Turn = std::tuple<std::int64_t, std::uint64_t, api::Key>;  // -priority, first revision, key
  struct Known {
    PodNeeds needs;
    bool placed = false;  // counted on needs.node
  };
  struct Parked {
    Clock::time_point until;
    std::uint64_t first_seen = 0;
  };

  std::uint64_t load_nodes();
  std::uint64_t load_pods();
  awaitable<void> follow_nodes(std::uint64_t after);
  awaitable<void> follow_pods(std::uint64_t after);
  void node_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  void forget_pod(const api::Key& key);
  void queue(const PodNeeds& needs);
  void flush();  // everything parked may try again now
  void unpark_due();
  awaitable<void> run();
  awaitable<void> place_batch();
  void park(const PodNeeds& needs);

  store::Store& store_;
  EventRecorder& events_;
  SchedulerOptions options_;
  std::shared_ptr<spdlog::logger> log_;
  Nodes nodes_;
  std::string next_node_;  // where the next choice begins
  std::map<api::Key, Known> pods_;
  std::set<Turn> active_;
  std::map<api::Key, Parked> parked_;
  std::map<api::Key, base::Backoff> backoff_;
  std::map<api::Key, std::uint64_t> first_seen_;
  std::mt19937_64 random_;
  async::Event wake_;
  std::uint64_t bound_ = 0, failed_ = 0;
};

}  // namespace trama::control
