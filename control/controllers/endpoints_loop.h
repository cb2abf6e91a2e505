// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>

#include "control/controllers/service_pods.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

// Keeps the Endpoints of all Services that have a selector, and takes them away with their Service. Which pods are
// whose is somebody else's index: who keeps it calls touch().
class EndpointsLoop {
 public:
  EndpointsLoop(async::asio::any_io_executor ex, store::Store& store, const ServicePods& pods);
  Loop& loop() { return loop_; }
  // The pods of that Service ("namespace/name") have changed, at that time.
  void touch(const std::string& service, const std::string& trigger);

 private:
  void service_seen(const store::Event& e);
  awaitable<base::Result<>> handle(std::string key);
  awaitable<base::Result<>> release(std::string key);
  awaitable<base::Result<>> remove(std::string key);

  store::Store& store_;
  const ServicePods& pods_;
  std::map<std::string, std::string> triggers_;  // by Service: earliest change since the last pass
  std::set<std::string> gone_;                   // Services that were deleted: what is called like them goes too
  Loop loop_;
};

}  // namespace trama::control
