// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/plan.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::servicelb {
namespace {

std::string label_of(const ServiceKey& key, const std::string& port) {
  return port.empty() ? key.to_string() : fmt::format("{}:{}", key.to_string(), port);
}
std::string slot_comment(const std::string& label, const Slot& slot) {
  return slot.pod.empty() ? label : fmt::format("{} -> {}", label, slot.pod);
}
std::uint32_t mark_for(const PortPlacement& port, const Front& front) {
  std::uint32_t mark = mark_of(port.id, port.classes[index_of(front.family)]);
  // A node port always answers through this node: the endpoint may be anywhere.
  return front.kind == Front::Kind::node ? mark | kMasquerade : mark;
}

// What one pass does to one front end, whichever services lose and win it.
struct FrontChange {
  std::optional<std::uint32_t> before, after;
  std::size_t slots_before = 0, slots_after = 0;
  std::string comment_before, comment;
};
using FrontChanges = std::map<Front, FrontChange>;

void note_fronts(FrontChanges& changes, const ServiceKey& key, const Placement& p, bool after) {
  auto note = [&](const Front& front, std::uint32_t mark, std::size_t slots, std::string comment) {
    auto& c = changes[front];
    (after ? c.after : c.before) = mark;
    (after ? c.slots_after : c.slots_before) = slots;
    (after ? c.comment : c.comment_before) = std::move(comment);
  };
  for (const auto& vip : p.vips) note(vip, 0, 0, key.to_string());
  for (const auto& port : p.ports)
    for (const auto& front : port.fronts)
      note(front, mark_for(port, front), port.slots[index_of(front.family)].size(), label_of(key, port.name));
}

void emit_fronts(Step& step, const FrontChanges& changes) {
  for (const auto& [front, c] : changes) {
    const auto& table = table_of(front.family);
    const auto& set = set_of(front);
    if (!c.after) {
      step.first.delete_element(table, set, front_element(front, *c.before, {}));
    } else if (!c.before) {
      step.second.put_element(table, set, front_element(front, *c.after, c.comment));
    } else if (c.before != c.after || c.comment != c.comment_before) {
      // Fewer slots: the class goes first. More slots, or another service's slots: they come first.
      bool shrinks = id_of(*c.before) == id_of(*c.after) && c.slots_after < c.slots_before;
      auto& batch = shrinks ? step.first : step.second;
      batch.delete_element(table, set, front_element(front, *c.before, {}));
      batch.put_element(table, set, front_element(front, *c.after, c.comment));
    }
  }
}

const PortPlacement* find_port(const Placement& p, const PortPlacement& like) {
  for (const auto& port : p.ports)
    if (port.protocol == like.protocol && port.name == like.name) return &port;
  return nullptr;
}

void emit_slots(Step& step, const ServiceKey& key, const PortPlacement* before, const PortPlacement* after) {
  static const std::vector<Slot> kNone;
  const PortPlacement& either = after ? *after : *before;
  std::string label = label_of(key, either.name);
  for (Family f : kFamilies) {
    std::size_t i = index_of(f);
    const auto& table = table_of(f);
    const auto& set = sets_of(f).slots;
    const auto& have = before ? before->slots[i] : kNone;
    const auto& want = after ? after->slots[i] : kNone;
    auto element = [&](const Slot& s, std::size_t n, bool with_comment) {
      return slot_element(either.id, static_cast<std::uint32_t>(n), s.ip, s.port,
                          with_comment ? slot_comment(label, s) : "");
    };
    for (std::size_t n = 0; n < want.size(); ++n) {
      if (n < have.size() && have[n] == want[n]) continue;
      if (n < have.size()) step.first.delete_element(table, set, element(have[n], n, false));
      step.first.put_element(table, set, element(want[n], n, true));
    }
    for (std::size_t n = want.size(); n < have.size(); ++n)
      step.second.delete_element(table, set, element(have[n], n, false));
  }
}

// Same id, same port: anything else is a removal and an addition.
bool same_port(const PortPlacement* a, const PortPlacement* b) { return a && b && a->id == b->id; }

}  // namespace

