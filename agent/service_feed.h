// SPDX-License-Identifier: GPL-2.0-or-later
// Changed Services, computed one by one and told to servicelb; and which revisions are in the kernel by now.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/compute/services.h"
#include "agent/service_metrics.h"
#include "servicelb/model.h"

namespace trama::agent {

// Where Services go; servicelb::Reconciler behind two functions, so that the feed can be tested without it.
struct ServiceSink {
  std::function<std::uint64_t(const ServiceKey&, std::optional<servicelb::Service>)> update;
  std::function<std::uint64_t(servicelb::NodeFacts)> set_node;
  std::function<void()> synced;
  // May be empty. Just before update(), for whoever else serves this Service; the object is null when it is gone.
  std::function<void(const ServiceKey&, const api::ObjectPtr&, const ServiceOutcome&)> heard;
  // May be empty. After each update() and set_node().
  std::function<void(const ToldChange&)> told;
};

// Revisions of the API up to which every Service and every EndpointSlice is in the kernel.
struct ProgrammedRevisions {
  std::uint64_t services = 0, slices = 0;
  // All events of both kinds up to here. It lags behind until both watches have seen an event or a bookmark.
  std::uint64_t both() const { return services < slices ? services : slices; }
};

class ServiceFeed {
 public:
  explicit ServiceFeed(ServiceSink sink) : sink_(std::move(sink)) {}

  // Tells what changed; with another context, everything. The first call tells everything and says synced().
  void update(const ClusterView& view, const ClusterView::Dirty& dirty, const ServiceContext& context,
              const servicelb::NodeFacts& facts);
  // The view has seen everything up to these revisions, and all of it was given to update().
  void seen(std::uint64_t services_revision, std::uint64_t slices_revision);
  // servicelb has this generation in the kernel.
  void programmed(std::uint64_t generation);

  ProgrammedRevisions revisions() const { return revisions_; }
  const ServiceMetrics::Totals& totals() const { return totals_; }
  const ServiceContext& context() const { return context_; }  // of the last update()
  // One line per refused endpoint or address.
  std::vector<std::string> refusals() const;

 private:
  // What servicelb was told of one Service.
  struct Known {
    std::uint64_t service_revision = 0, slices_revision = 0;
    std::optional<base::Timestamp> triggered;
    NoLocalEndpoints no_local;
    std::size_t ports = 0, endpoints = 0;
  };
  void tell(const ClusterView& view, const ServiceKey& key);
  void count(const Known& known, bool more);

  ServiceSink sink_;
  ServiceContext context_;
  std::optional<servicelb::NodeFacts> facts_;
  bool begun_ = false;
  std::uint64_t generation_ = 0;  // newest change told
  std::uint64_t programmed_ = 0;
  struct Mark {
    std::uint64_t generation;
    ProgrammedRevisions revisions;
  };
  std::deque<Mark> marks_;
  ProgrammedRevisions revisions_;
  std::map<ServiceKey, std::vector<std::string>> refusals_;
  std::map<ServiceKey, Known> known_;
  ServiceMetrics::Totals totals_;
};

}  // namespace trama::agent
