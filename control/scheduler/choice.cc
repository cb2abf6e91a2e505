// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/choice.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

constexpr std::int64_t kDefaultPods = 110;

bool ports_collide(const HostPort& a, const HostPort& b) {
  bool all =
      std::get<1>(a) == "0.0.0.0" || std::get<1>(b) == "0.0.0.0" || std::get<1>(a) == "::" || std::get<1>(b) == "::";
  return std::get<0>(a) == std::get<0>(b) && std::get<2>(a) == std::get<2>(b) &&
         (all || std::get<1>(a) == std::get<1>(b));
}

// Share of `total` that stays free, 0 … 100; a node that does not say its size counts as free.
std::int64_t free_share(std::int64_t used, std::int64_t total) {
  if (total <= 0) return 100;
  return std::max<std::int64_t>(0, (total - used)) * 100 / total;
}

std::int64_t affinity_score(const PodNeeds& pod, const NodeState& node) {
  std::int64_t sum = 0, whole = 0;
  for (const auto& t : pod.nodes.preferred) {
    whole += t.weight;
    if (matches(t, node.name, node.labels)) sum += t.weight;
  }
  return whole == 0 ? 0 : sum * 100 / whole;
}

std::int64_t taint_score(const PodNeeds& pod, const NodeState& node) {
  auto bad = std::count_if(node.taints.begin(), node.taints.end(), [&](const api::Taint& t) {
    return t.effect == "PreferNoSchedule" && !any_tolerates(pod.tolerations, t);
  });
  return bad == 0 ? 100 : 100 / (1 + bad) / 2;
}

}  // namespace

std::vector<std::string> reasons_against(const PodNeeds& pod, const NodeState& node) {
  if (node.unschedulable) {
    api::Taint cordoned;
    cordoned.key = "node.kubernetes.io/unschedulable";
    cordoned.effect = "NoSchedule";
    if (!any_tolerates(pod.tolerations, cordoned)) return {"node(s) were unschedulable"};
  }
  for (const auto& t : node.taints)
    if ((t.effect == "NoSchedule" || t.effect == "NoExecute") && !any_tolerates(pod.tolerations, t))
      return {fmt::format("node(s) had untolerated taint {{{}: {}}}", t.key, t.value)};
  if (!allows(pod.nodes, node.name, node.labels)) return {"node(s) didn't match Pod's node affinity/selector"};
  for (const auto& wanted : pod.host_ports)
    for (const auto& used : node.host_ports)
      if (ports_collide(wanted, used)) return {"node(s) didn't have free ports for the requested pod ports"};
  std::vector<std::string> reasons;
  const auto& size = node.allocatable;
  if (node.pods + 1 > (size.pods > 0 ? size.pods : kDefaultPods)) reasons.emplace_back("Too many pods");
  if (pod.requests.cpu_milli > 0 && size.cpu_milli > 0 && node.used.cpu_milli + pod.requests.cpu_milli > size.cpu_milli)
    reasons.emplace_back("Insufficient cpu");
  if (pod.requests.memory_bytes > 0 && size.memory_bytes > 0 &&
      node.used.memory_bytes + pod.requests.memory_bytes > size.memory_bytes)
    reasons.emplace_back("Insufficient memory");
  return reasons;
}

std::int64_t group_size(const PodNeeds& pod, const NodeState& node) {
  auto it = node.group_size.find(pod.group);
  return it == node.group_size.end() ? 0 : it->second;
}

std::int64_t score(const PodNeeds& pod, const NodeState& node, std::int64_t group, std::int64_t largest_group) {
  auto asked = assumed_requests(pod);
  auto cpu = free_share(node.used_or_assumed.cpu_milli + asked.cpu_milli, node.allocatable.cpu_milli);
  auto memory = free_share(node.used_or_assumed.memory_bytes + asked.memory_bytes, node.allocatable.memory_bytes);
  auto spread = largest_group == 0 ? 100 : (largest_group - group) * 100 / largest_group;
  return (cpu + memory) / 2 + 2 * spread + 2 * affinity_score(pod, node) + 3 * taint_score(pod, node);
}

std::size_t enough_nodes(std::size_t nodes) {
  if (nodes < 100) return nodes;
  auto percent = std::max<std::size_t>(5, 50 - std::min<std::size_t>(45, nodes / 125));
  return std::max<std::size_t>(100, nodes * percent / 100);
}

Choice choose_node(const PodNeeds& pod, const Nodes& nodes, std::uint64_t random, const std::string& first) {
  Choice choice;
  if (nodes.empty()) {
    choice.message = "no nodes available to schedule pods";
    return choice;
  }
  std::map<std::string, std::size_t> against;
  std::vector<std::pair<const NodeState*, std::int64_t>> fit;  // with the size of the pod's group there
  std::int64_t largest_group = 0;
  auto enough = enough_nodes(nodes.size());
  auto it = nodes.lower_bound(first);
  for (std::size_t seen = 0; seen < nodes.size() && fit.size() < enough; ++seen, ++it) {
    if (it == nodes.end()) it = nodes.begin();
    auto reasons = reasons_against(pod, it->second);
    for (auto& r : reasons) ++against[r];
    if (!reasons.empty()) continue;
    fit.emplace_back(&it->second, pod.group.empty() ? 0 : group_size(pod, it->second));
    largest_group = std::max(largest_group, fit.back().second);
  }
  choice.next = it == nodes.end() ? std::string() : it->first;
  std::vector<const NodeState*> best;
  std::int64_t highest = -1;
  for (const auto& [node, group] : fit) {
    auto s = score(pod, *node, group, largest_group);
    if (s < highest) continue;
    if (s > highest) best.clear();
    highest = s;
    best.push_back(node);
  }
  if (!best.empty()) {
    choice.node = best[random % best.size()]->name;
    return choice;
  }
  std::vector<std::string> parts;
  for (const auto& [reason, count] : against) parts.push_back(fmt::format("{} {}", count, reason));
  std::sort(parts.begin(), parts.end());
  choice.message = fmt::format("0/{} nodes are available: {}.", nodes.size(), fmt::join(parts, ", "));
  return choice;
}

}  // namespace trama::control