std::vector<Slot> assign_slots(const std::vector<Slot>& before, std::vector<Slot> wanted) {
  std::size_t n = wanted.size();
  std::sort(wanted.begin(), wanted.end(),
            [](const Slot& a, const Slot& b) { return std::tie(a.ip, a.port) < std::tie(b.ip, b.port); });
  std::map<std::pair<Ip, std::uint16_t>, std::size_t> index;
  for (std::size_t i = 0; i < n; ++i) index[{wanted[i].ip, wanted[i].port}] = i;
  std::vector<std::optional<std::size_t>> chosen(n);
  std::vector<bool> placed(n, false);
  std::vector<std::size_t> moving;  // endpoints whose slot lies beyond the new end
  for (std::size_t s = 0; s < before.size(); ++s) {
    auto it = index.find({before[s].ip, before[s].port});
    if (it == index.end() || placed[it->second]) continue;
    placed[it->second] = true;
    if (s < n)
      chosen[s] = it->second;
    else
      moving.push_back(it->second);
  }
  for (std::size_t i = 0; i < n; ++i)
    if (!placed[i]) moving.push_back(i);
  auto next = moving.begin();
  std::vector<Slot> out(n);
  for (std::size_t s = 0; s < n; ++s) out[s] = std::move(wanted[chosen[s] ? *chosen[s] : *next++]);
  return out;
}

