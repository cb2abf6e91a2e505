// SPDX-License-Identifier: GPL-2.0-or-later
// What a Deployment does to its ReplicaSets. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::string_view kTemplateHash = "pod-template-hash";
constexpr std::string_view kRevision = "deployment.kubernetes.io/revision";
constexpr std::string_view kRevisionHistory = "deployment.kubernetes.io/revision-history";
constexpr std::string_view kDesiredReplicas = "deployment.kubernetes.io/desired-replicas";
constexpr std::string_view kMaxReplicas = "deployment.kubernetes.io/max-replicas";

struct DeploymentPlan {
  std::vector<api::ObjectPtr> adopt;
  struct Scale {
    api::ObjectPtr rs;
    std::int64_t replicas = 0;
  };
  std::optional<json::object> create;   // the new ReplicaSet, replicas included
  std::optional<json::object> revised;  // the existing new ReplicaSet with revision and annotations up to date
  api::ObjectPtr current;               // the ReplicaSet with the deployment's template, when there is one
  std::vector<Scale> scale;
  std::vector<api::ObjectPtr> prune;  // old and empty, beyond revisionHistoryLimit
  json::object body;                  // the Deployment with status and revision annotation brought up to date
  bool changed = false;               // body differs from what is stored
  std::optional<Time> look_again;     // the progress deadline
  std::vector<std::string> notes;     // "Scaled up replica set web-5d4f to 3 from 2", for Events
};

// `sets` are the ReplicaSets of the namespace that match the selector or are controlled by the Deployment;
// `pods_alive` is how many pods of old sets still exist (Recreate waits for them).
DeploymentPlan plan_deployment(const api::Object& deployment, const std::vector<api::ObjectPtr>& sets,
                               std::size_t old_pods_alive, Time now);

// Ten characters that depend on the template's content alone.
std::string template_hash(const json::object& pod_template, std::int64_t collisions);
// maxSurge and maxUnavailable as numbers; both zero is not possible (then one may be unavailable).
struct Bounds {
  std::int64_t surge = 0;
  std::int64_t unavailable = 0;
};
Bounds rolling_bounds(const json::object& deployment);

}  // namespace trama::control
