// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "control/controllers/node_lifecycle_plan.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

struct NodeLifecycleOptions {
  LifecycleOptions plan;
  milliseconds monitor{5'000};
  double evictions_per_second = 0.1;  // nodes that may be emptied
};

// Watches leases (when they arrive here, not what they say), writes node conditions and taints, takes the pods of
// silent nodes out of rotation at once and evicts them after their toleration. A restart begins every grace anew.
class NodeLifecycleLoop {
 public:
  NodeLifecycleLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                    NodeLifecycleOptions options);
  Loop& loop() { return loop_; }

 private:
  using Clock = std::chrono::steady_clock;
  void node_seen(const store::Event& e);
  void lease_seen(const store::Event& e);
  void heard_of(const std::string& node);
  awaitable<base::Result<>> handle();
  awaitable<base::Result<>> write_all(const LifecyclePlan& plan);
  awaitable<base::Result<>> evict(const LifecyclePlan& plan);

  store::Store& store_;
  EventRecorder& events_;
  NodeLifecycleOptions options_;
  Clock::time_point started_ = Clock::now();
  std::map<std::string, Clock::time_point> heard_;
  std::map<std::string, Clock::time_point> emptied_;  // nodes whose eviction has been let through
  Clock::time_point next_eviction_{};
  bool holding_ = false;
  Loop loop_;
};

}  // namespace trama::control