std::size_t Planner::FrontHash::operator()(const Front& f) const {
  std::uint64_t h = static_cast<std::uint64_t>(f.kind) << 40 | static_cast<std::uint64_t>(f.family) << 32 |
                    static_cast<std::uint64_t>(f.protocol) << 16 | f.port;
  for (std::byte b : f.ip.bytes()) h = (h ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return static_cast<std::size_t>(h ^ h >> 29);
}

std::vector<Front> Planner::fronts_of(const Service& service) {
  std::vector<Front> out;
  for (const auto& ip : service.cluster_ips) {
    Front vip;
    vip.kind = Front::Kind::vip, vip.family = ip.family(), vip.ip = ip;
    out.push_back(vip);
    for (const auto& port : service.ports) {
      Front f = vip;
      f.kind = Front::Kind::cluster, f.protocol = port.protocol, f.port = port.port;
      out.push_back(f);
      if (port.node_port == 0) continue;
      f.kind = Front::Kind::node, f.port = port.node_port, f.ip = Ip();
      out.push_back(f);
    }
  }
  return out;
}

void Planner::claim(const ServiceKey& key, const Service& service, bool add) {
  for (const auto& front : fronts_of(service)) {
    auto& owners = claims_[front];
    auto at = std::lower_bound(owners.begin(), owners.end(), key,
                               [](const ServiceKey* a, const ServiceKey& b) { return *a < b; });
    bool there = at != owners.end() && **at == key;
    if (add && !there) {
      if (at == owners.begin() && !owners.empty()) dirty_.insert(*owners.front());
      owners.insert(at, &key);
    } else if (!add && there) {
      bool was_first = at == owners.begin();
      owners.erase(at);
      if (was_first && !owners.empty()) dirty_.insert(*owners.front());
    }
    if (owners.empty()) claims_.erase(front);
  }
}

void Planner::put(Change change) {
  auto it = records_.find(change.key);
  if (it == records_.end()) {
    if (!change.service) return;  // never known: nothing to remove
    it = records_.emplace(change.key, Record{}).first;
  }
  Record& record = it->second;
  if (record.present == change.service.has_value() && change.service && record.wanted == *change.service) return;
  if (record.present) claim(it->first, record.wanted, false);
  record.present = change.service.has_value();
  record.wanted = change.service ? std::move(*change.service) : Service{};
  record.wanted.key = it->first;
  if (record.present) claim(it->first, record.wanted, true);
  dirty_.insert(it->first);
}

void Planner::set_node(NodeFacts facts) {
  for (auto* list : {&facts.service_cidrs, &facts.pod_cidrs}) {
    std::sort(list->begin(), list->end());
    list->erase(std::unique(list->begin(), list->end()), list->end());
    // Interval sets take no overlaps; of two prefixes that overlap one contains the other.
    std::erase_if(*list, [all = *list](const Cidr& c) {
      return std::any_of(all.begin(), all.end(),
                         [&](const Cidr& o) { return o.length() < c.length() && o.overlaps(c); });
    });
  }
  std::sort(facts.local_pods.begin(), facts.local_pods.end());
  facts.local_pods.erase(std::unique(facts.local_pods.begin(), facts.local_pods.end()), facts.local_pods.end());
  if (facts == facts_) return;
  // Which endpoints are allowed depends on the ranges: rare, and then everything is looked at again.
  if (facts.service_cidrs != facts_.service_cidrs || facts.pod_cidrs != facts_.pod_cidrs ||
      facts.reserved_ports != facts_.reserved_ports)
    for (const auto& [key, record] : records_) dirty_.insert(key);
  facts_ = std::move(facts);
  facts_dirty_ = facts_ != facts_placed_;
}

std::string Planner::endpoint_problem(const Endpoint& e) const {
  if (e.port == 0) return "port 0 does not exist";
  if (e.ip.is_loopback()) return "a loopback address is another place on every node";
  if (e.ip.is_unspecified() || e.ip.is_multicast()) return "not the address of one machine";
  if (e.ip.is_link_local()) return "link-local addresses cannot be routed to";
  for (const auto& c : facts_.service_cidrs)
    if (c.contains(e.ip)) return "it is a Service address itself";
  if (std::find(facts_.reserved_ports.begin(), facts_.reserved_ports.end(), e.port) != facts_.reserved_ports.end()) {
    bool pod =
        std::any_of(facts_.pod_cidrs.begin(), facts_.pod_cidrs.end(), [&](const Cidr& c) { return c.contains(e.ip); });
    if (!pod) return "this port of a node belongs to the pod network itself";
  }
  return {};
}

std::uint32_t Planner::class_for(Family family, std::uint32_t slots) {
  if (slots == 0) return kRefuseClass;
  if (slots <= kDirectClasses) return slots;
  auto& large = large_[index_of(family)];
  if (auto it = large.find(slots); it != large.end()) return it->second;
  for (std::uint32_t cls = kDirectClasses + 1; cls <= kLastClass; ++cls) {
    bool taken = std::any_of(large.begin(), large.end(), [&](const auto& p) { return p.second == cls; });
    if (taken) continue;
    large[slots] = cls;
    return cls;
  }
  return 0;
}

Placement Planner::target(const ServiceKey& key, const Record& record, Clock::time_point now,
                          std::vector<std::string>& complaints) {
  Placement out;
  if (!record.present) return out;
  std::set<Front> own;  // this service's, against repetition inside it
  auto wins = [&](const Front& front) {
    auto it = claims_.find(front);
    return it != claims_.end() && *it->second.front() == key && own.insert(front).second;
  };
  std::array<bool, 2> families{};
  std::vector<Ip> ips;
  for (const auto& ip : record.wanted.cluster_ips) {
    if (!enabled(ip.family())) continue;
    if (ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || ip.is_link_local()) {
      complaints.push_back(fmt::format("{}: {} cannot be a ClusterIP", key.to_string(), ip.to_string()));
      continue;
    }
    ips.push_back(ip);
    families[index_of(ip.family())] = true;
    Front vip;
    vip.kind = Front::Kind::vip, vip.family = ip.family(), vip.ip = ip;
    if (wins(vip)) out.vips.push_back(vip);
  }
  std::sort(out.vips.begin(), out.vips.end());
  for (const auto& wanted : record.wanted.ports) {
    std::string label = label_of(key, wanted.name);
    PortPlacement port;
    port.name = wanted.name, port.protocol = wanted.protocol;
    if (find_port(out, port)) {
      complaints.push_back(fmt::format("{}: two ports of one name and protocol", label));
      continue;
    }
    auto try_front = [&](Front f) {
      if (wins(f)) {
        port.fronts.push_back(f);
        return;
      }
      auto it = claims_.find(f);
      bool other = it != claims_.end() && *it->second.front() != key;
      complaints.push_back(fmt::format("{}: {} already belongs to {}", label, f.to_string(),
                                       other ? it->second.front()->to_string() : "another port of this service"));
    };
    for (const auto& ip : ips) {
      Front f;
      f.kind = Front::Kind::cluster, f.family = ip.family(), f.protocol = wanted.protocol, f.port = wanted.port,
      f.ip = ip;
      if (wanted.port == 0)
        complaints.push_back(fmt::format("{}: port 0 does not exist", label));
      else
        try_front(f);
      if (wanted.node_port == 0) continue;
      f.kind = Front::Kind::node, f.port = wanted.node_port, f.ip = Ip();
      try_front(f);
    }
    if (port.fronts.empty()) continue;
    std::sort(port.fronts.begin(), port.fronts.end());
    auto id = ids_.acquire(PortKey{key, wanted.protocol, wanted.name}, now);
    if (!id) {
      complaints.push_back(fmt::format(
          "{}: all {} service ids are in use; delete services, or wait for ids of deleted ones", label, kMaxId));
      continue;
    }
    port.id = *id;
    std::array<std::vector<Slot>, 2> want;
    std::set<std::pair<Ip, std::uint16_t>> seen;
    for (const auto& e : wanted.endpoints) {
      std::size_t i = index_of(e.ip.family());
      if (!families[i]) continue;  // a family the service does not have
      if (auto problem = endpoint_problem(e); !problem.empty()) {
        complaints.push_back(
            fmt::format("{}: endpoint {} is left out: {}", label, base::IpPort{e.ip, e.port}.to_string(), problem));
        continue;
      }
      if (seen.insert({e.ip, e.port}).second) want[i].push_back(Slot{e.ip, e.port, e.pod});
    }
    const PortPlacement* before = find_port(record.placed, port);
    for (Family f : kFamilies) {
      std::size_t i = index_of(f);
      if (!families[i]) continue;
      port.classes[i] = class_for(f, static_cast<std::uint32_t>(want[i].size()));
      if (port.classes[i] == 0) {
        complaints.push_back(fmt::format("{}: {} endpoints, but too many services have more than {}: only {} are used",
                                         label, want[i].size(), kDirectClasses, kDirectClasses));
        want[i].resize(kDirectClasses);
        port.classes[i] = kDirectClasses;
      }
      static const std::vector<Slot> kNone;
      const auto* slots = before ? &before->slots[i] : &kNone;
      if (!before)
        if (auto it = adopted_slots_[i].find(port.id); it != adopted_slots_[i].end()) slots = &it->second;
      port.slots[i] = assign_slots(*slots, std::move(want[i]));
    }
    out.ports.push_back(std::move(port));
  }
  std::sort(out.ports.begin(), out.ports.end(), [](const PortPlacement& a, const PortPlacement& b) {
    return std::tie(a.protocol, a.name) < std::tie(b.protocol, b.name);
  });
  return out;
}

void Planner::disable(Family family) {
  enabled_[index_of(family)] = false;
  for (const auto& [key, record] : records_) dirty_.insert(key);
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
    const Placement& placement = step.targets.back().second;
    auto take_over = [&](const Front& front) {
      auto holder = holders_.find(front);
      if (holder != holders_.end() && *holder->second != key) keys.push_back(*holder->second);
    };
    for (const auto& vip : placement.vips) take_over(vip);
    for (const auto& port : placement.ports)
      for (const auto& front : port.fronts) take_over(front);
  }
  for (const auto& [key, next] : step.targets)
    for (const auto& port : next.ports)
      for (Family f : kFamilies) {
        std::size_t i = index_of(f);
        std::uint32_t cls = port.classes[i];
        if (cls == 0 || cls == kRefuseClass || classes_[i].contains(cls)) continue;
        step.new_classes[i][cls] = static_cast<std::uint32_t>(port.slots[i].size());
      }
  for (Family f : kFamilies)
    for (const auto& [cls, slots] : step.new_classes[index_of(f)]) {
      auto chain = class_chain(f, slots);
      step.first.put_chain(table_of(f), chain.chain);
      for (const auto& rule : chain.rules) step.first.add_rule(table_of(f), chain.chain.name, rule);
      step.first.put_element(table_of(f), sets_of(f).classes, class_element(cls, chain.chain.name));
    }
  FrontChanges fronts;
  for (const auto& [key, next] : step.targets) {
    const Placement& placed = records_.at(key).placed;
    note_fronts(fronts, key, placed, false);
    note_fronts(fronts, key, next, true);
    for (const auto& port : placed.ports)
      if (!same_port(&port, find_port(next, port))) emit_slots(step, key, &port, nullptr);
    for (const auto& port : next.ports) {
      const PortPlacement* before = find_port(placed, port);
      emit_slots(step, key, same_port(before, &port) ? before : nullptr, &port);
    }
  }
  emit_fronts(step, fronts);
  return step;
}

