// SPDX-License-Identifier: GPL-2.0-or-later
// What follows from a node's silence. Pure: time comes in, writes come out.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::string_view kUnreachableTaint = "node.kubernetes.io/unreachable";
constexpr std::string_view kNotReadyTaint = "node.kubernetes.io/not-ready";

struct LifecycleOptions {
  std::chrono::milliseconds grace{40'000};
  std::chrono::milliseconds eviction_toleration{300'000};  // for pods that say nothing about these taints
  double unhealthy_share = 0.55;  // with more than two nodes unready and at least this share, nothing is evicted
};

struct LifecycleWorld {
  std::vector<api::ObjectPtr> nodes;
  std::vector<api::ObjectPtr> pods;
  // How long ago each node was last heard of, by the receiver's monotonic clock.
  std::map<std::string, std::chrono::milliseconds> silence;
  Time now;  // for timestamps and for tolerationSeconds, which count from the taint's timeAdded
};

struct LifecyclePlan {
  struct Write {
    api::ObjectPtr have;
    json::object body;
    std::string why;  // for the log and the Event: "node n2 is silent for 41 s"
  };
  std::vector<Write> nodes;      // conditions and taints
  std::vector<Write> not_ready;  // pods of unreachable nodes: Ready=False, so that endpoints leave rotation
  struct Eviction {
    api::ObjectPtr pod;
    std::string node;
    std::string why;
  };
  std::vector<Eviction> evictions;          // due now; the caller paces them
  bool evictions_held = false;              // most nodes are gone: rather us than them
  std::chrono::milliseconds look_again{0};  // earliest moment at which time alone changes the answer; 0 = none
};

LifecyclePlan plan_lifecycle(const LifecycleWorld& world, const LifecycleOptions& options);

// How long a pod may stay on a node with these NoExecute taints: nothing = for ever, zero = not at all.
std::optional<std::chrono::milliseconds> toleration_of(const json::object& pod, const json::array& taints,
                                                       std::chrono::milliseconds otherwise);

}  // namespace trama::control
