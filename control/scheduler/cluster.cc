// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/cluster.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace {

// Beyond these the oldest are forgotten; who asks again pays once for counting all nodes.
constexpr std::size_t kCounters = 2'048;
constexpr std::size_t kIdleClasses = 1'024;

std::string identity_of(const PodNeeds& pod) {
  std::string text = pod.key.ns;
  text += pod.terminating ? "|-" : "|+";
  for (const auto& [k, v] : pod.labels) text.append("|").append(k).append("=").append(v);
  if (pod.rules && !pod.rules->carried.empty()) text.append("|").append(pod.rules->carried);
  return text;
}

template <class F>
void each_term(const PodRules& rules, F&& f) {
  using Kind = CarriedTerm::Kind;
  for (const auto& t : rules.away) f(Kind::away, t);
  for (const auto& t : rules.near) f(Kind::near, t);
  for (const auto& t : rules.rather_away) f(Kind::rather_away, t);
  for (const auto& t : rules.rather_near) f(Kind::rather_near, t);
}

}  // namespace

template <class F>
void Cluster::each_count(F&& f) {
  for (auto& [id, c] : counters_) f(c->counts);
  for (auto& [id, t] : carried_) f(t->carriers);
}

// ---- nodes

void Cluster::put_node(NodeState node) {
  std::string taints;
  for (const auto& t : node.taints) taints += fmt::format("{}={}:{},", t.key, t.value, t.effect);
  node.taint_set = taint_sets_.try_emplace(taints, taint_sets_.size()).first->second;
  auto known = by_name_.find(node.name);
  std::size_t slot;
  if (known != by_name_.end()) {
    slot = known->second;
    auto& old = *slots_[slot];
    node.used = old.used;
    node.used_or_assumed = old.used_or_assumed;
    node.pods = old.pods;
    node.host_ports = std::move(old.host_ports);
    node.priorities = std::move(old.priorities);
    bool moves = old.labels != node.labels || !same_taints(old.taints, node.taints);
    if (!moves) {
      old = std::move(node);
      return;
    }
    for (const auto& [c, n] : on_node_[slot])
      for (auto* counts : c->counts) counts->add(slot, -n);
    each_count([&](DomainCounts& counts) { counts.node_goes(slot); });
    old = std::move(node);
  } else {
    if (free_.empty()) {
      slot = slots_.size();
      slots_.emplace_back();
      on_node_.emplace_back();
    } else {
      slot = *free_.begin();
      free_.erase(free_.begin());
    }
    by_name_[node.name] = slot;
    slots_[slot] = std::make_unique<NodeState>(std::move(node));
  }
  each_count([&](DomainCounts& counts) { counts.node_comes(slot, *slots_[slot]); });
  for (const auto& [c, n] : on_node_[slot])
    for (auto* counts : c->counts) counts->add(slot, n);
}

void Cluster::remove_node(const std::string& name) {
  auto known = by_name_.find(name);
  if (known == by_name_.end()) return;
  auto slot = known->second;
  for (const auto& [c, n] : on_node_[slot]) {
    for (auto* counts : c->counts) counts->add(slot, -n);
    c->placed -= n;
    if (c->placed == 0) ++idle_classes_;
  }
  each_count([&](DomainCounts& counts) { counts.node_goes(slot); });
  on_node_[slot].clear();
  slots_[slot].reset();
  by_name_.erase(known);
  free_.insert(slot);
  forget_idle_classes();
}

void Cluster::clear_nodes() {
  while (!by_name_.empty()) remove_node(std::string(by_name_.begin()->first));
  free_.clear();
  slots_.clear();
  on_node_.clear();
}

const NodeState* Cluster::find(const std::string& node) const {
  auto it = by_name_.find(node);
  return it == by_name_.end() ? nullptr : slots_[it->second].get();
}

// ---- namespaces: their labels decide what a namespaceSelector chooses

void Cluster::put_namespace(const std::string& name, Labels labels) {
  auto [it, fresh] = namespaces_.try_emplace(name);
  if (!fresh && it->second == labels) return;
  it->second = std::move(labels);
  match_anew();
}

void Cluster::remove_namespace(const std::string& name) {
  if (namespaces_.erase(name) > 0) match_anew();
}

void Cluster::match_anew() {
  counters_.clear();
  for (auto& [id, c] : classes_) {
    c->counts.clear();
    c->meets.clear();
    for (auto* term : c->carries) c->counts.push_back(&term->carriers);
    for (auto& [text, term] : carried_)
      if (selects(term->term.pods, c->ns, c->labels, namespaces_)) c->meets.push_back(term.get());
  }
}

// ---- pods

bool Cluster::place(const PodNeeds& pod, const std::string& node) {
  auto it = by_name_.find(node);
  if (it == by_name_.end()) return false;
  auto slot = it->second;
  slots_[slot]->place(pod);
  auto& c = ensure_class(pod);
  if (c.placed++ == 0 && idle_classes_ > 0) --idle_classes_;
  ++on_node_[slot][&c];
  for (auto* counts : c.counts) counts->add(slot, 1);
  return true;
}

void Cluster::remove(const PodNeeds& pod, const std::string& node) {
  auto it = by_name_.find(node);
  if (it == by_name_.end()) return;
  auto slot = it->second;
  slots_[slot]->remove(pod);
  auto& c = ensure_class(pod);
  auto here = on_node_[slot].find(&c);
  if (here == on_node_[slot].end()) return;
  if (--here->second == 0) on_node_[slot].erase(here);
  for (auto* counts : c.counts) counts->add(slot, -1);
  if (--c.placed == 0) ++idle_classes_;
  forget_idle_classes();
}

