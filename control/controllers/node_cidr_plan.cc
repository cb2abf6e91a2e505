// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/node_cidr_plan.h"

#include <optional>

namespace trama::control {

namespace {

// Prefixes in use. Two prefixes overlap iff one contains the first address of the other.
class Taken {
 public:
  void add(const base::Cidr& c) {
    all_.insert(c);
    lengths_.insert(c.length());
  }
  bool overlaps(const base::Cidr& c) const {
    auto inside = all_.lower_bound(c);  // ordered by address, then length
    if (inside != all_.end() && c.contains(inside->address())) return true;
    for (auto length : lengths_)
      if (length <= c.length() && all_.contains(base::Cidr::of(c.address(), length))) return true;
    return false;
  }

 private:
  std::set<base::Cidr> all_;
  std::set<unsigned> lengths_;
};

// Walks upwards: what lay below the last answer is in use for the rest of this plan.
class Cutter {
 public:
  Cutter(const base::Cidr& cluster, unsigned mask) : cluster_(cluster), mask_(mask) {}
  std::optional<base::Cidr> next(const Taken& taken) {
    for (; mask_ >= cluster_.length(); ++index_) {
      auto c = cluster_.subnet(mask_, index_);
      if (!c) return std::nullopt;
      if (!taken.overlaps(*c)) return *c;
    }
    return std::nullopt;
  }

 private:
  base::Cidr cluster_;
  unsigned mask_;
  std::uint64_t index_ = 0;
};

}  // namespace

NodeCidrPlan plan_node_cidrs(const NodeCidrWorld& world) {
  NodeCidrPlan plan;
  Taken taken;
  std::map<base::Cidr, std::vector<std::string>> holders;
  for (const auto& [name, cidrs] : world.nodes) {
    for (const auto& c : cidrs) {
      taken.add(c);
      holders[c].push_back(name);
    }
  }
  for (const auto& c : world.cooling) taken.add(c);
  for (const auto& [c, names] : holders)
    if (names.size() > 1) plan.disputed[c] = names;

  std::vector<Cutter> cutters;
  for (const auto& c : world.clusters)
    cutters.emplace_back(c, c.family() == base::Family::v4 ? world.mask_v4 : world.mask_v6);
  for (const auto& [name, cidrs] : world.nodes) {
    if (!cidrs.empty()) continue;
    std::vector<base::Cidr> mine;
    for (auto& cutter : cutters)
      if (auto c = cutter.next(taken)) mine.push_back(*c);
    if (mine.empty() || mine.size() < cutters.size()) {
      plan.exhausted.insert(name);
      continue;
    }
    for (const auto& c : mine) taken.add(c);
    plan.assign[name] = std::move(mine);
  }
  return plan;
}

}  // namespace trama::control
