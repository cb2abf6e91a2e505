// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the planner that look at everything: start, comparison with the kernel, rebuilding.
#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "servicelb/plan.h"

namespace trama::servicelb {
namespace {
// Making one anew costs the kernel a walk over all slots.
constexpr auto kKeepUnusedClasses = std::chrono::minutes(10);

std::optional<std::uint32_t> slots_of_chain(const std::string& name) {
  std::uint32_t n = 0;
  if (name.size() < 2 || name[0] != 'n') return std::nullopt;
  auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), n);
  if (error != std::errc{} || end != name.data() + name.size() || n == 0) return std::nullopt;
  return n;
}
}  // namespace

Contents& FamilyContents::of(const nft::Set& set) {
  if (set.name == "vips") return vips;
  if (set.name == "services") return services;
  if (set.name == "nodeports") return nodeports;
  if (set.name == "slots") return slots;
  if (set.name == "class") return classes;
  if (set.name == "hairpin") return hairpin;
  if (set.name == "pods") return pods;
  return service_cidrs;
}

void Planner::adopt(Family family, const FamilyContents& seen, Clock::time_point now) {
  std::size_t i = index_of(family);
  for (const auto& [key, element] : seen.classes) {
    auto cls = mark_in(element.key);
    auto slots = slots_of_chain(element.chain);
    if (!cls || !slots || *cls == kRefuseClass) continue;
    // Only what class_for() could have made: anything else is not ours and gets rebuilt.
    bool large = *slots > kDirectClasses && *cls > kDirectClasses && *cls <= kLastClass;
    if (*cls != *slots && !large) continue;
    classes_[i][*cls] = *slots;
    uses_[i][*cls].unused_since = now;
    if (large) large_[i][*slots] = *cls;
  }
  for (const auto& [key, element] : seen.services)
    if (auto front = front_of_services_key(family, key))
      if (auto mark = mark_in(element.data)) adopted_ids_[*front] = id_of(*mark);
  for (const auto& [key, element] : seen.nodeports)
    if (auto front = front_of_nodeports_key(family, key))
      if (auto mark = mark_in(element.data)) adopted_ids_[*front] = id_of(*mark);
  for (const auto& [key, element] : seen.slots) {
    auto s = slot_in(family, element);
    if (!s || s->slot > 0xffff) continue;
    auto& slots = adopted_slots_[i][s->id];
    if (slots.size() <= s->slot) slots.resize(s->slot + 1);
    slots[s->slot] = Slot{s->ip, s->port, {}};
  }
}

void Planner::settle(Clock::time_point now) {
  // Ids first, for all services: a new port must not take the id that the kernel uses for another one.
  if (!adopted_ids_.empty()) {
    for (const auto& [key, record] : records_)
      for (const auto& port : record.wanted.ports)
        for (const auto& front : fronts_of(record.wanted)) {
          bool of_port = front.protocol == port.protocol && front.kind != Front::Kind::vip &&
                         front.port == (front.kind == Front::Kind::node ? port.node_port : port.port);
          if (!of_port) continue;
          auto owner = claims_.find(front);
          auto id = adopted_ids_.find(front);
          if (owner == claims_.end() || *owner->second.front() != key || id == adopted_ids_.end()) continue;
          ids_.adopt(PortKey{key, port.protocol, port.name}, id->second);
        }
    for (const auto& [front, id] : adopted_ids_) {
      ids_.hold(id, now);  // does nothing when a port has it
      if (front.protocol == Protocol::udp) stale_[{front.family, id}];
    }
  }
  for (const auto& key : dirty_services()) {
    auto it = records_.find(key);
    if (it == records_.end()) continue;
    std::vector<std::string> complaints;
    Placement next = target(key, it->second, now, complaints);
    if (complaints.empty())
      failures_.erase(key);
    else
      failures_[key] = std::move(complaints);
    for (const auto& port : next.ports)
      for (std::size_t i = 0; i < 2; ++i)
        if (port.classes[i] != 0 && port.classes[i] != kRefuseClass)
          classes_[i][port.classes[i]] = static_cast<std::uint32_t>(port.slots[i].size());
    finish(key, std::move(next), now);
  }
  dirty_.clear();
  facts_placed_ = facts_;
  facts_dirty_ = false;
  adopted_ids_.clear();
  for (auto& slots : adopted_slots_) slots.clear();
}

std::size_t Planner::elements(Family family) const {
  auto of_family = [&](const auto& v) { return v.family() == family; };
  auto count = [&](const auto& list) {
    return static_cast<std::size_t>(std::count_if(list.begin(), list.end(), of_family));
  };
  return element_count_[index_of(family)] + count(facts_placed_.local_pods) + count(facts_placed_.pod_cidrs) +
         count(facts_placed_.service_cidrs) + classes(family).size() + 1;
}

std::size_t Planner::endpoints_wanted() const {
  std::size_t n = 0;
  for (const auto& [key, record] : records_)
    for (const auto& port : record.wanted.ports) n += port.endpoints.size();
  return n;
}

