// SPDX-License-Identifier: GPL-2.0-or-later
// The scheduler's rules once more, written down the slow way: every question goes over all nodes and all pods, and
// reads their JSON. Shares nothing with the code that it is held against.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/api/object.h"

namespace trama::control::test {

struct ReferenceWorld {
  std::vector<api::ObjectPtr> nodes;
  std::vector<std::pair<api::ObjectPtr, std::string>> placed;  // pod, node
  std::map<std::string, std::map<std::string, std::string>> namespaces;
};

struct ReferenceChoice {
  std::set<std::string> best;
  std::map<std::string, std::int64_t> scores;               // of the nodes that fit
  std::map<std::string, std::vector<std::string>> against;  // of the others
};

// `replicas`: labels of the pods (of the same namespace) that the pod is spread from by default; null = none.
ReferenceChoice reference_choice(const ReferenceWorld& world, const api::Object& pod,
                                 const std::map<std::string, std::string>* replicas);

}  // namespace trama::control::test
