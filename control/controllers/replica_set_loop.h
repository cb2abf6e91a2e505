// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <random>
#include <string>

#include "control/controllers/owned_pods.h"
#include "control/controllers/replica_set_plan.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

// Keeps as many pods alive as each ReplicaSet asks for, and its status true.
class ReplicaSetLoop {
 public:
  ReplicaSetLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                 std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }

 private:
  void set_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  awaitable<base::Result<>> handle(std::string key);

  store::Store& store_;
  EventRecorder& events_;
  OwnedPods pods_{"ReplicaSet"};
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
