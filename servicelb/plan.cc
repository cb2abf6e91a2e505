// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "servicelb/select.h"
#include "servicelb/slots.h"

namespace trama::servicelb {
namespace {

Draw::How how_of(const Service& s) {
  if (s.affinity.count() > 0) return Draw::How::affinity;
  switch (s.algorithm) {
    case Algorithm::random: return Draw::How::random;
    case Algorithm::round_robin: return Draw::How::round_robin;
    case Algorithm::source_hash: return Draw::How::source_hash;
    case Algorithm::maglev: return Draw::How::maglev;
  }
  return Draw::How::random;
}

const Pool* find_pool(const Placement& p, const Pool& like) {
  for (const auto& pool : p.pools)
    if (pool.id == like.id && pool.name == like.name && pool.protocol == like.protocol) return &pool;
  return nullptr;
}
}  // namespace

std::size_t Planner::FrontHash::operator()(const Front& f) const {
  std::uint64_t h = static_cast<std::uint64_t>(f.kind) << 40 | static_cast<std::uint64_t>(f.family) << 32 |
                    static_cast<std::uint64_t>(f.protocol) << 16 | f.port;
  for (std::byte b : f.ip.bytes()) h = (h ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
  return static_cast<std::size_t>(h ^ h >> 29);
}

// ---- what is wanted -------------------------------------------------------------------------------------------------

void Planner::claim(const ServiceKey& key, const Service& service, bool add) {
  std::vector<Front> fronts;
  for (const auto& ip : service.cluster_ips) {
    Front vip;
    vip.kind = Front::Kind::vip, vip.family = ip.family(), vip.ip = ip;
    fronts.push_back(vip);
  }
  for (const auto& door : doors_of(service, false, [](std::string) {}))
    if (door.outer()) fronts.push_back(door.front);
  for (const auto& front : fronts) {
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
  for (auto* list : {&facts.service_cidrs, &facts.pod_cidrs, &facts.nodeport_cidrs}) {
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
  // Which endpoints are allowed and which are near depends on these: rare, and then everything is looked at again.
  NodeFacts same = facts;
  same.local_pods = facts_.local_pods, same.nodeport_cidrs = facts_.nodeport_cidrs;
  if (!(same == facts_))
    for (const auto& [key, record] : records_) dirty_.insert(key);
  facts_ = std::move(facts);
  facts_dirty_ = facts_ != facts_placed_;
}

void Planner::disable(Family family) {
  enabled_[index_of(family)] = false;
  for (const auto& [key, record] : records_) dirty_.insert(key);
}

void Planner::tick(Clock::time_point now) {
  for (auto it = growing_.begin(); it != growing_.end();)
    if (it->second <= now) {
      dirty_.insert(it->first);
      it = growing_.erase(it);
    } else {
      ++it;
    }
}

// ---- from a Service to its placement --------------------------------------------------------------------------------

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

std::uint32_t Planner::class_for(Family family, const Draw& draw) {
  bool plain = draw.how == Draw::How::random && !draw.counted;
  if (plain && draw.slots <= kDirectClasses) return draw.slots;
  auto& allotted = allotted_[index_of(family)];
  if (auto it = allotted.find(draw); it != allotted.end()) return it->second;
  std::set<std::uint32_t> taken;
  for (const auto& [d, cls] : allotted) taken.insert(cls);
  std::uint32_t from = plain ? kDirectClasses + 1 : kFirstOtherClass, to = plain ? kLastLargeClass : kLastOtherClass;
  for (std::uint32_t cls = from; cls <= to; ++cls)
    if (!taken.contains(cls)) return allotted[draw] = cls;
  return 0;
}

// The pool's endpoints, slots and classes. False when there is no id for it.
bool Planner::fill_pool(Pool& pool, const Service& service, std::size_t port, const Placement& before, Placement& out,
                        Clock::time_point now, std::vector<std::string>& complaints) {
  const ServicePort& wanted = service.ports[port];
  std::string label = label_of(service.key, wanted.name);
  auto id = ids_.acquire(pool.key, now);
  if (!id) {
    complaints.push_back(fmt::format(
        "{}: all {} service ids are in use; delete services, or wait for ids of deleted ones", label, kMaxId));
    return false;
  }
  pool.id = *id;
  const Pool* had = find_pool(before, pool);
  for (Family f : kFamilies) {
    std::size_t i = index_of(f);
    if (!enabled(f)) continue;
    bool family = std::any_of(service.cluster_ips.begin(), service.cluster_ips.end(),
                              [&](const Ip& ip) { return ip.family() == f && can_be_front(ip); });
    if (!family) continue;
    auto& side = pool.sides[i];
    std::vector<const Endpoint*> usable;
    for (const auto& e : wanted.endpoints)
      if (e.ip.family() == f && endpoint_problem(e).empty()) usable.push_back(&e);
    Chosen chosen = select(usable, facts_.name, facts_.zone);
    const auto& list = pool.scope == Scope::local ? chosen.local : chosen.cluster;
    std::map<base::IpPort, const Backend*> known;
    if (had)
      for (const auto& b : had->sides[i].backends) known[b.at()] = &b;
    std::vector<base::IpPort> at;
    std::vector<Share> shares;
    for (const Endpoint* e : list) {
      base::IpPort where{e->ip, e->port};
      if (!at.empty() && at.back() == where) continue;
      Backend b{e->ip, e->port, e->pod, {}};
      auto old = known.find(where);
      // Endpoints that came together with the service have nobody to take connections from.
      if (old != known.end())
        b.since = old->second->since;
      else if (had && !had->sides[i].backends.empty())
        b.since = now;
      Share share{e->weight, 1};
      if (service.slow_start.count() > 0 && b.since != Clock::time_point{}) {
        share.grown = std::chrono::duration<double>(now - b.since) / service.slow_start;
        if (share.grown < 1) {
          auto step = std::max<Clock::duration>(service.slow_start / 10, std::chrono::milliseconds(100));
          growing_[service.key] = now + step;
        }
      }
      at.push_back(where);
      shares.push_back(share);
      side.backends.push_back(std::move(b));
    }
    if (pool.protocol == Protocol::udp || service.drain)
      for (const Endpoint* e : usable)
        if (e->serving && !(service.drain && e->terminating) &&
            !std::binary_search(at.begin(), at.end(), base::IpPort{e->ip, e->port}))
          side.retired.push_back({e->ip, e->port});
    if (at.empty()) {
      side.cls = pool.scope == Scope::local && !chosen.cluster.empty() ? kNoLocalClass : kRefuseClass;
      continue;
    }
    auto each = slots_each(shares);
    if (pool.how == Draw::How::maglev) {
      side.slots = maglev_table(at, each, maglev_size(at.size()));
    } else {
      std::vector<base::IpPort> slots;
      Front way;  // a way in, for pools whose slots exist once for each
      for (const auto& d : out.doors)
        if (d.fixed == 0 && d.port == out.pools.size() && d.front.family == f) way = d.front;
      bool sticky = pool.how == Draw::How::affinity;
      SlotsOf of{pool.id, sticky ? way.protocol : Protocol::tcp, sticky ? way.port : std::uint16_t{0}};
      if (had)
        for (auto s : had->sides[i].slots) slots.push_back(had->sides[i].backends[s].at());
      else if (auto it = adopted_.slots[i].find(of); it != adopted_.slots[i].end())
        slots = it->second;
      side.slots = assign_slots(slots, at, each);
    }
    side.cls = class_for(f, pool.draw(f));
    if (side.cls == 0) {
      bool plain = pool.how == Draw::How::random && !pool.counted;
      complaints.push_back(fmt::format(
          "{}: {} slots, but all classes for {} are taken by other services: {}", label, side.slots.size(),
          plain ? "so many" : "such a choice",
          plain ? fmt::format("only {} are used", kDirectClasses) : std::string("it is refused until one is free")));
      side.slots.resize(plain ? kDirectClasses : 0);
      side.cls = plain ? kDirectClasses : kRefuseClass;
    }
    if (pool.how != Draw::How::affinity) continue;
    if (auto it = adopted_.numbers[i].find(pool.id); it != adopted_.numbers[i].end())
      for (const auto& [member, number] : it->second) {
        out.numbers[i].emplace(member, number);
        out.last_number[i] = std::max(out.last_number[i], number);
      }
    for (const auto& member : members_of(side.backends))
      if (!out.numbers[i].contains(member)) out.numbers[i][member] = ++out.last_number[i];
  }
  return true;
}

Placement Planner::target(const ServiceKey& key, const Record& record, Clock::time_point now,
                          std::vector<std::string>& complaints) {
  Placement out;
  if (!record.present) return out;
  growing_.erase(key);
  const Service& service = record.wanted;
  out.drain = service.drain;
  auto owner = [&](const Front& front) -> const ServiceKey* {
    auto it = claims_.find(front);
    return it == claims_.end() ? nullptr : it->second.front();
  };
  for (const auto& ip : service.cluster_ips) {
    if (!enabled(ip.family())) continue;
    if (!can_be_front(ip)) {
      complaints.push_back(fmt::format("{}: {} cannot be a ClusterIP", key.to_string(), ip.to_string()));
      continue;
    }
    Front vip;
    vip.kind = Front::Kind::vip, vip.family = ip.family(), vip.ip = ip;
    if (const auto* who = owner(vip); who && *who == key) out.vips.push_back(ip);
  }
  std::sort(out.vips.begin(), out.vips.end());
  out.vips.erase(std::unique(out.vips.begin(), out.vips.end()), out.vips.end());
  out.numbers = record.placed.numbers, out.last_number = record.placed.last_number;

  // Doors that this service has: not another service's, nor one of its own twice.
  std::map<Front, std::size_t> taken;
  std::vector<Door> doors;
  std::set<std::size_t> lost;  // index into doors_of()
  auto all = doors_of(service, facts_.masquerade_all, [&](std::string text) { complaints.push_back(std::move(text)); });
  std::set<std::pair<Front, std::size_t>> refused;  // front ends of a port
  for (const auto& d : all) {
    if (!enabled(d.front.family)) continue;
    if (d.outer()) {
      const auto* who = owner(d.front);
      auto mine = taken.find(d.front);
      bool twice = mine != taken.end();
      if (twice || !who || *who != key) {
        std::string whose = twice || !who || *who == key ? "another port of this service" : who->to_string();
        complaints.push_back(fmt::format("{}: {} already belongs to {}", label_of(key, service.ports[d.port].name),
                                         d.front.to_string(), whose));
        refused.insert({d.front, d.port});
        continue;
      }
      taken[d.front] = d.port;
    } else if (refused.contains({d.front, d.port})) {
      continue;  // what a refused front end leads on to
    }
    doors.push_back(d);
  }

  std::set<std::pair<std::string, Protocol>> names;
  for (std::size_t n = 0; n < service.ports.size(); ++n) {
    const auto& port = service.ports[n];
    std::string label = label_of(key, port.name);
    if (!names.insert({port.name, port.protocol}).second) {
      complaints.push_back(fmt::format("{}: two ports of one name and protocol", label));
      continue;
    }
    for (const auto& e : port.endpoints)
      if (auto problem = endpoint_problem(e); !problem.empty())
        complaints.push_back(
            fmt::format("{}: endpoint {} is left out: {}", label, base::IpPort{e.ip, e.port}.to_string(), problem));
    for (Scope scope : {Scope::cluster, Scope::local}) {
      Pool pool;
      pool.name = port.name, pool.protocol = port.protocol, pool.scope = scope, pool.key = pool_key(service, n, scope);
      pool.how = how_of(service), pool.counted = service.counters, pool.timeout = service.affinity;
      std::size_t before = out.doors.size();
      for (const auto& d : doors)
        if (d.port == n && d.scope == scope) {
          out.doors.push_back(d);
          out.doors.back().port = out.pools.size();
        }
      if (out.doors.size() == before) continue;
      if (fill_pool(pool, service, n, record.placed, out, now, complaints))
        out.pools.push_back(std::move(pool));
      else
        out.doors.resize(before);
    }
  }
  // Doors that lead on stand with the cluster scope; without their pool they are not there either.
  for (const auto& d : out.doors)
    if (d.home == Home::guarded)
      for (const auto& c : service.source_ranges) {
        bool inside_another = std::any_of(
            service.source_ranges.begin(), service.source_ranges.end(),
            [&](const Cidr& o) { return o.family() == c.family() && o.length() < c.length() && o.overlaps(c); });
        bool again = std::find(out.allowed.begin(), out.allowed.end(), std::pair(d.front, c)) != out.allowed.end();
        if (c.family() == d.front.family && !inside_another && !again) out.allowed.emplace_back(d.front, c);
      }
  for (const auto& ip : out.vips) {
    std::size_t i = index_of(ip.family());
    bool served =
        std::any_of(out.pools.begin(), out.pools.end(), [&](const Pool& p) { return !p.sides[i].slots.empty(); });
    auto node = std::find_if(facts_.addresses.begin(), facts_.addresses.end(),
                             [&](const Ip& a) { return a.family() == ip.family(); });
    if (served && node != facts_.addresses.end()) out.pings.emplace_back(ip, *node);
  }
  // Numbers of endpoints that are gone: nobody gets them again.
  for (std::size_t i = 0; i < 2; ++i) {
    std::set<Member> there;
    for (const auto& p : out.pools)
      if (p.how == Draw::How::affinity)
        for (const auto& member : members_of(p.sides[i].backends)) there.insert(member);
    std::erase_if(out.numbers[i], [&](const auto& n) { return !there.contains(n.first); });
  }
  return out;
}

}  // namespace trama::servicelb
