// SPDX-License-Identifier: GPL-2.0-or-later
// Services as values. No I/O, no clock.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"

namespace trama::servicelb {

using base::Cidr;
using base::Ip;

enum class Protocol : std::uint8_t { tcp = 6, udp = 17, sctp = 132 };

std::string to_string(Protocol p);

struct Endpoint {
  Ip ip;
  std::uint16_t port = 0;
  std::string pod;  // for comments: "default/web-1"
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// One port of one Service: the unit that has endpoints.
struct ServicePort {
  std::string name;  // "" when the Service has one unnamed port
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;      // 0 = none
  std::vector<Endpoint> endpoints;  // ready ones, sorted, unique, of every family
  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

struct ServiceKey {
  std::string ns, name;
  std::string to_string() const { return ns + "/" + name; }
  friend auto operator<=>(const ServiceKey&, const ServiceKey&) = default;
};

struct Service {
  ServiceKey key;
  std::vector<Ip> cluster_ips;  // one per family at most
  std::vector<ServicePort> ports;
  friend bool operator==(const Service&, const Service&) = default;
};

// What the node knows beside the Services.
struct NodeFacts {
  std::vector<Cidr> service_cidrs;  // addresses in here that no Service owns are dropped
  std::vector<Cidr> pod_cidrs;      // of the whole cluster: sources outside are masqueraded when they use a ClusterIP
  std::vector<Ip> local_pods;       // hairpin: one element per local pod
  // Ports of the node's own plumbing: no endpoint outside pod_cidrs, or a Service would be a way around the filters.
  std::vector<std::uint16_t> reserved_ports{6783, 6784};
  friend bool operator==(const NodeFacts&, const NodeFacts&) = default;
};

// What happens to one Service when the node is told.
struct Change {
  ServiceKey key;
  std::optional<Service> service;  // nothing = it is gone
};

}  // namespace trama::servicelb
