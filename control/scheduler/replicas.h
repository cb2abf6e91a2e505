// SPDX-License-Identifier: GPL-2.0-or-later
// Which pods are a pod's fellow replicas, as far as spreading goes: those that its Services choose and that its
// ReplicaSet or Job chooses. Upstream asks the same, but for Jobs.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "control/loops/label_index.h"
#include "control/scheduler/rules.h"
#include "control/store/store.h"

namespace trama::control {

class Replicas {
 public:
  void service_seen(const store::Event& e);
  void forget_services();
  // Nothing when no Service and no owner speaks for the pod.
  std::optional<PodSelector> of(const api::Object& pod, const store::Store& store) const;

 private:
  LabelIndex index_;  // Services by the first label of their selectors
  std::map<std::pair<std::string, std::string>, Labels> services_;
};

}  // namespace trama::control
