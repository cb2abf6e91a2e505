// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/service_feed.h"

#include <algorithm>

#include "base/log.h"

namespace trama::agent {

void ServiceFeed::update(const ClusterView& view, const ClusterView::Dirty& dirty, const ServiceContext& context,
                         const servicelb::NodeFacts& facts) {
  if (!facts_ || !(*facts_ == facts)) {
    facts_ = facts;
    generation_ = std::max(generation_, sink_.set_node(facts));
    ToldChange change;
    change.generation = generation_;
    if (sink_.told) sink_.told(change);
  }
  if (!begun_ || !(context_ == context)) {
    context_ = context;
    std::set<ServiceKey> all;
    for (const auto& [key, known] : known_) all.insert(key);
    for (const auto& [name, service] : view.services()) all.insert({service->key.ns, service->key.name});
    for (const auto& key : all) tell(view, key);
    if (!std::exchange(begun_, true)) sink_.synced();
    return;
  }
  for (const auto& key : dirty.services) tell(view, key);
}

void ServiceFeed::count(const Known& known, bool more) {
  auto change = [more](auto& total, auto part) { total = more ? total + part : total - part; };
  change(totals_.services, 1u);
  change(totals_.ports, known.ports);
  change(totals_.endpoints, known.endpoints);
  change(totals_.no_local.internal, known.no_local.internal);
  change(totals_.no_local.external, known.no_local.external);
}

void ServiceFeed::tell(const ClusterView& view, const ServiceKey& key) {
  auto object = view.service(key);
  auto slices = view.slices_of(key);
  auto out = compute_service(key, object.get(), slices, context_);
  if (out.refusals.empty()) {
    refusals_.erase(key);
  } else if (auto& lines = refusals_[key]; lines != out.refusals) {
    auto log = base::logger("services");
    for (const auto& line : out.refusals)
      if (std::find(lines.begin(), lines.end(), line) == lines.end()) log->warn("{}", line);
    lines = out.refusals;
  }
  auto before = known_.find(key);
  bool had = before != known_.end();
  if (!out.service && !had) return;  // never was ours: a headless Service and its slices change nothing
  Known now;
  now.service_revision = object ? object->revision : 0;
  for (const auto& slice : slices) now.slices_revision = now.slices_revision * 31 + slice->revision;
  now.triggered = out.triggered;
  now.no_local = out.no_local;
  ToldChange change;
  change.service = !had || !out.service || before->second.service_revision != now.service_revision;
  change.endpoints = had ? before->second.slices_revision != now.slices_revision : !slices.empty();
  if (out.triggered && (!had || before->second.triggered != out.triggered)) change.triggered = out.triggered;
  if (had) count(before->second, false);
  if (out.service) {
    now.ports = out.service->ports.size();
    for (const auto& port : out.service->ports) now.endpoints += port.endpoints.size();
    count(now, true);
    known_[key] = now;
  } else {
    known_.erase(key);
  }
  if (sink_.heard) sink_.heard(key, object, out);
  generation_ = std::max(generation_, sink_.update(key, std::move(out.service)));
  change.generation = generation_;
  if (sink_.told) sink_.told(change);
}

void ServiceFeed::seen(std::uint64_t services_revision, std::uint64_t slices_revision) {
  if (!begun_) return;
  ProgrammedRevisions now{services_revision, slices_revision};
  if (generation_ <= programmed_) {
    revisions_ = now;
    marks_.clear();
    return;
  }
  if (!marks_.empty() && marks_.back().generation == generation_)
    marks_.back().revisions = now;
  else
    marks_.push_back({generation_, now});
}

void ServiceFeed::programmed(std::uint64_t generation) {
  programmed_ = std::max(programmed_, generation);
  while (!marks_.empty() && marks_.front().generation <= programmed_) {
    revisions_ = marks_.front().revisions;
    marks_.pop_front();
  }
}

std::vector<std::string> ServiceFeed::refusals() const {
  std::vector<std::string> out;
  for (const auto& [key, lines] : refusals_) out.insert(out.end(), lines.begin(), lines.end());
  return out;
}

}  // namespace trama::agent
