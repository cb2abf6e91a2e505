// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <map>
#include <string>

#include "control/controllers/node_cidr_plan.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

struct NodeCidrOptions {
  std::vector<base::Cidr> clusters;
  unsigned mask_v4 = 24;
  unsigned mask_v6 = 64;
  milliseconds cool_down{10'000};
};

// Gives every Node its pod CIDRs, once. What is in use is read from the Nodes themselves, so a restart needs no memory.
class NodeCidrLoop {
 public:
  NodeCidrLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events, NodeCidrOptions options);
  Loop& loop() { return loop_; }

 private:
  void node_seen(const store::Event& e);
  awaitable<base::Result<>> handle();
  void tell(const std::string& name, const char* reason, const std::string& message);

  store::Store& store_;
  EventRecorder& events_;
  NodeCidrOptions options_;
  std::map<std::string, std::vector<base::Cidr>> nodes_;                 // name -> what it has, empty when none
  std::map<base::Cidr, std::chrono::steady_clock::time_point> cooling_;  // until when
  Loop loop_;
};

}  // namespace trama::control
