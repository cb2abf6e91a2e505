// SPDX-License-Identifier: GPL-2.0-or-later
// What a DaemonSet does to its pods: one on every node that it is for. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/controllers/daemon_set_history.h"
#include "control/loops/meta.h"
#include "control/loops/node_fit.h"

namespace trama::control {

// A node as daemons see it. Whether it is Ready or cordoned matters only through its taints.
struct DaemonNode {
  std::string name;
  Labels labels;
  std::vector<api::Taint> taints;
};
DaemonNode daemon_node_of(const api::Object& node);

struct DaemonSetPlan {
  std::vector<api::ObjectPtr> adopt;    // match the selector and belong to nobody
  std::vector<api::ObjectPtr> release;  // ours, but no longer match
  std::vector<std::string> create;      // nodes that get a pod, a node at most once
  std::vector<api::ObjectPtr> remove;
  struct Ended {
    api::ObjectPtr pod;  // also in `remove`
    std::string node;
    bool failed = false;  // the other way to end is to succeed
  };
  std::vector<Ended> ended;
  json::object status;
  std::optional<Time> look_again;  // when a pod becomes available, or a failed one may be replaced, by time alone
};

// `pods` are those of the namespace that match the selector or are controlled by the DaemonSet. A failed pod on a node
// in `held` stays until that moment: the back-off between attempts. `hash` is the label of pods of the present
// template.
DaemonSetPlan plan_daemon_set(const api::Object& set, const std::string& hash, const std::vector<DaemonNode>& nodes,
                              const std::vector<api::ObjectPtr>& pods, const std::map<std::string, Time>& held,
                              Time now);

// The pod for one node: the template with the tolerations every daemon has, and an affinity that leaves the scheduler
// no other choice. store::create() completes it.
json::object daemon_pod(const api::Object& set, const std::string& node, const std::string& hash);
// The node a daemon's pod is on or is meant for; "" when it says neither.
std::string node_of_daemon(const json::object& pod);

}  // namespace trama::control
