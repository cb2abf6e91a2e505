// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/domains.h"

#include <algorithm>

namespace trama::control {

bool NodeFilter::takes(const NodeState& node) const {
  for (const auto& k : keys)
    if (!node.labels.contains(k)) return false;
  if (honor_affinity && !allows(affinity, node.name, node.labels)) return false;
  return !honor_taints || std::none_of(node.taints.begin(), node.taints.end(), [&](const api::Taint& t) {
    return (t.effect == "NoSchedule" || t.effect == "NoExecute") && !any_tolerates(tolerations, t);
  });
}

void DomainCounts::node_comes(std::size_t slot, const NodeState& node) {
  if (domain_.size() <= slot) domain_.resize(slot + 1, -1), counted_.resize(slot + 1);
  domain_[slot] = -1;
  counted_[slot] = false;
  auto label = node.labels.find(key_);
  if (label == node.labels.end()) return;
  auto [it, fresh] = ids_.try_emplace(label->second, static_cast<int>(pods_.size()));
  if (fresh) pods_.push_back(0), nodes_.push_back(0);
  auto d = static_cast<std::size_t>(it->second);
  domain_[slot] = it->second;
  counted_[slot] = filter_.takes(node);
  if (!counted_[slot] || nodes_[d]++ > 0) return;
  ++domains_;
  ++sizes_[0];
}

void DomainCounts::node_goes(std::size_t slot) {
  auto id = domain(slot);
  if (id < 0) return;
  domain_[slot] = -1;
  auto d = static_cast<std::size_t>(id);
  if (!counted_[slot] || --nodes_[d] > 0) return;
  --domains_;
  if (auto it = sizes_.find(pods_[d]); --it->second == 0) sizes_.erase(it);
}

void DomainCounts::add(std::size_t slot, std::int64_t pods) {
  auto id = domain(slot);
  if (id < 0 || !counted_[slot] || pods == 0) return;
  auto& count = pods_[static_cast<std::size_t>(id)];
  if (auto it = sizes_.find(count); --it->second == 0) sizes_.erase(it);
  count += pods;
  total_ += pods;
  ++sizes_[count];
}

}  // namespace trama::control
