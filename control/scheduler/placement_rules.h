// SPDX-License-Identifier: GPL-2.0-or-later
// The rules that look beyond a node: required pod affinity and anti-affinity, hard spreading. Pure.
#pragma once

#include <vector>

#include "control/scheduler/cluster.h"
#include "control/scheduler/verdict.h"

namespace trama::control {

// For one pod, asked for each node. Valid as long as the cluster does not change.
class PlacementRules {
 public:
  PlacementRules(const PodNeeds& pod, Cluster& cluster);
  Verdict verdict_on(std::size_t slot) const;

 private:
  struct Spread {
    const DomainCounts* counts;
    const std::string* key;
    std::int64_t room;  // the most pods that a domain may have for one more to go there
  };
  const Cluster& cluster_;
  std::vector<Spread> spread_;
  std::vector<const DomainCounts*> near_, away_, others_away_;
  std::vector<const std::string*> near_keys_;
  bool first_of_its_kind_ = false;  // nobody matches what it wants to be near, but itself
};

// The nodes that a constraint counts, and their identity as text.
NodeFilter filter_of(const PodNeeds& pod, const SpreadConstraint& constraint, std::vector<std::string> keys);
std::string filter_text(const PodNeeds& pod, const SpreadConstraint& constraint, const std::vector<std::string>& keys);

}  // namespace trama::control
