// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <random>
#include <string>

#include "control/controllers/daemon_set_plan.h"
#include "control/controllers/owned_pods.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

// Keeps one pod of every DaemonSet on each node that it is for, and its status true.
class DaemonSetLoop {
 public:
  DaemonSetLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }

 private:
  // When a failed pod of a set was last replaced on a node, and how long the next one has to wait.
  struct Attempt {
    Time last;
    std::chrono::milliseconds delay{0};
  };
  void set_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  void revision_seen(const store::Event& e);
  void node_seen(const store::Event& e);
  std::map<std::string, Time> held(const std::string& uid) const;
  void failed_on(const std::string& uid, const std::string& node, Time now);
  void tell(const api::Object& set, const DaemonSetPlan& plan, const std::vector<api::ObjectPtr>& created);
  awaitable<base::Result<>> handle(std::string key);

  store::Store& store_;
  EventRecorder& events_;
  OwnedPods pods_{"DaemonSet"};
  std::map<std::string, DaemonNode> nodes_;
  std::map<std::string, std::map<std::string, Attempt>> attempts_;  // by uid of the set, by node
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
