// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/choice.h"

#include <algorithm>

#include "control/scheduler/placement_rules.h"
#include "control/scheduler/score.h"

namespace trama::control {

namespace {

constexpr std::int64_t kDefaultPods = 110;

bool ports_collide(const HostPort& a, const HostPort& b) {
  bool all =
      std::get<1>(a) == "0.0.0.0" || std::get<1>(b) == "0.0.0.0" || std::get<1>(a) == "::" || std::get<1>(b) == "::";
  return std::get<0>(a) == std::get<0>(b) && std::get<2>(a) == std::get<2>(b) &&
         (all || std::get<1>(a) == std::get<1>(b));
}

bool any_port_collides(const PodNeeds& pod, const NodeState& node) {
  for (const auto& wanted : pod.host_ports)
    for (const auto& used : node.host_ports)
      if (ports_collide(wanted, used)) return true;
  return false;
}

bool tolerates_cordon(const PodNeeds& pod) {
  static const api::Taint cordon = [] {
    api::Taint t;
    t.key = "node.kubernetes.io/unschedulable";
    t.effect = "NoSchedule";
    return t;
  }();
  return any_tolerates(pod.tolerations, cordon);
}

// Resources in the node's way; `hopeless` when the pod is larger than the node.
void look_at_resource(Verdict& v, Reason reason, std::int64_t asked, std::int64_t used, std::int64_t size) {
  if (asked <= 0 || size <= 0 || used + asked <= size) return;
  v.reasons |= bit(reason);
  if (asked > size) v.hopeless = true;
}

// Which of the node's taints keeps the pod away; -1 = none.
int first_untolerated(const PodNeeds& pod, const NodeState& node) {
  for (std::size_t i = 0; i < node.taints.size(); ++i) {
    const auto& t = node.taints[i];
    if ((t.effect == "NoSchedule" || t.effect == "NoExecute") && !any_tolerates(pod.tolerations, t))
      return static_cast<int>(i);
  }
  return -1;
}

Verdict verdict_of(const PodNeeds& pod, const NodeState& node, int untolerated) {
  Verdict v;
  auto no = [&v](Reason r, bool hopeless) {
    v.reasons = bit(r);
    v.hopeless = hopeless;
    return v;
  };
  if (node.unschedulable && !tolerates_cordon(pod)) return no(Reason::cordoned, true);
  if (untolerated >= 0) {
    v.taint = &node.taints[static_cast<std::size_t>(untolerated)];
    return no(Reason::taint, true);
  }
  if (!allows(pod.nodes, node.name, node.labels)) return no(Reason::node_affinity, true);
  if (any_port_collides(pod, node)) return no(Reason::host_ports, false);
  const auto& size = node.allocatable;
  if (node.pods + 1 > (size.pods > 0 ? size.pods : kDefaultPods)) v.reasons |= bit(Reason::too_many_pods);
  look_at_resource(v, Reason::cpu, pod.requests.cpu_milli, node.used.cpu_milli, size.cpu_milli);
  look_at_resource(v, Reason::memory, pod.requests.memory_bytes, node.used.memory_bytes, size.memory_bytes);
  return v;
}

}  // namespace

Verdict verdict_of(const PodNeeds& pod, const NodeState& node) {
  return verdict_of(pod, node, first_untolerated(pod, node));
}

std::size_t enough_nodes(std::size_t nodes) {
  if (nodes < 100) return nodes;
  auto percent = std::max<std::size_t>(5, 50 - std::min<std::size_t>(45, nodes / 125));
  return std::max<std::size_t>(100, nodes * percent / 100);
}

Choice choose_node(const PodNeeds& pod, Cluster& cluster, std::uint64_t random, std::size_t first,
                   const PodSelector* replicas) {
  Choice choice;
  if (cluster.size() == 0) {
    choice.message = "no nodes available to schedule pods";
    choice.help = node_came;
    return choice;
  }
  PlacementRules rules(pod, cluster);
  Refusals refusals;
  std::vector<std::size_t> fit;
  std::vector<std::optional<int>> untolerated(cluster.taint_sets());  // most nodes have the same few taints
  auto enough = enough_nodes(cluster.size());
  const auto& slots = cluster.slots();
  auto slot = first < slots.size() ? first : 0;
  for (std::size_t seen = 0; seen < slots.size() && fit.size() < enough; ++seen) {
    auto here = slot;
    slot = slot + 1 == slots.size() ? 0 : slot + 1;
    if (!slots[here]) continue;
    const auto& node = *slots[here];
    auto& taint = untolerated[node.taint_set];
    if (!taint) taint = first_untolerated(pod, node);
    auto verdict = verdict_of(pod, node, *taint);
    if (verdict) verdict = rules.verdict_on(here);
    if (verdict)
      fit.push_back(here);
    else if (fit.empty())
      refusals.add(verdict, !node.priorities.empty() && node.priorities.begin()->first < pod.priority);
  }
  choice.next = slot;
  if (fit.empty()) {
    choice.message = refusals.text(cluster.size(), pod.never_preempts);
    choice.help = that_help(refusals.reasons());
    return choice;
  }
  auto best = best_of(pod, cluster, fit, replicas);
  choice.node = slots[best[random % best.size()]]->name;
  return choice;
}

}  // namespace trama::control
