// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>

#include "control/controllers/deployment_plan.h"
#include "control/loops/event_recorder.h"
#include "control/loops/loop.h"

namespace trama::control {

// Rolls the pods of Deployments from one template to the next by way of ReplicaSets.
class DeploymentLoop {
 public:
  DeploymentLoop(async::asio::any_io_executor ex, store::Store& store, EventRecorder& events);
  Loop& loop() { return loop_; }

 private:
  void set_seen(const store::Event& e);
  void pod_seen(const store::Event& e);
  std::size_t old_pods_alive(const api::Object& deployment, const std::vector<api::ObjectPtr>& sets,
                             const DeploymentPlan& first_look) const;
  awaitable<base::Result<>> handle(std::string key);
  api::Answer<api::ObjectPtr> carry_out(store::Transaction& tx, const api::Object& deployment,
                                        const DeploymentPlan& plan, Time now) const;

  store::Store& store_;
  EventRecorder& events_;
  Loop loop_;
};

}  // namespace trama::control