void Planner::plan_facts(Step& step) const {
  step.facts = true;
  auto differ = [&](const nft::Set& set, Family f, const auto& before, const auto& after, auto element) {
    for (const auto& v : before)
      if (v.family() == f && !std::binary_search(after.begin(), after.end(), v))
        step.first.delete_element(table_of(f), set, element(v));
    for (const auto& v : after)
      if (v.family() == f && !std::binary_search(before.begin(), before.end(), v))
        step.first.put_element(table_of(f), set, element(v));
  };
  auto range = [](const Cidr& c) { return nft::Element::of(c); };
  for (Family f : kFamilies) {
    if (!enabled(f)) continue;
    const Sets& s = sets_of(f);
    differ(s.hairpin, f, facts_placed_.local_pods, facts_.local_pods, hairpin_element);
    differ(s.pods, f, facts_placed_.pod_cidrs, facts_.pod_cidrs, range);
    differ(s.service_cidrs, f, facts_placed_.service_cidrs, facts_.service_cidrs, range);
  }
}

void Planner::count_classes(const Placement& p, bool add, Clock::time_point now) {
  for (const auto& port : p.ports)
    for (std::size_t i = 0; i < 2; ++i) {
      std::uint32_t cls = port.classes[i];
      if (cls == 0 || cls == kRefuseClass) continue;
      auto& use = uses_[i][cls];
      add ? ++use.users : --use.users;
      if (use.users == 0) use.unused_since = now;
    }
  auto count = [&](std::size_t i, std::size_t n) { add ? element_count_[i] += n : element_count_[i] -= n; };
  for (const auto& vip : p.vips) count(index_of(vip.family), 1);
  for (const auto& port : p.ports) {
    for (const auto& front : port.fronts) count(index_of(front.family), 1);
    for (std::size_t i = 0; i < 2; ++i) count(i, port.slots[i].size());
  }
}

