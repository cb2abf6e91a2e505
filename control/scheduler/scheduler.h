// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/async/task_group.h"
#include "base/log.h"
#include "control/loops/event_recorder.h"
#include "control/scheduler/choice.h"
#include "control/scheduler/replicas.h"
#include "control/scheduler/waiting.h"
#include "control/store/store.h"

namespace trama::control {

struct SchedulerOptions {
  WaitingOptions waiting;
  std::optional<std::uint64_t> seed;   // the same pods and nodes in the same order give the same placement
  std::size_t batch = 256;             // pods bound in one transaction
  std::chrono::milliseconds slice{5};  // longest time spent on choosing before others have their turn
};

// Gives every unplaced pod a node. Decides against its own picture of the cluster, in which pods being bound count
// already, and binds many pods in one write. A pod that fits nowhere is told so, and tried again when something has
// changed that could help it.
class Scheduler {
 public:
  Scheduler(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events, SchedulerOptions options);
  void start(async::TaskGroup& group);

  std::uint64_t bound() const { return bound_; }
  std::uint64_t unschedulable() const { return failed_; }  // attempts that found no node
  std::size_t pending() const { return waiting_.in_turn(); }
  std::size_t waiting() const { return waiting_.parked(); }

 private:
  using Clock = std::chrono::steady_clock;
  struct Known {
    PodNeeds needs;
    bool placed = false;  // counted on needs.node
  };
  struct Try {
    PodNeeds needs;
    Choice choice;
    api::ObjectPtr result;
  };
  using Seen = std::function<void(const store::Event&)>;
  using Load = std::function<void()>;

  void follow_all(async::TaskGroup& group, const std::string& resource, Load forget, Seen seen);
  awaitable<void> follow(std::string resource, std::uint64_t after, Load forget, Seen seen);
  std::uint64_t load(const std::string& resource, const Load& forget, const Seen& seen);
  void forget_nodes();
  void forget_pods();
  void node_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  void namespace_seen(const store::Event& e);
  void placed_pod_seen(Known& known, const api::Object& pod);
  void forget_pod(const api::Key& key);
  void changed(Changes what);
  awaitable<void> run();
  std::vector<Try> choose_batch();
  awaitable<void> place_batch();
  void told(const Try& t);
  void take_back(const Try& t);

  store::Store& store_;
  EventRecorder& events_;
  SchedulerOptions options_;
  std::shared_ptr<spdlog::logger> log_;
  Cluster cluster_;
  std::size_t next_slot_ = 0;  // where the next choice begins
  Replicas replicas_;
  std::map<api::Key, Known> pods_;
  Waiting waiting_;
  std::mt19937_64 random_;
  async::Event wake_;
  std::uint64_t bound_ = 0, failed_ = 0;
};

}  // namespace trama::control
