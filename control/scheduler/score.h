// SPDX-License-Identifier: GPL-2.0-or-later
// Which of the nodes that will do is best. Pure.
#pragma once

#include <vector>

#include "control/scheduler/cluster.h"

namespace trama::control {

// The slots among `fit` with the highest score, in their order; `replicas` as for choose_node().
std::vector<std::size_t> best_of(const PodNeeds& pod, Cluster& cluster, const std::vector<std::size_t>& fit,
                                 const PodSelector* replicas);

}  // namespace trama::control
