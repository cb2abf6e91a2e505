// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/local_endpoints.h"

namespace trama::agent {

void LocalEndpoints::update(const ClusterView& view, const std::set<ServiceKey>& changed) {
  for (const auto& key : changed) {
    auto& mine = by_service_[key];
    for (const auto& ip : mine)
      if (--uses_[ip] == 0) uses_.erase(ip);
    mine.clear();
    for (const auto& slice : view.slices_of(key))
      for (const auto& value : api::array_at(slice->body, "endpoints")) {
        const auto* endpoint = value.if_object();
        if (endpoint == nullptr || api::text_at(*endpoint, "nodeName") != node_) continue;
        for (const auto& address : api::array_at(*endpoint, "addresses")) {
          auto ip = address.is_string() ? base::Ip::parse(std::string_view(address.get_string()))
                                        : base::Result<base::Ip>(base::Error::text("no address"));
          if (!ip) continue;
          mine.push_back(*ip);
          ++uses_[*ip];
        }
      }
    if (mine.empty()) by_service_.erase(key);
  }
}

std::vector<base::Ip> LocalEndpoints::addresses() const {
  std::vector<base::Ip> out;
  for (const auto& [ip, uses] : uses_) out.push_back(ip);
  return out;
}

}  // namespace trama::agent
