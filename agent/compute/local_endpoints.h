// SPDX-License-Identifier: GPL-2.0-or-later
// The pods of this node as the EndpointSlices show them: for a node whose pods somebody else runs. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "base/ip.h"

namespace trama::agent {

class LocalEndpoints {
 public:
  explicit LocalEndpoints(std::string node) : node_(std::move(node)) {}
  // Looks at these Services' slices again; a change costs what changed.
  void update(const ClusterView& view, const std::set<ServiceKey>& changed);
  // Each address once, in order.
  std::vector<base::Ip> addresses() const;

 private:
  std::string node_;
  std::map<ServiceKey, std::vector<base::Ip>> by_service_;
  std::map<base::Ip, std::size_t> uses_;
};

}  // namespace trama::agent
