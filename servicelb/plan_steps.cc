// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the planner that turn placements into transactions, and take them as done.
#include <algorithm>

#include "servicelb/plan.h"

namespace trama::servicelb {
namespace {

// What becomes of one element in one pass, whichever services lose and win it.
struct Fate {
  std::optional<Item> before, after;
};
using Fates = std::map<std::pair<Home, nft::Value>, Fate>;

void note(Fates& fates, const ServiceKey& key, const Placement& p, Family f, bool after) {
  render(key, p, f, [&](Item item) {
    auto& fate = fates[{item.home, item.element.key}];
    (after ? fate.after : fate.before) = std::move(item);
  });
}

// Pointees before pointers; removal mirrored.
void emit(Step& step, Family family, const Fates& fates) {
  const auto& table = table_of(family);
  RangeChanges allowed;
  for (const auto& [where, fate] : fates) {
    const auto& [before, after] = fate;
    const nft::Set& set = set_of(family, where.first);
    bool pointee = where.first <= Home::picks;
    bool outer = where.first >= Home::services;
    if (where.first == Home::allowed) {
      if (before && !(after && before->element == after->element)) allowed.deletions.push_back(before->element);
      if (after && !(before && before->element == after->element)) allowed.puts.push_back(after->element);
    } else if (!after) {
      (outer ? step.first() : step.third()).delete_element(table, set, before->element);
    } else if (!before) {
      (outer ? step.second() : step.first()).put_element(table, set, after->element);
    } else if (!(before->element == after->element)) {
      // Fewer slots: the class goes first. More slots, or another service's slots: they come first.
      bool shrinks = before->id == after->id && after->slots < before->slots;
      auto& batch = pointee || shrinks ? step.first() : step.second();
      batch.delete_element(table, set, before->element);
      batch.put_element(table, set, after->element);
    }
  }
  allowed.emit(step, family);
}

void keep_former_ids(const Placement& before, Placement& next) {
  std::set<std::uint32_t> now;
  for (const auto& pool : next.pools) now.insert(pool.id);
  next.former_ids.clear();
  auto keep = [&](std::uint32_t id) {
    if (now.insert(id).second) next.former_ids.push_back(id);
  };
  // The newest first: they are the ones to keep.
  for (const auto& pool : before.pools) keep(pool.id);
  for (auto id = before.former_ids.rbegin(); id != before.former_ids.rend(); ++id) keep(*id);
  if (next.former_ids.size() > Placement::kMostFormerIds) next.former_ids.resize(Placement::kMostFormerIds);
  std::reverse(next.former_ids.begin(), next.former_ids.end());
}

// Which addresses have node ports is each family's own affair, as kube-proxy has it.
bool restricts_node_ports(const NodeFacts& facts, Family family) {
  return std::any_of(facts.nodeport_cidrs.begin(), facts.nodeport_cidrs.end(),
                     [&](const Cidr& c) { return c.family() == family; });
}
}  // namespace

void RangeChanges::emit(Step& step, Family family) const {
  const auto& table = table_of(family);
  const auto& set = set_of(family, Home::allowed);
  auto front = [&](const nft::Element& e) {
    auto bytes = e.key.bytes();
    return nft::Value::of(bytes.first(bytes.size() - layout(family).size));
  };
  std::set<nft::Value> stays;
  for (const auto& e : puts) stays.insert(front(e));
  for (const auto& e : deletions)
    (stays.contains(front(e)) ? step.first() : step.third()).delete_element(table, set, e);
  for (const auto& e : puts) step.first().put_element(table, set, e);
}

Step Planner::plan_node() const {
  Step step;
  plan_facts(step);
  return step;
}

Step Planner::plan(Clock::time_point now) {
  Step step = plan(now, dirty_services());
  if (facts_dirty_) plan_facts(step);
  return step;
}

Step Planner::plan(Clock::time_point now, const std::vector<ServiceKey>& only) {
  Step step;
  std::vector<ServiceKey> keys = only;
  std::set<ServiceKey> planned;
  for (std::size_t next = 0; next < keys.size(); ++next) {
    ServiceKey key = keys[next];
    auto it = records_.find(key);
    if (it == records_.end() || !planned.insert(key).second) continue;
    std::vector<std::string> complaints;
    step.targets.emplace_back(key, target(key, it->second, now, complaints));
    if (complaints.empty())
      failures_.erase(key);
    else
      failures_[key] = std::move(complaints);
    for (const auto& front : fronts_of(step.targets.back().second)) {
      auto holder = holders_.find(front);
      if (holder != holders_.end() && *holder->second != key) keys.push_back(*holder->second);
    }
  }
  for (const auto& [key, next] : step.targets)
    for (const auto& pool : next.pools)
      for (Family f : kFamilies) {
        const auto& side = pool.sides[index_of(f)];
        if (side.slots.empty() || classes_[index_of(f)].contains(side.cls)) continue;
        step.new_classes[index_of(f)][side.cls] = pool.draw(f);
      }
  for (Family f : kFamilies)
    for (const auto& [cls, draw] : step.new_classes[index_of(f)]) {
      auto chain = draw_chain(f, draw);
      step.first().put_chain(table_of(f), chain.chain);
      for (const auto& rule : chain.rules) step.first().add_rule(table_of(f), chain.chain.name, rule);
      step.first().put_element(table_of(f), set_of(f, Home::classes), class_element(cls, chain.chain.name));
    }
  for (const auto& [key, next] : step.targets) {
    std::set<std::uint32_t> ids;
    for (const auto& pool : next.pools) ids.insert(pool.id);
    for (const auto& pool : records_.at(key).placed.pools) step.moves |= !next.pools.empty() && !ids.contains(pool.id);
  }
  for (Family f : kFamilies) {
    Fates fates;
    for (const auto& [key, next] : step.targets) {
      note(fates, key, records_.at(key).placed, f, false);
      note(fates, key, next, f, true);
    }
    emit(step, f, fates);
  }
  return step;
}

Shape Planner::shape(Family family) const {
  return {classes_[index_of(family)], restricts_node_ports(facts_placed_, family)};
}

void Planner::plan_facts(Step& step) const {
  step.facts = true;
  auto differ = [&](Home home, Family f, const auto& before, const auto& after, auto element) {
    for (const auto& v : before)
      if (v.family() == f && !std::binary_search(after.begin(), after.end(), v))
        (home == Home::nodeport_cidrs ? step.third() : step.first())
            .delete_element(table_of(f), set_of(f, home), element(v));
    for (const auto& v : after)
      if (v.family() == f && !std::binary_search(before.begin(), before.end(), v))
        step.first().put_element(table_of(f), set_of(f, home), element(v));
  };
  auto range = [](const Cidr& c) { return nft::Element::of(c); };
  for (Family f : kFamilies) {
    if (!enabled(f)) continue;
    differ(Home::hairpin, f, facts_placed_.local_pods, facts_.local_pods, hairpin_element);
    differ(Home::pods, f, facts_placed_.pod_cidrs, facts_.pod_cidrs, range);
    differ(Home::service_cidrs, f, facts_placed_.service_cidrs, facts_.service_cidrs, range);
    differ(Home::nodeport_cidrs, f, facts_placed_.nodeport_cidrs, facts_.nodeport_cidrs, range);
    bool restricts = restricts_node_ports(facts_, f);
    if (restricts == restricts_node_ports(facts_placed_, f)) continue;
    auto chain = services_chain(f, restricts);
    step.second().flush_chain(table_of(f), chain.chain.name);
    for (const auto& rule : chain.rules) step.second().add_rule(table_of(f), chain.chain.name, rule);
  }
}

void Planner::count_classes(const Placement& p, bool add, Clock::time_point now) {
  for (const auto& pool : p.pools)
    for (std::size_t i = 0; i < 2; ++i) {
      if (pool.sides[i].slots.empty()) continue;
      auto& use = uses_[i][pool.sides[i].cls];
      add ? ++use.users : --use.users;
      if (use.users == 0) use.unused_since = now;
    }
}

void Planner::finish(const ServiceKey& key, Placement next, Clock::time_point now) {
  auto it = records_.find(key);
  if (it == records_.end()) return;
  Record& record = it->second;
  count_classes(record.placed, false, now);
  count_classes(next, true, now);
  for (Family f : kFamilies) {
    std::size_t i = index_of(f), n = count_elements(next, f);
    element_count_[i] += n - record.elements[i];
    record.elements[i] = n;
  }
  if (record.present) keep_former_ids(record.placed, next);
  flows_.changed(record.placed, next, record.present ? next.drain : record.placed.drain, now);
  std::set<PortKey> keeps;
  for (const auto& pool : next.pools) keeps.insert(pool.key);
  for (const auto& pool : record.placed.pools)
    if (!keeps.contains(pool.key)) ids_.release(pool.key, now);
  for (const auto& front : fronts_of(record.placed)) {
    auto holder = holders_.find(front);
    if (holder != holders_.end() && *holder->second == key) holders_.erase(holder);
  }
  for (const auto& front : fronts_of(next)) holders_[front] = &it->first;
  record.placed = std::move(next);
  dirty_.erase(key);
  if (!record.present) {
    failures_.erase(key);
    growing_.erase(key);
    records_.erase(it);
  }
}

void Planner::accept(Step step, Clock::time_point now) {
  for (std::size_t i = 0; i < 2; ++i) classes_[i].insert(step.new_classes[i].begin(), step.new_classes[i].end());
  for (auto& [key, next] : step.targets) finish(key, std::move(next), now);
  if (step.facts) {
    facts_placed_ = facts_;
    facts_dirty_ = false;
  }
}

}  // namespace trama::servicelb
