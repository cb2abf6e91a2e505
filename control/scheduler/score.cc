// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/score.h"

#include <algorithm>
#include <cmath>

#include "control/scheduler/placement_rules.h"

namespace trama::control {

namespace {

using Scores = std::vector<std::int64_t>;  // in the order of the nodes that fit

constexpr std::int64_t kHighest = 100;
constexpr std::int64_t kTaints = 3, kNodeAffinity = 2, kSpread = 2, kPodAffinity = 2, kLeast = 1, kBalanced = 1;
constexpr std::int64_t kRequiredAffinityOfOthers = 1;  // what a required term of a placed pod weighs as a wish

// Share of `total` that stays free; a node that does not say its size counts as free.
std::int64_t free_share(std::int64_t used, std::int64_t total) {
  if (total <= 0) return kHighest;
  return std::max<std::int64_t>(0, total - used) * kHighest / total;
}

std::int64_t least_allocated(const PodNeeds& pod, const NodeState& node) {
  auto asked = assumed_requests(pod);
  return (free_share(node.used_or_assumed.cpu_milli + asked.cpu_milli, node.allocatable.cpu_milli) +
          free_share(node.used_or_assumed.memory_bytes + asked.memory_bytes, node.allocatable.memory_bytes)) /
         2;
}

// How evenly the node's resources would be taken: 100 less half the distance between the two shares.
std::int64_t balanced(const PodNeeds& pod, const NodeState& node) {
  const auto& size = node.allocatable;
  if (size.cpu_milli <= 0 || size.memory_bytes <= 0) return kHighest;
  auto share = [](std::int64_t used, std::int64_t total) {
    return std::min(1.0, static_cast<double>(used) / static_cast<double>(total));
  };
  auto cpu = share(node.used.cpu_milli + pod.requests.cpu_milli, size.cpu_milli);
  auto memory = share(node.used.memory_bytes + pod.requests.memory_bytes, size.memory_bytes);
  return static_cast<std::int64_t>((1 - std::abs(cpu - memory) / 2) * static_cast<double>(kHighest));
}

std::int64_t unwelcome_taints(const PodNeeds& pod, const NodeState& node) {
  return std::count_if(node.taints.begin(), node.taints.end(), [&](const api::Taint& t) {
    return t.effect == "PreferNoSchedule" && !any_tolerates(pod.tolerations, t);
  });
}

std::int64_t node_wishes(const PodNeeds& pod, const NodeState& node) {
  std::int64_t sum = 0;
  for (const auto& t : pod.nodes.preferred)
    if (matches(t, node.name, node.labels)) sum += t.weight;
  return sum;
}

// The highest becomes 100, none stays 0.
void scale(Scores& scores) {
  auto most = *std::max_element(scores.begin(), scores.end());
  for (auto& s : scores) s = most == 0 ? 0 : s * kHighest / most;
}

// ---- wishes to be near pods, and of pods to be near this one

Scores pod_wishes(const PodNeeds& pod, Cluster& cluster, const std::vector<std::size_t>& fit) {
  using Kind = CarriedTerm::Kind;
  std::vector<std::pair<const DomainCounts*, std::int64_t>> parts;
  if (pod.rules) {
    for (const auto& t : pod.rules->rather_near)
      parts.emplace_back(&cluster.count({&t.pods}, t.topology_key, true), t.weight);
    for (const auto& t : pod.rules->rather_away)
      parts.emplace_back(&cluster.count({&t.pods}, t.topology_key, true), -t.weight);
  }
  for (const auto* term : cluster.class_of(pod).meets) {
    if (term->kind == Kind::away || term->carriers.total() == 0) continue;
    auto weight = term->kind == Kind::near ? kRequiredAffinityOfOthers : term->term.weight;
    parts.emplace_back(&term->carriers, term->kind == Kind::rather_away ? -weight : weight);
  }
  if (parts.empty()) return {};
  Scores out(fit.size());
  for (std::size_t i = 0; i < fit.size(); ++i)
    for (const auto& [counts, weight] : parts) out[i] += weight * counts->at(fit[i]);
  auto [low, high] = std::minmax_element(out.begin(), out.end());
  auto lowest = *low, width = *high - *low;
  for (auto& s : out)
    s = width == 0 ? 0
                   : static_cast<std::int64_t>(static_cast<double>(kHighest) *
                                               (static_cast<double>(s - lowest) / static_cast<double>(width)));
  return out;
}

// ---- spreading

// How many of the domains have a node that fits; those without the label are one more.
std::size_t domains_among(const DomainCounts& counts, const std::vector<std::size_t>& slots) {
  std::vector<bool> seen(counts.most_domains() + 1);
  std::size_t n = 0;
  for (auto slot : slots) {
    auto d = static_cast<std::size_t>(counts.domain(slot) + 1);
    if (seen[d]) continue;
    seen[d] = true;
    ++n;
  }
  return n;
}

Scores spreading(const PodNeeds& pod, Cluster& cluster, const std::vector<std::size_t>& fit,
                 const PodSelector* replicas) {
  std::vector<SpreadConstraint> defaults;
  std::vector<const SpreadConstraint*> soft;
  std::vector<std::string> keys;  // that a node must have all, or it is worth nothing
  if (pod.rules && !pod.rules->spread.empty()) {
    for (const auto& c : pod.rules->spread)
      if (!c.hard) soft.push_back(&c), keys.push_back(c.topology_key);
  } else if (replicas != nullptr) {
    defaults = default_spread(*replicas);
    for (const auto& c : defaults) soft.push_back(&c);
  }
  if (soft.empty()) return {};
  const auto& slots = cluster.slots();
  std::vector<bool> worth(fit.size(), true);
  std::vector<std::size_t> counted;
  for (std::size_t i = 0; i < fit.size(); ++i) {
    const auto& labels = slots[fit[i]]->labels;
    worth[i] = std::all_of(keys.begin(), keys.end(), [&](const std::string& k) { return labels.contains(k); });
    if (worth[i]) counted.push_back(fit[i]);
  }
  std::vector<double> sums(fit.size());
  for (const auto* c : soft) {
    const auto& counts =
        cluster.count({&c->pods}, c->topology_key, false, filter_of(pod, *c, keys), filter_text(pod, *c, keys));
    // Few domains differ by more pods than many do.
    auto domains = c->topology_key == "kubernetes.io/hostname" ? counted.size() : domains_among(counts, counted);
    auto weight = std::log(static_cast<double>(domains + 2));
    for (std::size_t i = 0; i < fit.size(); ++i)
      if (worth[i] && counts.domain(fit[i]) >= 0)
        sums[i] += static_cast<double>(counts.at(fit[i])) * weight + static_cast<double>(c->max_skew - 1);
  }
  Scores out(fit.size());
  std::int64_t low = INT64_MAX, high = 0;
  for (std::size_t i = 0; i < fit.size(); ++i) {
    if (!worth[i]) continue;
    out[i] = std::llround(sums[i]);
    low = std::min(low, out[i]);
    high = std::max(high, out[i]);
  }
  for (std::size_t i = 0; i < fit.size(); ++i)
    out[i] = !worth[i] ? 0 : high == 0 ? kHighest : kHighest * (high + low - out[i]) / high;
  return out;
}

}  // namespace

std::vector<std::size_t> best_of(const PodNeeds& pod, Cluster& cluster, const std::vector<std::size_t>& fit,
                                 const PodSelector* replicas) {
  const auto& slots = cluster.slots();
  Scores total(fit.size()), part(fit.size());
  bool any_taint = false;
  for (std::size_t i = 0; i < fit.size(); ++i) {
    const auto& node = *slots[fit[i]];
    total[i] = kLeast * least_allocated(pod, node) + kBalanced * balanced(pod, node);
    part[i] = node.taints.empty() ? 0 : unwelcome_taints(pod, node);
    any_taint = any_taint || part[i] > 0;
  }
  auto add = [&](const Scores& scores, std::int64_t weight) {
    for (std::size_t i = 0; i < scores.size(); ++i) total[i] += weight * scores[i];
  };
  if (any_taint) {
    scale(part);
    add(part, -kTaints);  // 100 less the share of the worst; the same 100 for all changes nothing
  }
  if (!pod.nodes.preferred.empty()) {
    for (std::size_t i = 0; i < fit.size(); ++i) part[i] = node_wishes(pod, *slots[fit[i]]);
    scale(part);
    add(part, kNodeAffinity);
  }
  add(pod_wishes(pod, cluster, fit), kPodAffinity);
  add(spreading(pod, cluster, fit, replicas), kSpread);
  auto most = *std::max_element(total.begin(), total.end());
  std::vector<std::size_t> best;
  for (std::size_t i = 0; i < fit.size(); ++i)
    if (total[i] == most) best.push_back(fit[i]);
  return best;
}

}  // namespace trama::control