const PodClass& Cluster::class_of(const PodNeeds& pod) {
  forget_idle_classes();
  return ensure_class(pod);
}

PodClass& Cluster::ensure_class(const PodNeeds& pod) {
  auto [it, fresh] = classes_.try_emplace(identity_of(pod));
  if (!fresh) return *it->second;
  it->second = std::make_unique<PodClass>();
  auto& c = *it->second;
  c.ns = pod.key.ns;
  c.labels = pod.labels;
  c.terminating = pod.terminating;
  c.rules = pod.rules;
  ++idle_classes_;
  for (auto& [id, counter] : counters_)
    if (is_counted(*counter, c)) c.counts.push_back(&counter->counts);
  for (auto& [id, term] : carried_)
    if (selects(term->term.pods, c.ns, c.labels, namespaces_)) c.meets.push_back(term.get());
  carry(c);
  return c;
}

void Cluster::carry(PodClass& c) {
  if (!c.rules) return;
  each_term(*c.rules, [&](CarriedTerm::Kind kind, const PodTerm& t) {
    auto id = fmt::format("{}|{}|{}|{}", static_cast<int>(kind), t.weight, t.topology_key, t.pods.text);
    auto& term = carried_[id];
    if (!term) {
      term = std::make_unique<CarriedTerm>(CarriedTerm{kind, t, DomainCounts(t.topology_key, {}), 0});
      for (std::size_t slot = 0; slot < slots_.size(); ++slot)
        if (slots_[slot]) term->carriers.node_comes(slot, *slots_[slot]);
      for (auto& [unused, other] : classes_)
        if (other && selects(t.pods, other->ns, other->labels, namespaces_)) other->meets.push_back(term.get());
    }
    // Twice the same term in one pod counts twice.
    if (std::find(c.carries.begin(), c.carries.end(), term.get()) == c.carries.end()) ++term->classes;
    c.carries.push_back(term.get());
    c.counts.push_back(&term->carriers);
  });
}

bool Cluster::is_counted(const Counter& counter, const PodClass& c) const {
  if (c.terminating && !counter.terminating_too) return false;
  return std::all_of(counter.selectors.begin(), counter.selectors.end(),
                     [&](const PodSelector& s) { return selects(s, c.ns, c.labels, namespaces_); });
}

void Cluster::forget_idle_classes() {
  if (idle_classes_ <= kIdleClasses) return;
  std::set<const CarriedTerm*> gone;
  for (auto it = classes_.begin(); it != classes_.end();) {
    auto& c = *it->second;
    if (c.placed > 0) {
      ++it;
      continue;
    }
    std::set<CarriedTerm*> mine(c.carries.begin(), c.carries.end());
    for (auto* term : mine)
      if (--term->classes == 0) gone.insert(term);
    it = classes_.erase(it);
  }
  idle_classes_ = 0;
  if (gone.empty()) return;
  for (auto& [id, c] : classes_) std::erase_if(c->meets, [&](const CarriedTerm* t) { return gone.contains(t); });
  std::erase_if(carried_, [&](const auto& t) { return gone.contains(t.second.get()); });
}

// ---- counts

const DomainCounts& Cluster::count(const std::vector<const PodSelector*>& selectors, const std::string& topology_key,
                                   bool terminating_too, NodeFilter filter, const std::string& identity) {
  std::string id = topology_key;
  id += terminating_too ? "|+|" : "|-|";
  for (const auto* s : selectors) id.append(s->text).append("&");
  id += identity;
  auto found = counters_.find(id);
  if (found != counters_.end()) {
    found->second->used = ++clock_;
    return found->second->counts;
  }
  if (counters_.size() >= kCounters) forget_old_counters();
  auto made = std::make_unique<Counter>(Counter{{}, terminating_too, DomainCounts(topology_key, std::move(filter)), 0});
  for (const auto* s : selectors) made->selectors.push_back(*s);
  auto& counter = *(counters_[id] = std::move(made));
  counter.used = ++clock_;
  std::set<const PodClass*> part;
  for (auto& [unused, c] : classes_)
    if (is_counted(counter, *c)) {
      c->counts.push_back(&counter.counts);
      part.insert(c.get());
    }
  for (std::size_t slot = 0; slot < slots_.size(); ++slot) {
    if (!slots_[slot]) continue;
    counter.counts.node_comes(slot, *slots_[slot]);
    for (const auto& [c, n] : on_node_[slot])
      if (part.contains(c)) counter.counts.add(slot, n);
  }
  return counter.counts;
}

// The half that was not asked for longest. A choice asks for far fewer than the other half.
void Cluster::forget_old_counters() {
  std::vector<std::uint64_t> times;
  for (const auto& [id, c] : counters_) times.push_back(c->used);
  auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  std::set<const DomainCounts*> gone;
  for (const auto& [id, c] : counters_)
    if (c->used < *middle) gone.insert(&c->counts);
  for (auto& [id, c] : classes_) std::erase_if(c->counts, [&](const DomainCounts* d) { return gone.contains(d); });
  std::erase_if(counters_, [&](const auto& c) { return gone.contains(&c.second->counts); });
}

}  // namespace trama::control
