// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <random>
#include <set>
#include <string>

#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

// Shows Endpoints that people write for Services without a selector as EndpointSlices.
class EndpointMirrorLoop {
 public:
  EndpointMirrorLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events,
                     std::uint64_t seed = std::random_device{}());  // names of created objects depend on it
  Loop& loop() { return loop_; }

 private:
  void slice_seen(const store::Event& e);
  awaitable<base::Result<>> handle(std::string key);

  store::Store& store_;
  EventRecorder& events_;
  std::map<std::string, std::set<std::string>> slices_;  // queue key -> names of the slices that we manage
  std::mt19937_64 random_;
  Loop loop_;
};

}  // namespace trama::control
