// SPDX-License-Identifier: GPL-2.0-or-later
// The scheduler's picture of the cluster: nodes, the pods that are placed on them, and counts of these pods by topology
// domain for every rule that has been asked about. A pod that is placed or goes changes the counts that it is part of
// and nothing else, so a choice costs nodes, not nodes times pods. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/scheduler/domains.h"

namespace trama::control {

// A term that placed pods carry, and where they are.
struct CarriedTerm {
  enum class Kind { away, near, rather_away, rather_near };
  Kind kind = Kind::away;
  PodTerm term;
  DomainCounts carriers;
  std::size_t classes = 0;  // that carry it
};

// Pods that no rule can tell apart: same namespace, labels and terms, terminating or not.
struct PodClass {
  std::string ns;
  Labels labels;
  bool terminating = false;
  std::shared_ptr<const PodRules> rules;
  std::int64_t placed = 0;
  std::vector<DomainCounts*> counts;  // that a pod of this class is part of
  std::vector<CarriedTerm*> carries;
  std::vector<const CarriedTerm*> meets;  // carried by others (or its own kind), choosing pods of this class
};

class Cluster {
 public:
  Cluster() = default;
  Cluster(const Cluster&) = delete;
  Cluster& operator=(const Cluster&) = delete;

  // Adds a node or changes what is known of it; pods that are placed there stay.
  void put_node(NodeState node);
  // Its pods are forgotten with it.
  void remove_node(const std::string& name);
  void put_namespace(const std::string& name, Labels labels);
  void remove_namespace(const std::string& name);
  void clear_nodes();

  // False: there is no such node, and nothing was done.
  bool place(const PodNeeds& pod, const std::string& node);
  void remove(const PodNeeds& pod, const std::string& node);

  const NodeState* find(const std::string& node) const;
  std::size_t size() const { return by_name_.size(); }

  // ---- what a choice asks
  // By slot; null where a node has gone.
  const std::vector<std::unique_ptr<NodeState>>& slots() const { return slots_; }
  // Stays valid until the next call that is not const.
  const PodClass& class_of(const PodNeeds& pod);
  // Pods that all the selectors choose, by domain. `identity` is the filter as text. The reference holds until the next
  // node or pod comes or goes.
  const DomainCounts& count(const std::vector<const PodSelector*>& selectors, const std::string& topology_key,
                            bool terminating_too, NodeFilter filter = {}, const std::string& identity = "");
  // Nodes with equal taints have the same NodeState::taint_set, below this.
  std::size_t taint_sets() const { return taint_sets_.size(); }
  const Namespaces& namespaces() const { return namespaces_; }
  // How many counts are kept up to date.
  std::size_t counts() const { return counters_.size(); }

 private:
  struct Counter {
    std::vector<PodSelector> selectors;
    bool terminating_too = true;
    DomainCounts counts;
    std::uint64_t used = 0;
  };
  using OnNode = std::map<PodClass*, std::int64_t>;

  PodClass& ensure_class(const PodNeeds& pod);
  bool is_counted(const Counter& counter, const PodClass& c) const;
  void carry(PodClass& c);
  void forget_old_counters();
  void forget_idle_classes();
  void match_anew();
  template <class F>
  void each_count(F&& f);

  std::vector<std::unique_ptr<NodeState>> slots_;
  std::vector<OnNode> on_node_;  // by slot
  std::map<std::string, std::size_t> by_name_;
  std::set<std::size_t> free_;
  Namespaces namespaces_;
  std::map<std::string, std::size_t> taint_sets_;             // by the taints as text
  std::map<std::string, std::unique_ptr<PodClass>> classes_;  // by identity
  std::map<std::string, std::unique_ptr<Counter>> counters_;  // by identity
  std::map<std::string, std::unique_ptr<CarriedTerm>> carried_;
  std::size_t idle_classes_ = 0;  // at most: with no pod placed
  std::uint64_t clock_ = 0;
};

}  // namespace trama::control
