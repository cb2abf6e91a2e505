// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/verdict.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

constexpr Reason kAll[] = {Reason::cordoned,
                           Reason::taint,
                           Reason::node_affinity,
                           Reason::host_ports,
                           Reason::too_many_pods,
                           Reason::cpu,
                           Reason::memory,
                           Reason::spread_label,
                           Reason::spread,
                           Reason::pod_affinity,
                           Reason::pod_anti_affinity,
                           Reason::others_anti_affinity};

std::string list(std::size_t nodes, const std::map<std::string, std::size_t>& count) {
  std::vector<std::string> parts;
  for (const auto& [reason, n] : count)
    if (n > 0) parts.push_back(fmt::format("{} {}", n, reason));
  std::sort(parts.begin(), parts.end());
  return fmt::format("0/{} nodes are available: {}.", nodes, fmt::join(parts, ", "));
}

}  // namespace

std::string_view words(Reason reason) {
  switch (reason) {
    case Reason::cordoned: return "node(s) were unschedulable";
    case Reason::taint: return "node(s) had untolerated taint";
    case Reason::node_affinity: return "node(s) didn't match Pod's node affinity/selector";
    case Reason::host_ports: return "node(s) didn't have free ports for the requested pod ports";
    case Reason::too_many_pods: return "Too many pods";
    case Reason::cpu: return "Insufficient cpu";
    case Reason::memory: return "Insufficient memory";
    case Reason::spread_label: return "node(s) didn't match pod topology spread constraints (missing required label)";
    case Reason::spread: return "node(s) didn't match pod topology spread constraints";
    case Reason::pod_affinity: return "node(s) didn't match pod affinity rules";
    case Reason::pod_anti_affinity: return "node(s) didn't match pod anti-affinity rules";
    case Reason::others_anti_affinity: return "node(s) didn't satisfy existing pods anti-affinity rules";
  }
  return "";
}

Changes that_help(Reasons reasons) {
  Changes help = node_came;
  auto is = [reasons](auto... r) { return ((reasons & bit(r)) || ...); };
  if (is(Reason::cordoned)) help |= node_uncordoned;
  if (is(Reason::taint)) help |= node_taints;
  if (is(Reason::node_affinity, Reason::spread_label)) help |= node_labels;
  if (is(Reason::host_ports)) help |= pod_went;
  if (is(Reason::too_many_pods, Reason::cpu, Reason::memory)) help |= pod_went | node_size;
  // Domains come and go, and the fullest may stay while the emptiest fills.
  if (is(Reason::spread)) help |= node_went | node_labels | node_taints | pod_placed | pod_went;
  if (is(Reason::pod_affinity)) help |= node_labels | pod_placed | pod_went | namespace_labels;
  if (is(Reason::pod_anti_affinity, Reason::others_anti_affinity)) help |= node_labels | pod_went | namespace_labels;
  return help;
}

void Refusals::add(const Verdict& v, bool lower) {
  all_ |= v.reasons;
  for (auto r : kAll) {
    if ((v.reasons & bit(r)) == 0) continue;
    if (r == Reason::taint && v.taint != nullptr)
      ++count_[fmt::format("{} {{{}: {}}}", words(r), v.taint->key, v.taint->value)];
    else
      ++count_[std::string(words(r))];
  }
  ++(v.hopeless ? hopeless_ : lower ? victims_ : no_victims_);
}

std::string Refusals::text(std::size_t nodes, bool never_preempts) const {
  auto text = list(nodes, count_) + " preemption: ";
  if (never_preempts) return text + "not eligible due to preemptionPolicy=Never.";
  return text + list(nodes, {{"Preemption is not helpful for scheduling", hopeless_},
                             {"No preemption victims found for incoming pod", no_victims_},
                             {"node(s) had pods of lower priority, which this scheduler does not preempt", victims_}});
}

}  // namespace trama::control