void Planner::for_each_element(Family family,
                               const std::function<void(const nft::Set&, const nft::Element&)>& fn) const {
  const Sets& sets = sets_of(family);
  std::size_t i = index_of(family);
  for (const auto& [cls, slots] : classes_[i]) fn(sets.classes, class_element(cls, class_chain_name(slots)));
  fn(sets.classes, class_element(kRefuseClass, "refuse"));
  for (const auto& pod : facts_placed_.local_pods)
    if (pod.family() == family) fn(sets.hairpin, hairpin_element(pod));
  for (const auto& c : facts_placed_.pod_cidrs)
    if (c.family() == family) fn(sets.pods, nft::Element::of(c));
  for (const auto& c : facts_placed_.service_cidrs)
    if (c.family() == family) fn(sets.service_cidrs, nft::Element::of(c));
  // Set by set, so that elements of one set share messages.
  for (const auto& [key, record] : records_)
    for (const auto& port : record.placed.ports) {
      if (port.slots[i].empty()) continue;
      std::string label = port.name.empty() ? key.to_string() : fmt::format("{}:{}", key.to_string(), port.name);
      for (std::size_t n = 0; n < port.slots[i].size(); ++n) {
        const Slot& s = port.slots[i][n];
        fn(sets.slots, slot_element(port.id, static_cast<std::uint32_t>(n), s.ip, s.port,
                                    s.pod.empty() ? label : fmt::format("{} -> {}", label, s.pod)));
      }
    }
  for (auto kind : {Front::Kind::cluster, Front::Kind::node})
    for (const auto& [key, record] : records_)
      for (const auto& port : record.placed.ports)
        for (const auto& front : port.fronts) {
          if (front.kind != kind || front.family != family) continue;
          std::uint32_t mark = mark_of(port.id, port.classes[i]) | (kind == Front::Kind::node ? kMasquerade : 0);
          fn(set_of(front),
             front_element(front, mark,
                           port.name.empty() ? key.to_string() : fmt::format("{}:{}", key.to_string(), port.name)));
        }
  for (const auto& [key, record] : records_)
    for (const auto& vip : record.placed.vips)
      if (vip.family == family) fn(sets.vips, front_element(vip, 0, key.to_string()));
}

nft::Batch Planner::rebuild(Family family) const {
  nft::Batch batch;
  auto whole = blueprint(family, classes(family));
  nft::replace_frame(batch, whole);
  for_each_element(family, [&](const nft::Set& set, const nft::Element& e) { batch.put_element(whole.table, set, e); });
  nft::put_rules(batch, whole);
  return batch;
}

std::vector<nft::Batch> Planner::build(Family family, std::size_t elements_each) const {
  std::vector<nft::Batch> out(1);
  auto whole = blueprint(family, classes(family));
  nft::put_frame(out.back(), whole);
  for_each_element(family, [&](const nft::Set& set, const nft::Element& e) {
    if (out.back().elements() >= elements_each) out.emplace_back();
    out.back().put_element(whole.table, set, e);
  });
  nft::put_rules(out.back(), whole);
  return out;
}

Step Planner::repair(Family family, FamilyContents& seen) const {
  Step step;
  const auto& table = table_of(family);
  const Sets& sets = sets_of(family);
  auto slots_in = [&](const nft::Value& data) -> std::uint32_t {
    auto mark = mark_in(data);
    std::uint32_t cls = mark ? *mark & kClassMask : 0;
    return cls == kRefuseClass ? 0 : cls;
  };
  for_each_element(family, [&](const nft::Set& set, const nft::Element& want) {
    Contents& have = seen.of(set);
    auto it = have.find(want.key);
    bool front = &set == &sets.services || &set == &sets.nodeports;
    if (it == have.end()) {
      (front || &set == &sets.vips ? step.second : step.first).put_element(table, set, want);
      return;
    }
    if (!(it->second == want)) {
      bool shrinks = front && slots_in(want.data) < slots_in(it->second.data);
      auto& batch = front && !shrinks ? step.second : step.first;
      batch.delete_element(table, set, it->second);
      batch.put_element(table, set, want);
    }
    have.erase(it);
  });
  for (const auto* set : sets.all())
    for (const auto& [key, extra] : seen.of(*set)) {
      auto& batch = set == &sets.slots ? step.second : step.first;
      batch.delete_element(table, *set, extra);
    }
  return step;
}

nft::Batch Planner::collect(Clock::time_point now) {
  nft::Batch batch;
  for (Family f : kFamilies) {
    std::size_t i = index_of(f);
    for (auto it = classes_[i].begin(); it != classes_[i].end();) {
      auto use = uses_[i].find(it->first);
      bool idle =
          use == uses_[i].end() || (use->second.users == 0 && now - use->second.unused_since > kKeepUnusedClasses);
      if (!idle) {
        ++it;
        continue;
      }
      std::string name = class_chain_name(it->second);
      batch.delete_element(table_of(f), sets_of(f).classes, class_element(it->first, name));
      batch.flush_chain(table_of(f), name);
      batch.delete_chain(table_of(f), name);
      large_[i].erase(it->second);
      uses_[i].erase(it->first);
      it = classes_[i].erase(it);
    }
  }
  return batch;
}

std::vector<FlowsOf> Planner::stale_flows() const {
  std::vector<FlowsOf> out;
  for (const auto& [key, stale] : stale_) out.push_back({key.first, key.second, stale.endpoints, stale.untranslated});
  return out;
}
void Planner::flows_done(const std::vector<FlowsOf>& done) {
  for (const auto& d : done) {
    auto it = stale_.find({d.family, d.id});
    if (it != stale_.end() && it->second.endpoints == d.endpoints && it->second.untranslated == d.untranslated)
      stale_.erase(it);
  }
}
void Planner::all_udp_flows_stale() {
  for (const auto& [key, record] : records_)
    for (const auto& port : record.placed.ports) {
      if (port.protocol != Protocol::udp) continue;
      for (Family f : kFamilies) {
        if (port.classes[index_of(f)] == 0) continue;
        auto& stale = stale_[{f, port.id}];
        stale.endpoints.clear();
        for (const auto& s : port.slots[index_of(f)]) stale.endpoints.push_back({s.ip, s.port});
        std::sort(stale.endpoints.begin(), stale.endpoints.end());
      }
    }
}

}  // namespace trama::servicelb
