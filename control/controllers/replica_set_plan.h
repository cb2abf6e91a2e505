// SPDX-License-Identifier: GPL-2.0-or-later
// What a ReplicaSet does to its pods. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::size_t kPodBurst = 500;  // created or deleted in one transaction

struct ReplicaSetPlan {
  std::vector<api::ObjectPtr> adopt;    // match the selector and belong to nobody
  std::vector<api::ObjectPtr> release;  // ours, but no longer match
  std::size_t create = 0;
  std::vector<api::ObjectPtr> remove;  // in upstream's order: the least valuable first
  json::object status;                 // what status should say of the pods as they are now
  std::optional<Time> look_again;      // when a pod becomes available by time alone
};

// `pods` are those of the namespace that match the selector or are controlled by this ReplicaSet.
ReplicaSetPlan plan_replica_set(const api::Object& rs, const std::vector<api::ObjectPtr>& pods, Time now);

// Pods in the order in which they should be deleted.
std::vector<api::ObjectPtr> deletion_order(std::vector<api::ObjectPtr> pods);

// What the template of `owner` (ReplicaSet) says of its pods; store::create() completes it.
json::object pod_from_template(const api::Object& owner);

}  // namespace trama::control
