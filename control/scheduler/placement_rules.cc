// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/placement_rules.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

bool chooses_itself(const PodSelector& s, const PodNeeds& pod, const Cluster& cluster) {
  return selects(s, pod.key.ns, pod.labels, cluster.namespaces());
}

}  // namespace

NodeFilter filter_of(const PodNeeds& pod, const SpreadConstraint& c, std::vector<std::string> keys) {
  NodeFilter f;
  f.keys = std::move(keys);
  f.honor_affinity = c.honor_affinity;
  if (c.honor_affinity) f.affinity = pod.nodes;
  f.honor_taints = c.honor_taints;
  if (c.honor_taints) f.tolerations = pod.tolerations;
  return f;
}

std::string filter_text(const PodNeeds& pod, const SpreadConstraint& c, const std::vector<std::string>& keys) {
  return fmt::format("{}|{}|{}", fmt::join(keys, ","), c.honor_affinity ? pod.where : "*",
                     c.honor_taints && pod.rules ? pod.rules->tolerations : "*");
}

PlacementRules::PlacementRules(const PodNeeds& pod, Cluster& cluster) : cluster_(cluster) {
  for (const auto* term : cluster.class_of(pod).meets)
    if (term->kind == CarriedTerm::Kind::away && term->carriers.total() > 0) others_away_.push_back(&term->carriers);
  if (!pod.rules) return;
  std::vector<std::string> keys;
  for (const auto& c : pod.rules->spread)
    if (c.hard) keys.push_back(c.topology_key);
  for (const auto& c : pod.rules->spread) {
    if (!c.hard) continue;
    const auto& counts =
        cluster.count({&c.pods}, c.topology_key, false, filter_of(pod, c, keys), filter_text(pod, c, keys));
    auto lowest = counts.domains() < c.min_domains ? 0 : counts.lowest();
    spread_.push_back({&counts, &c.topology_key, c.max_skew + lowest - (chooses_itself(c.pods, pod, cluster) ? 1 : 0)});
  }
  std::vector<const PodSelector*> all;
  for (const auto& t : pod.rules->near) all.push_back(&t.pods);
  std::int64_t found = 0;
  for (const auto& t : pod.rules->near) {
    near_.push_back(&cluster.count(all, t.topology_key, true));
    near_keys_.push_back(&t.topology_key);
    found += near_.back()->total();
  }
  first_of_its_kind_ = !near_.empty() && found == 0 && std::all_of(all.begin(), all.end(), [&](const PodSelector* s) {
    return chooses_itself(*s, pod, cluster);
  });
  for (const auto& t : pod.rules->away) away_.push_back(&cluster.count({&t.pods}, t.topology_key, true));
}

Verdict PlacementRules::verdict_on(std::size_t slot) const {
  Verdict v;
  auto no = [&v](Reason r, bool hopeless) {
    v.reasons = bit(r);
    v.hopeless = hopeless;
    return v;
  };
  const auto& labels = cluster_.slots()[slot]->labels;
  for (const auto& s : spread_) {
    if (!labels.contains(*s.key)) return no(Reason::spread_label, true);
    if (s.counts->at(slot) > s.room) return no(Reason::spread, false);
  }
  bool pods_there = true;
  for (std::size_t i = 0; i < near_.size(); ++i) {
    if (!labels.contains(*near_keys_[i])) return no(Reason::pod_affinity, true);
    pods_there = pods_there && near_[i]->at(slot) > 0;
  }
  if (!pods_there && !first_of_its_kind_) return no(Reason::pod_affinity, true);
  for (const auto* counts : away_)
    if (counts->at(slot) > 0) return no(Reason::pod_anti_affinity, false);
  for (const auto* counts : others_away_)
    if (counts->at(slot) > 0) return no(Reason::others_anti_affinity, false);
  return v;
}

}  // namespace trama::control
