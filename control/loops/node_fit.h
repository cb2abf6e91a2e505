// SPDX-License-Identifier: GPL-2.0-or-later
// Which nodes a pod, or a template of pods, allows: node selector, node affinity, taints. The scheduler and the
// DaemonSet controller ask the same questions here. Pure.
#pragma once

#include <string>
#include <vector>

#include "control/api/types.h"
#include "control/loops/label_selector.h"

namespace trama::control {

// One nodeSelectorTerm: labels and fields (metadata.name) must all match.
struct NodeTerm {
  LabelSelector labels;
  LabelSelector fields;
  bool has_fields = false;
  bool empty = false;  // an empty term matches nothing
  int weight = 0;      // of a preferred term, 1-100
};

// What spec.nodeSelector and spec.affinity.nodeAffinity of a pod say.
struct NodeAffinity {
  api::StringMap selector;
  bool has_required_terms = false;
  std::vector<NodeTerm> required;  // one of them must match
  std::vector<NodeTerm> preferred;
};

// `spec` is a PodSpec.
NodeAffinity node_affinity_of(const api::json::object& spec);
bool matches(const NodeTerm& term, const std::string& node, const Labels& labels);
// nodeSelector and the required terms; preferences play no part.
bool allows(const NodeAffinity& affinity, const std::string& node, const Labels& labels);

bool tolerates(const api::Toleration& toleration, const api::Taint& taint);
bool same_taints(const std::vector<api::Taint>& a, const std::vector<api::Taint>& b);  // whatever their times
bool any_tolerates(const std::vector<api::Toleration>& tolerations, const api::Taint& taint);

}  // namespace trama::control
