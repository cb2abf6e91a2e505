// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <random>
#include <string>

#include "control/controllers/job_plan.h"
#include "control/controllers/owned_pods.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

// Runs the pods of every Job to its end and keeps its status true. Pods that no Job will count any more lose the
// finalizer that holds them.
class JobLoop {
 public:
  JobLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events, JobOptions options,
          std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }

 private:
  void job_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  bool is_abandoned(const api::Object& pod) const;
  awaitable<base::Result<>> handle(std::string key);
  awaitable<base::Result<>> settle(std::string key);
  awaitable<base::Result<>> let_go(std::string key);
  awaitable<base::Result<>> expire(api::ObjectPtr job);
  // Inside the transaction; what it creates is added to `created`.
  api::Answer<api::ObjectPtr> carry_out(store::Transaction& tx, const api::Object& job, const JobPlan& plan, Time now,
                                        std::vector<api::ObjectPtr>& created);
  void tell(const api::Object& job, const JobPlan& plan, const std::vector<api::ObjectPtr>& created);

  store::Store& store_;
  EventRecorder& events_;
  JobOptions options_;
  OwnedPods pods_{"Job"};
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
