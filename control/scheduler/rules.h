// SPDX-License-Identifier: GPL-2.0-or-later
// What a pod says of other pods: be near them, keep away from them, spread. Pure values.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/loops/label_selector.h"

namespace trama::control {

using Namespaces = std::map<std::string, Labels>;  // by name

// Which pods.
struct PodSelector {
  std::set<std::string> namespaces;
  std::optional<LabelSelector> in_namespaces;  // besides those: namespaces by their labels
  std::optional<LabelSelector> labels;         // absent: no pod at all
  std::string text;                            // selectors with the same text choose the same pods
};
bool selects(const PodSelector& which, const std::string& ns, const Labels& labels, const Namespaces& namespaces);
// All pods of a namespace with these labels; `text` is the selector's identity within the namespace.
PodSelector pods_in(const std::string& ns, LabelSelector labels, const std::string& text);

struct PodTerm {
  PodSelector pods;
  std::string topology_key;
  std::int64_t weight = 0;  // of a wish, 1-100
};

struct SpreadConstraint {
  PodSelector pods;
  std::string topology_key;
  std::int64_t max_skew = 1;
  std::int64_t min_domains = 1;
  bool hard = true;            // DoNotSchedule
  bool honor_affinity = true;  // nodeAffinityPolicy: nodes that the pod's own affinity forbids do not count
  bool honor_taints = false;   // nodeTaintsPolicy: tainted nodes do not count
};

struct PodRules {
  std::vector<PodTerm> near, away;                // required
  std::vector<PodTerm> rather_near, rather_away;  // preferred
  std::vector<SpreadConstraint> spread;
  std::string carried;      // the terms as text: pods with the same one carry the same terms
  std::string tolerations;  // as text, for constraints that honour taints
};

// From a pod's spec, its namespace and labels; null when it says nothing of other pods.
std::shared_ptr<const PodRules> rules_of(const api::json::object& spec, const std::string& ns, const Labels& labels);

// What upstream spreads every replica by that names no constraints of its own, softly: 3 per node, 5 per zone.
std::vector<SpreadConstraint> default_spread(const PodSelector& pods);

}  // namespace trama::control
