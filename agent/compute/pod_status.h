// SPDX-License-Identifier: GPL-2.0-or-later
// What is known of a pod's processes -> the status that the API shows, in upstream's shape. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/compute/sandboxes.h"
#include "netns/pod_status.h"

namespace trama::agent {

struct PodFindings {
  std::vector<base::Ip> pod_ips;  // empty until the sandbox is there
  std::vector<base::Ip> host_ips;
  std::optional<PodTrouble> trouble;                 // why it does not run
  std::map<std::string, std::string> config_errors;  // by container: what its variables are made from is not there
  std::vector<netns::ContainerStatus> containers;    // empty: no process was started yet
  std::map<std::string, bool> ready;  // verdict of the readiness probe; containers without a probe are absent
  std::string now;                    // "2026-01-02T15:04:05Z"
};

// The new status. What is not ours to say (PodScheduled, conditions of others, qosClass) is taken over from the pod's
// present status; a condition keeps its lastTransitionTime until its status changes. Equal findings give an equal
// status, so a caller can compare with what is there and stay silent.
json::object compute_pod_status(const api::Object& pod, const PodFindings& findings);

// Upstream's getPhase: restart policy and the state of every container decide.
std::string pod_phase(const std::string& restart_policy, std::size_t containers,
                      const std::vector<netns::ContainerStatus>& statuses);

// True when every container runs and is ready.
bool is_pod_ready(const json::object& status);

// RFC 3339 in whole seconds, as metav1.Time; the fraction is cut off. "" stays "".
std::string whole_seconds(const std::string& time);

}  // namespace trama::agent
