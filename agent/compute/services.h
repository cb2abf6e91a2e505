// SPDX-License-Identifier: GPL-2.0-or-later
// One Service and its EndpointSlices -> what servicelb should program for it. Pure.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "servicelb/model.h"

namespace trama::agent {

struct ServiceContext {
  std::string node_name;
  std::vector<base::Cidr> service_cidrs;
  std::set<base::Ip> node_addresses;  // of every node: their overlay ports are no legal endpoints
};

struct ServiceOutcome {
  std::optional<servicelb::Service> service;  // nothing: this Service is not ours to program
  std::vector<std::string> refusals;  // "default/web: endpoint 127.0.0.1 of web-x7k2p refused: loopback address"
};

// Skipped as by kube-proxy: label service.kubernetes.io/service-proxy-name, clusterIP None, type ExternalName, no
// Service object; slices labelled service.kubernetes.io/headless and slices of FQDNs.
// Ready endpoints are used; where a port has none in a family, those that still serve while they terminate are.
// Endpoints are checked again at this door, whoever wrote them: loopback, link-local, multicast, unspecified and
// broadcast addresses, addresses of the Service range and the overlay's own ports are refused and named.
ServiceOutcome compute_service(const ServiceKey& key, const api::Object* service,
                               const std::vector<api::ObjectPtr>& slices, const ServiceContext& context);

// Why nothing may be sent to this address: "loopback address"; "" when it is acceptable.
std::string unacceptable(const base::Ip& ip);

}  // namespace trama::agent
