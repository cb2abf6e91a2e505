// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/node_fit.h"

#include <algorithm>

namespace trama::control {

namespace json = api::json;

namespace {

NodeTerm term_of(const json::object& o, int weight) {
  NodeTerm t;
  const auto& labels = api::array_at(o, "matchExpressions");
  const auto& fields = api::array_at(o, "matchFields");
  t.labels = LabelSelector::expressions(labels);
  t.fields = LabelSelector::expressions(fields);
  t.has_fields = !fields.empty();
  t.empty = labels.empty() && fields.empty();
  t.weight = weight;
  return t;
}

}  // namespace

NodeAffinity node_affinity_of(const json::object& spec) {
  NodeAffinity a;
  a.selector = api::strings_at(spec, "nodeSelector");
  const auto* required =
      api::at(spec, "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
  if (required != nullptr && required->is_array()) {
    a.has_required_terms = true;
    for (const auto& v : required->get_array())
      if (const auto* t = v.if_object()) a.required.push_back(term_of(*t, 0));
  }
  for (const auto& v : api::array_at(spec, "affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"))
    if (const auto* t = v.if_object())
      a.preferred.push_back(term_of(api::object_at(*t, "preference"), static_cast<int>(api::int_at(*t, "weight"))));
  return a;
}

bool matches(const NodeTerm& term, const std::string& node, const Labels& labels) {
  if (term.empty || !term.labels.matches(labels)) return false;
  if (!term.has_fields) return true;
  Labels fields;
  fields["metadata.name"] = node;
  return term.fields.matches(fields);
}

bool allows(const NodeAffinity& affinity, const std::string& node, const Labels& labels) {
  for (const auto& [k, v] : affinity.selector) {
    auto it = labels.find(k);
    if (it == labels.end() || it->second != v) return false;
  }
  if (!affinity.has_required_terms) return true;
  return std::any_of(affinity.required.begin(), affinity.required.end(),
                     [&](const NodeTerm& t) { return matches(t, node, labels); });
}

bool tolerates(const api::Toleration& t, const api::Taint& taint) {
  if (!t.effect.empty() && t.effect != taint.effect) return false;
  if (t.key.empty()) return t.op == "Exists";
  if (t.key != taint.key) return false;
  return t.op == "Exists" || t.value == taint.value;
}

bool same_taints(const std::vector<api::Taint>& a, const std::vector<api::Taint>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const api::Taint& x, const api::Taint& y) {
    return x.key == y.key && x.value == y.value && x.effect == y.effect;
  });
}

bool any_tolerates(const std::vector<api::Toleration>& tolerations, const api::Taint& taint) {
  return std::any_of(tolerations.begin(), tolerations.end(),
                     [&](const api::Toleration& t) { return tolerates(t, taint); });
}

}  // namespace trama::control
