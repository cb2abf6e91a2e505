// SPDX-License-Identifier: GPL-2.0-or-later
// What the scheduler knows of pods and nodes. Pure values.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/api/types.h"
#include "control/loops/node_fit.h"
#include "control/scheduler/rules.h"

namespace trama::control {

using HostPort = std::tuple<std::string, std::string, int>;  // protocol, address ("0.0.0.0" = all), port

struct PodNeeds {
  api::Key key;
  std::string uid;
  std::uint64_t revision = 0;
  std::int64_t priority = 0;
  std::string node;  // where it runs already, "" = to be placed
  api::Resources requests;
  NodeAffinity nodes;
  std::vector<api::Toleration> tolerations;
  std::vector<HostPort> host_ports;
  Labels labels;
  bool terminating = false;               // on its way out: replicas are not spread away from it
  bool never_preempts = false;            // preemptionPolicy
  std::string where;                      // nodeSelector and node affinity as text, "" = none
  std::shared_ptr<const PodRules> rules;  // null: says nothing of other pods
};

struct NodeState {
  std::string name;
  api::StringMap labels;
  bool unschedulable = false;
  std::vector<api::Taint> taints;  // plus not-ready when the node does not say Ready
  std::size_t taint_set = 0;       // the cluster's number for these taints
  api::Resources allocatable;      // a value of 0 means: unknown, no limit (pods: 110)
  // Sums over the pods that are placed here.
  api::Resources used;
  api::Resources used_or_assumed;  // with 100m and 200Mi for pods that ask for nothing: for scoring only
  std::int64_t pods = 0;
  std::multiset<HostPort> host_ports;
  std::map<std::int64_t, std::int64_t> priorities;  // how many pods of each

  void place(const PodNeeds& pod);
  void remove(const PodNeeds& pod);
};

// What a pod counts for when nodes are compared: 100m and 200Mi where it asks for nothing.
api::Resources assumed_requests(const PodNeeds& pod);
PodNeeds needs_of(const api::Object& pod);
// Placed pods are not counted: place() them.
NodeState state_of(const api::Object& node);

}  // namespace trama::control
