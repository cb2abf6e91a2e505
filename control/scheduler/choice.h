// SPDX-License-Identifier: GPL-2.0-or-later
// Filter, then score: where one pod should run. Pure and, for a given random number, deterministic.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/scheduler/model.h"

namespace trama::control {

using Nodes = std::map<std::string, NodeState>;

// Why a node will not do, in upstream's words; empty = it will. Only resources give more than one reason.
std::vector<std::string> reasons_against(const PodNeeds& pod, const NodeState& node);
// 0 … 800: least allocated x1, spread over nodes x2, preferred affinity x2, PreferNoSchedule taints x3.
// `group` is how many pods of the pod's group the node has, `largest_group` the most that any node has.
std::int64_t score(const PodNeeds& pod, const NodeState& node, std::int64_t group, std::int64_t largest_group);
std::int64_t group_size(const PodNeeds& pod, const NodeState& node);

struct Choice {
  std::optional<std::string> node;
  std::string next;
  std::string
      message;  // "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were unschedulable." when there is none
};
// How many nodes that will do are compared, out of that many: all below 100, then upstream's shrinking share (42 % of
// 1,000, 10 % of 5,000), so that a choice costs little in a big cluster.
std::size_t enough_nodes(std::size_t nodes);
// Of equally good nodes, `random` picks one. Nodes are looked at from `first` on, in order and around; Choice::next is
// where the next pod should begin, so that all nodes have their turn.
Choice choose_node(const PodNeeds& pod, const Nodes& nodes, std::uint64_t random, const std::string& first = "");

}  // namespace trama::control
