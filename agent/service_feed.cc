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
  }
  if (!begun_ || !(context_ == context)) {
    context_ = context;
    std::set<ServiceKey> all = programmed_keys_;
    for (const auto& [name, service] : view.services()) all.insert({service->key.ns, service->key.name});
    for (const auto& key : all) tell(view, key);
    if (!std::exchange(begun_, true)) sink_.synced();
    return;
  }
  for (const auto& key : dirty.services) tell(view, key);
}

void ServiceFeed::tell(const ClusterView& view, const ServiceKey& key) {
  auto object = view.service(key);
  auto out = compute_service(key, object.get(), view.slices_of(key), context_);
  if (out.refusals.empty()) {
    refusals_.erase(key);
  } else if (auto& known = refusals_[key]; known != out.refusals) {
    auto log = base::logger("services");
    for (const auto& line : out.refusals)
      if (std::find(known.begin(), known.end(), line) == known.end()) log->warn("{}", line);
    known = out.refusals;
  }
  bool had = programmed_keys_.contains(key);
  if (!out.service && !had) return;  // never was ours: a headless Service and its slices change nothing
  if (out.service)
    programmed_keys_.insert(key);
  else
    programmed_keys_.erase(key);
  told_ = programmed_keys_.size();
  generation_ = std::max(generation_, sink_.update(key, std::move(out.service)));
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