// After a change of a UDP port: whoever still talks to an endpoint that is gone must be asked to choose again, and
// flows that began before a front end existed would never notice it.
void Planner::remember_flows(const PortPlacement* before, const PortPlacement* after) {
  const PortPlacement& either = after ? *after : *before;
  if (either.protocol != Protocol::udp) return;
  for (Family f : kFamilies) {
    std::size_t i = index_of(f);
    std::vector<base::IpPort> now;
    if (after)
      for (const auto& s : after->slots[i]) now.push_back({s.ip, s.port});
    std::sort(now.begin(), now.end());
    bool lost = before && std::any_of(before->slots[i].begin(), before->slots[i].end(), [&](const Slot& s) {
                  return !std::binary_search(now.begin(), now.end(), base::IpPort{s.ip, s.port});
                });
    std::vector<Front> fresh;
    if (after)
      for (const auto& front : after->fronts)
        if (front.family == f && (!before || !std::binary_search(before->fronts.begin(), before->fronts.end(), front)))
          fresh.push_back(front);
    auto it = stale_.find({f, either.id});
    if (!lost && fresh.empty() && it == stale_.end()) continue;
    auto& stale = stale_[{f, either.id}];
    stale.endpoints = std::move(now);
    stale.untranslated.insert(stale.untranslated.end(), fresh.begin(), fresh.end());
  }
}

void Planner::finish(const ServiceKey& key, Placement next, Clock::time_point now) {
  auto it = records_.find(key);
  if (it == records_.end()) return;
  Placement& placed = it->second.placed;
  count_classes(placed, false, now);
  count_classes(next, true, now);
  for (const auto& port : placed.ports) {
    const auto* after = find_port(next, port);
    if (!same_port(&port, after)) remember_flows(&port, nullptr);
    if (!after) ids_.release(PortKey{key, port.protocol, port.name}, now);
  }
  for (const auto& port : next.ports) {
    const auto* before = find_port(placed, port);
    remember_flows(same_port(before, &port) ? before : nullptr, &port);
  }
  auto each_front = [](const Placement& p, auto fn) {
    for (const auto& vip : p.vips) fn(vip);
    for (const auto& port : p.ports)
      for (const auto& front : port.fronts) fn(front);
  };
  each_front(placed, [&](const Front& f) {
    auto holder = holders_.find(f);
    if (holder != holders_.end() && *holder->second == key) holders_.erase(holder);
  });
  each_front(next, [&](const Front& f) { holders_[f] = &it->first; });
  placed = std::move(next);
  dirty_.erase(key);
  if (!it->second.present) {
    failures_.erase(key);
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
