// SPDX-License-Identifier: GPL-2.0-or-later
// Filter, then score: where one pod should run. Deterministic for a given random number.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/scheduler/cluster.h"
#include "control/scheduler/verdict.h"

namespace trama::control {

// What a node says of the pod by itself, without a look at the pods of other nodes.
Verdict verdict_of(const PodNeeds& pod, const NodeState& node);

struct Choice {
  std::optional<std::string> node;
  std::size_t next = 0;
  std::string message;  // why there is none
  Changes help = 0;     // what could change that
};
// How many nodes that will do are compared, out of that many: all below 100, then upstream's shrinking share (42 % of
// 1,000, 10 % of 5,000), so that a choice costs little in a big cluster.
std::size_t enough_nodes(std::size_t nodes);

// Of equally good nodes, `random` picks one. Nodes are looked at from the slot `first` on, in order and around;
// Choice::next is where the next pod should begin, so that all nodes have their turn. `replicas` are the pods that this
// one is spread from softly when it has no constraints of its own; null = none.
// The cluster is not changed, but remembers what was asked.
//
// Scores are upstream's, 0 to 100 each, with its weights: PreferNoSchedule taints 3, preferred node affinity 2,
// spreading 2, preferred pod affinity 2, least allocated 1, balanced allocation 1.
Choice choose_node(const PodNeeds& pod, Cluster& cluster, std::uint64_t random, std::size_t first = 0,
                   const PodSelector* replicas = nullptr);

}  // namespace trama::control
