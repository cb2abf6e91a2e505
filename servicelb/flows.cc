// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/flows.h"

#include <algorithm>
#include <set>

namespace trama::servicelb {
namespace {
struct Side {
  std::vector<base::IpPort> endpoints;
  std::set<Front> fronts;  // that lead to endpoints
  bool udp = false;
};
using Sides = std::map<std::pair<Family, std::uint32_t>, Side>;

Sides sides_of(const Placement& p) {
  Sides out;
  for (const auto& pool : p.pools)
    for (Family f : kFamilies) {
      const auto& side = pool.sides[index_of(f)];
      if (side.cls == 0) continue;
      auto& to = out[{f, pool.id}];
      for (const auto& b : side.backends) to.endpoints.push_back(b.at());
      to.endpoints.insert(to.endpoints.end(), side.retired.begin(), side.retired.end());
      to.udp |= pool.protocol == Protocol::udp;
    }
  for (const auto& d : p.doors)
    if (d.fixed == 0) out[{d.front.family, p.pools.at(d.port).id}].fronts.insert(d.front);
  for (Family f : kFamilies) {
    Side all;
    for (const auto& [key, side] : out)
      if (key.first == f) {
        all.endpoints.insert(all.endpoints.end(), side.endpoints.begin(), side.endpoints.end());
        all.udp |= side.udp;
      }
    for (auto id : p.former_ids) out.emplace(std::pair(f, id), all);
  }
  for (auto& [key, side] : out) {
    std::sort(side.endpoints.begin(), side.endpoints.end());
    side.endpoints.erase(std::unique(side.endpoints.begin(), side.endpoints.end()), side.endpoints.end());
  }
  return out;
}
}  // namespace

Clock::time_point Flows::Entry::next() const {
  auto at = Clock::time_point::max();
  if (!untranslated.empty()) at = Clock::time_point::min();
  if (sweep) at = std::min(at, *sweep);
  for (const auto& [endpoint, due] : leaving) at = std::min(at, due);
  return at;
}

void Flows::drop_time(Key key, const Entry& entry) {
  auto [from, to] = times_.equal_range(entry.next());
  for (auto it = from; it != to; ++it)
    if (it->second == key) {
      times_.erase(it);
      return;
    }
}
void Flows::put(Key key, Entry entry) {
  if (auto it = entries_.find(key); it != entries_.end()) drop_time(key, it->second);
  if (entry.next() == Clock::time_point::max()) {
    entries_.erase(key);
    return;
  }
  times_.emplace(entry.next(), key);
  entries_[key] = std::move(entry);
}

void Flows::changed(const Placement& before, const Placement& after, std::optional<std::chrono::seconds> drain,
                    Clock::time_point now) {
  auto was = sides_of(before), is = sides_of(after);
  std::set<Key> keys;
  for (const auto& [key, side] : was) keys.insert(key);
  for (const auto& [key, side] : is) keys.insert(key);
  static const Side kNone;
  for (const auto& key : keys) {
    auto find = [&key](const Sides& all) -> const Side& {
      auto it = all.find(key);
      return it == all.end() ? kNone : it->second;
    };
    const Side &old = find(was), &next = find(is);
    auto it = entries_.find(key);
    if (!drain && !old.udp && !next.udp && it == entries_.end()) continue;
    Entry entry = it == entries_.end() ? Entry{} : it->second;
    entry.connections |= drain.has_value();
    auto due = drain ? now + *drain : now;
    for (const auto& e : old.endpoints)
      if (!std::binary_search(next.endpoints.begin(), next.endpoints.end(), e)) entry.leaving.emplace(e, due);
    for (const auto& e : next.endpoints) entry.leaving.erase(e);
    entry.endpoints = next.endpoints;
    // Whoever tried to connect before was refused or dropped, and tries again; only a datagram's flow goes on.
    for (const auto& front : next.fronts)
      if (front.protocol == Protocol::udp && !old.fronts.contains(front)) entry.untranslated.push_back(front);
    put(key, std::move(entry));
  }
}

void Flows::unknown(const Placement& placed, std::optional<std::chrono::seconds> drain, Clock::time_point now) {
  for (auto& [key, side] : sides_of(placed)) {
    if (!drain && !side.udp) continue;
    auto it = entries_.find(key);
    Entry entry = it == entries_.end() ? Entry{} : it->second;
    entry.connections |= drain.has_value();
    entry.endpoints = std::move(side.endpoints);
    entry.sweep = drain ? now + *drain : now;
    put(key, std::move(entry));
  }
}
void Flows::rules_were_missing(const Placement& placed) {
  for (auto& [key, side] : sides_of(placed)) {
    if (side.fronts.empty()) continue;
    auto it = entries_.find(key);
    Entry entry = it == entries_.end() ? Entry{} : it->second;
    entry.endpoints = std::move(side.endpoints);
    entry.untranslated.assign(side.fronts.begin(), side.fronts.end());
    put(key, std::move(entry));
  }
}
void Flows::orphaned(Family family, std::uint32_t id, Clock::time_point now) {
  Entry entry;
  entry.sweep = now;
  put({family, id}, std::move(entry));
}

bool Flows::due(Clock::time_point now) const { return !times_.empty() && times_.begin()->first <= now; }

std::vector<FlowsOf> Flows::stale(Clock::time_point now) const {
  std::vector<FlowsOf> out;
  for (auto it = times_.begin(); it != times_.end() && it->first <= now; ++it) {
    const Entry& entry = entries_.at(it->second);
    FlowsOf flows;
    flows.family = it->second.first, flows.id = it->second.second;
    flows.endpoints = entry.endpoints, flows.untranslated = entry.untranslated, flows.connections = entry.connections;
    for (const auto& [endpoint, due] : entry.leaving)
      if (due > now) flows.endpoints.push_back(endpoint);
    std::sort(flows.endpoints.begin(), flows.endpoints.end());
    out.push_back(std::move(flows));
  }
  return out;
}

void Flows::done(const std::vector<FlowsOf>& list, Clock::time_point asked) {
  for (const auto& f : list) {
    Key key{f.family, f.id};
    auto it = entries_.find(key);
    if (it == entries_.end()) continue;
    Entry entry = it->second;
    std::erase_if(entry.leaving, [&](const auto& l) { return l.second <= asked; });
    if (entry.sweep && *entry.sweep <= asked) entry.sweep.reset();
    std::erase_if(entry.untranslated, [&](const Front& front) {
      return std::find(f.untranslated.begin(), f.untranslated.end(), front) != f.untranslated.end();
    });
    put(key, std::move(entry));
  }
}

}  // namespace trama::servicelb
