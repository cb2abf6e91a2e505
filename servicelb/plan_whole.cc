// SPDX-License-Identifier: GPL-2.0-or-later
// The parts of the planner that look at everything: start, comparison with the kernel, rebuilding.
#include <algorithm>

#include "servicelb/plan.h"

namespace trama::servicelb {
namespace {
// Making one anew costs the kernel a walk over all slots.
constexpr auto kKeepUnusedClasses = std::chrono::minutes(10);
}  // namespace

void Planner::adopt(Family family, const FamilyContents& seen, Clock::time_point now) {
  std::size_t i = index_of(family);
  auto in = [&](Home h) -> const Contents& { return seen[static_cast<std::size_t>(h)]; };
  for (const auto& [key, element] : in(Home::classes)) {
    auto cls = mark_in(element.key);
    auto draw = Draw::of_chain(element.chain);
    // Only what class_for() could have made: anything else is not ours and gets rebuilt.
    if (!cls || !draw) continue;
    bool plain = draw->how == Draw::How::random && !draw->counted;
    bool direct = plain && draw->slots <= kDirectClasses;
    bool right = direct  ? *cls == draw->slots
                 : plain ? *cls > kDirectClasses && *cls <= kLastLargeClass
                         : *cls >= kFirstOtherClass && *cls <= kLastOtherClass;
    if (!right) continue;
    classes_[i][*cls] = *draw;
    uses_[i][*cls].unused_since = now;
    if (!direct) allotted_[i][*draw] = *cls;
  }
  for (std::size_t h = 0; h < kHomes; ++h) {
    Home home = static_cast<Home>(h);
    if (!holds_marks(home)) continue;
    for (const auto& [key, element] : seen[h])
      if (auto front = front_in(family, home, key))
        if (auto mark = mark_in(element.data); mark && id_of(*mark) != 0) adopted_.ids[{home, *front}] = id_of(*mark);
  }
  for (Home home : {Home::slots, Home::counted})
    for (const auto& [key, element] : in(home)) {
      auto s = slot_in(family, element);
      if (!s || s->slot > 0xffff) continue;
      auto& slots = adopted_.slots[i][SlotsOf{s->id, Protocol::tcp, 0}];
      if (slots.size() <= s->slot) slots.resize(s->slot + 1);
      slots[s->slot] = {s->ip, s->port};
    }
  adopt_affinity(family, seen);
}

void Planner::adopt_affinity(Family family, const FamilyContents& seen) {
  std::size_t i = index_of(family);
  std::map<std::pair<SlotsOf, std::uint32_t>, base::IpPort> endpoints;  // by number
  for (const auto& [key, element] : seen[static_cast<std::size_t>(Home::sticky)])
    if (auto s = sticky_in(family, element)) {
      endpoints[{SlotsOf{s->id, s->protocol, s->front_port}, s->number}] = {s->ip, s->port};
    }
  std::map<SlotsOf, std::map<base::IpPort, std::uint32_t>> ways;
  for (const auto& [where, endpoint] : endpoints) ways[where.first][endpoint] = where.second;
  for (const auto& [of, numbers] : ways) {
    std::vector<Backend> backends;
    for (const auto& [endpoint, number] : numbers) backends.push_back({endpoint.ip, endpoint.port, {}, {}});
    auto members = members_of(backends);
    auto number = numbers.begin();
    for (const auto& member : members) adopted_.numbers[i][of.id][member] = (number++)->second;
  }
  for (const auto& [key, element] : seen[static_cast<std::size_t>(Home::picks)]) {
    auto p = pick_in(element);
    if (!p || p->number > 0xffff) continue;
    SlotsOf of{p->id, p->protocol, p->front_port};
    auto it = endpoints.find({of, p->picked});
    if (it == endpoints.end()) continue;
    auto& slots = adopted_.slots[i][of];
    if (slots.size() <= p->number) slots.resize(p->number + 1);
    slots[p->number] = it->second;
  }
}

void Planner::settle(Clock::time_point now) {
  // Ids first, for all services: a new port must not take the id that the kernel uses for another one.
  if (!adopted_.ids.empty()) {
    for (const auto& [key, record] : records_)
      for (const auto& door : doors_of(record.wanted, false, [](std::string) {})) {
        if (door.fixed != 0) continue;
        auto owner = claims_.find(door.front);
        bool mine = !door.outer() || (owner != claims_.end() && *owner->second.front() == key);
        auto id = adopted_.ids.find({door.home, door.front});
        if (mine && id != adopted_.ids.end()) ids_.adopt(pool_key(record.wanted, door.port, door.scope), id->second);
      }
    for (const auto& [where, id] : adopted_.ids) {
      ids_.hold(id, now);  // does nothing when a port has it
      if (where.second.protocol == Protocol::udp) flows_.orphaned(where.second.family, id, now);
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
    for (const auto& pool : next.pools)
      for (Family f : kFamilies)
        if (const auto& side = pool.sides[index_of(f)]; !side.slots.empty())
          classes_[index_of(f)][side.cls] = pool.draw(f);
    finish(key, std::move(next), now);
  }
  dirty_.clear();
  facts_placed_ = facts_;
  facts_dirty_ = false;
  adopted_ = {};
}

void Planner::unplace(Clock::time_point now) {
  for (auto& [key, record] : records_) {
    count_classes(record.placed, false, now);
    for (std::size_t i = 0; i < 2; ++i) element_count_[i] -= std::exchange(record.elements[i], 0);
    record.placed = {};
    dirty_.insert(key);
  }
  holders_.clear();
}

void Planner::for_each(const std::function<void(const Service&, const Placement&)>& fn) const {
  for (const auto& [key, record] : records_)
    if (record.present) fn(record.wanted, record.placed);
}

std::optional<Planner::Known> Planner::find(const ServiceKey& key) const {
  auto it = records_.find(key);
  if (it == records_.end()) return std::nullopt;
  return Known{it->second.wanted, it->second.placed};
}

std::size_t Planner::elements(Family family) const {
  auto of_family = [&](const auto& v) { return v.family() == family; };
  auto count = [&](const auto& list) {
    return static_cast<std::size_t>(std::count_if(list.begin(), list.end(), of_family));
  };
  return element_count_[index_of(family)] + count(facts_placed_.local_pods) + count(facts_placed_.pod_cidrs) +
         count(facts_placed_.service_cidrs) + count(facts_placed_.nodeport_cidrs) + classes_[index_of(family)].size() +
         fixed_classes().size();
}

std::size_t Planner::endpoints_wanted() const {
  std::size_t n = 0;
  for (const auto& [key, record] : records_)
    for (const auto& port : record.wanted.ports) n += port.endpoints.size();
  return n;
}

void Planner::for_each_element(Family family, const std::function<void(Home, const nft::Element&)>& fn) const {
  std::size_t i = index_of(family);
  for (const auto& [cls, draw] : classes_[i]) fn(Home::classes, class_element(cls, draw.chain()));
  for (const auto& [cls, chain] : fixed_classes()) fn(Home::classes, class_element(cls, chain));
  for (const auto& pod : facts_placed_.local_pods)
    if (pod.family() == family) fn(Home::hairpin, hairpin_element(pod));
  auto ranges = [&](Home home, const std::vector<Cidr>& list) {
    for (const auto& c : list)
      if (c.family() == family) fn(home, nft::Element::of(c));
  };
  ranges(Home::pods, facts_placed_.pod_cidrs);
  ranges(Home::service_cidrs, facts_placed_.service_cidrs);
  ranges(Home::nodeport_cidrs, facts_placed_.nodeport_cidrs);
  for (const auto& [key, record] : records_)
    render(key, record.placed, family, [&](Item item) { fn(item.home, item.element); });
}

void Planner::put_all(Family family, const std::function<void(Home, const nft::Element&)>& put) const {
  constexpr std::size_t kAtATime = 4096;
  std::array<std::vector<nft::Element>, kHomes> waiting;
  auto flush = [&](std::size_t h) {
    for (const auto& e : waiting[h]) put(static_cast<Home>(h), e);
    waiting[h].clear();
  };
  for_each_element(family, [&](Home home, const nft::Element& e) {
    auto h = static_cast<std::size_t>(home);
    waiting[h].push_back(e);
    if (waiting[h].size() >= kAtATime) flush(h);
  });
  for (std::size_t h = 0; h < kHomes; ++h) flush(h);
}

nft::Batch Planner::rebuild(Family family) const {
  nft::Batch batch;
  auto whole = blueprint(family, shape(family));
  nft::replace_frame(batch, whole);
  put_all(family, [&](Home home, const nft::Element& e) { batch.put_element(whole.table, set_of(family, home), e); });
  nft::put_rules(batch, whole);
  return batch;
}

std::vector<nft::Batch> Planner::build(Family family, std::size_t elements_each) const {
  std::vector<nft::Batch> out(1);
  auto whole = blueprint(family, shape(family));
  nft::put_frame(out.back(), whole);
  put_all(family, [&](Home home, const nft::Element& e) {
    if (out.back().elements() >= elements_each) out.emplace_back();
    out.back().put_element(whole.table, set_of(family, home), e);
  });
  nft::put_rules(out.back(), whole);
  return out;
}

Step Planner::repair(Family family, FamilyContents& seen) const {
  Step step;
  RangeChanges allowed;
  const auto& table = table_of(family);
  auto slots_in = [&](const nft::Value& data) -> std::size_t {
    auto mark = mark_in(data);
    if (!mark) return 0;
    auto it = classes_[index_of(family)].find(*mark & kClassMask);
    return it == classes_[index_of(family)].end() ? 0 : it->second.slots;
  };
  for_each_element(family, [&](Home home, const nft::Element& want) {
    const nft::Set& set = set_of(family, home);
    Contents& have = seen[static_cast<std::size_t>(home)];
    auto it = have.find(want.key);
    bool outer = home >= Home::services && home <= Home::ping;
    if (it == have.end()) {
      if (home == Home::allowed)
        allowed.puts.push_back(want);
      else
        (outer ? step.second() : step.first()).put_element(table, set, want);
      return;
    }
    bool same = it->second == want;
    if (!same && home == Home::allowed) {
      allowed.deletions.push_back(it->second), allowed.puts.push_back(want);
    } else if (!same) {
      bool shrinks = holds_marks(home) && slots_in(want.data) < slots_in(it->second.data);
      auto& batch = holds_marks(home) && !shrinks ? step.second() : step.first();
      batch.delete_element(table, set, it->second);
      batch.put_element(table, set, want);
    }
    have.erase(it);
  });
  for (std::size_t h = 0; h < kHomes; ++h) {
    if (!is_planned(static_cast<Home>(h))) continue;
    Home home = static_cast<Home>(h);
    for (const auto& [key, extra] : seen[h])
      if (home == Home::allowed)
        allowed.deletions.push_back(extra);
      else
        (home < Home::allowed ? step.third() : step.first()).delete_element(table, set_of(family, home), extra);
  }
  allowed.emit(step, family);
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
      std::string name = it->second.chain();
      batch.delete_element(table_of(f), set_of(f, Home::classes), class_element(it->first, name));
      batch.flush_chain(table_of(f), name);
      batch.delete_chain(table_of(f), name);
      allotted_[i].erase(it->second);
      uses_[i].erase(it->first);
      it = classes_[i].erase(it);
    }
  }
  return batch;
}

void Planner::all_flows_stale(Clock::time_point now) {
  for (const auto& [key, record] : records_) flows_.unknown(record.placed, record.placed.drain, now);
}

void Planner::rules_were_missing() {
  for (const auto& [key, record] : records_) flows_.rules_were_missing(record.placed);
}

}  // namespace trama::servicelb
