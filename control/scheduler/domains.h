// SPDX-License-Identifier: GPL-2.0-or-later
// How many pods there are in each topology domain, kept up to date pod by pod. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/scheduler/model.h"

namespace trama::control {

// Which nodes a count looks at, besides having the label that makes the domains.
struct NodeFilter {
  std::vector<std::string> keys;  // labels that a node must have
  bool honor_affinity = false;
  NodeAffinity affinity;
  bool honor_taints = false;
  std::vector<api::Toleration> tolerations;
  bool takes(const NodeState& node) const;
};

// A domain is all nodes with one value of the label `key`. Nodes are known by their slot, a small number.
class DomainCounts {
 public:
  DomainCounts(std::string key, NodeFilter filter) : key_(std::move(key)), filter_(std::move(filter)) {}

  // A node comes without pods, and goes when its pods have been taken off.
  void node_comes(std::size_t slot, const NodeState& node);
  void node_goes(std::size_t slot);
  // `pods` more (or fewer) on that node; nothing where the node does not count.
  void add(std::size_t slot, std::int64_t pods);

  // Of the node in that slot, whether it counts or not; -1 = it has not the label.
  int domain(std::size_t slot) const { return slot < domain_.size() ? domain_[slot] : -1; }
  // Pods in the node's domain; 0 when it is in none.
  std::int64_t at(std::size_t slot) const {
    auto d = domain(slot);
    return d < 0 ? 0 : pods_[static_cast<std::size_t>(d)];
  }
  std::int64_t total() const { return total_; }
  std::int64_t domains() const { return domains_; }
  // The fewest pods that a domain has; 0 without domains.
  std::int64_t lowest() const { return sizes_.empty() ? 0 : sizes_.begin()->first; }
  std::size_t most_domains() const { return pods_.size(); }  // domain() is below it

 private:
  std::string key_;
  NodeFilter filter_;
  std::map<std::string, int> ids_;     // by value of the label
  std::vector<int> domain_;            // by slot
  std::vector<bool> counted_;          // by slot
  std::vector<std::int64_t> pods_;     // by domain
  std::vector<std::int64_t> nodes_;    // by domain: those that count
  std::map<std::int64_t, int> sizes_;  // how many domains have that many pods
  std::int64_t total_ = 0, domains_ = 0;
};

}  // namespace trama::control
