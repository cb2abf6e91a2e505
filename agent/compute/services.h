// SPDX-License-Identifier: GPL-2.0-or-later
// One Service and its EndpointSlices -> what servicelb should program for it. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/compute/endpoints.h"
#include "base/timestamp.h"
#include "servicelb/model.h"

namespace trama::agent {

// The ClusterIPs that a Service has, in its order; none if it is headless or an ExternalName.
std::vector<base::Ip> cluster_ips(const api::Object& service);

struct ServiceContext {
  std::string node_name;
  std::vector<base::Cidr> service_cidrs;
  std::set<base::Ip> node_addresses;  // of every node
  // Whoever may write a Service may claim any address with spec.externalIPs (CVE-2020-8554).
  bool allow_external_ips = false;
  friend bool operator==(const ServiceContext&, const ServiceContext&) = default;
};

// Ports of one Service whose traffic is dropped on this node: the policy is Local, and no endpoint is here.
struct NoLocalEndpoints {
  unsigned internal = 0, external = 0;
};

struct ServiceOutcome {
  std::optional<servicelb::Service> service;  // nothing: this Service is not ours to program
  std::vector<std::string> refusals;  // "default/web: endpoint 127.0.0.1 of web-x7k2p refused: loopback address"
  // spec.healthCheckNodePort of a load balancer that only wants nodes with endpoints; 0 = none.
  std::uint16_t health_check_port = 0;
  std::size_t local_endpoints = 0;  // addresses of this node's ready endpoints, over all ports
  NoLocalEndpoints no_local;
  // Newest annotation endpoints.kubernetes.io/last-change-trigger-time: when what the slices tell came about.
  std::optional<base::Timestamp> triggered;
};

// Skipped as by kube-proxy: labels service.kubernetes.io/service-proxy-name and service.kubernetes.io/headless,
// clusterIP None, type ExternalName, no Service object.
// Nothing is believed twice: addresses and endpoints are checked again at this door, whoever wrote them. Loopback,
// link-local, multicast, unspecified and broadcast addresses, addresses of the Service range and the overlay's own
// ports are refused and named, and so is every field and annotation that cannot be used; the rest is served.
// A load balancer whose source ranges are all unreadable has no external address: nobody instead of everybody.
ServiceOutcome compute_service(const ServiceKey& key, const api::Object* service,
                               const std::vector<api::ObjectPtr>& slices, const ServiceContext& context);

}  // namespace trama::agent
