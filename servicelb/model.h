// SPDX-License-Identifier: GPL-2.0-or-later
// Services as values. No I/O, no clock.
#pragma once

#include <chrono>
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
  std::string pod;   // for comments: "default/web-1"
  std::string node;  // where it runs; "" = nobody knows
  bool ready = true, serving = true, terminating = false;
  std::vector<std::string> zones, nodes;  // hints: whom it is meant for; none = no hint
  std::uint32_t weight = 1;               // 0 = no new connections
  friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// One port of one Service: the unit that has endpoints.
struct ServicePort {
  std::string name;  // "" when the Service has one unnamed port
  Protocol protocol = Protocol::tcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;      // 0 = none
  std::vector<Endpoint> endpoints;  // all that are told of, sorted, unique by address and port, of every family
  friend bool operator==(const ServicePort&, const ServicePort&) = default;
};

struct ServiceKey {
  std::string ns, name;
  std::string to_string() const { return ns + "/" + name; }
  friend auto operator<=>(const ServiceKey&, const ServiceKey&) = default;
};

// An address outside the Service ranges at which a Service answers, too.
struct ExternalIp {
  Ip ip;
  bool load_balancer = false;  // source ranges apply
  friend auto operator<=>(const ExternalIp&, const ExternalIp&) = default;
};

enum class Policy : std::uint8_t { cluster, local };  // whose endpoints: everybody's, or this node's only
enum class Algorithm : std::uint8_t { random, round_robin, source_hash, maglev };
std::string to_string(Algorithm a);

struct Service {
  ServiceKey key;
  std::vector<Ip> cluster_ips;  // one per family at most
  std::vector<ExternalIp> external_ips;
  std::vector<Cidr> source_ranges;  // who may use load balancer addresses; none = everybody
  std::vector<ServicePort> ports;
  Policy internal = Policy::cluster, external = Policy::cluster;
  std::chrono::seconds affinity{0};  // a client keeps its endpoint, on every port, until it pauses so long; 0 = off
  Algorithm algorithm = Algorithm::random;
  std::chrono::seconds slow_start{0};         // a new endpoint's share grows over so long
  std::optional<std::chrono::seconds> drain;  // how long connections of a gone endpoint may go on; nothing = no bound
  bool counters = false;                      // new connections are counted for each endpoint
  friend bool operator==(const Service&, const Service&) = default;
};

// What the node knows beside the Services.
struct NodeFacts {
  std::string name, zone;
  std::vector<Ip> addresses;         // of this node; the first of a family answers pings to ClusterIPs
  std::vector<Cidr> service_cidrs;   // addresses in here that no Service owns are dropped
  std::vector<Cidr> pod_cidrs;       // of the whole cluster: sources outside are masqueraded when they use a ClusterIP
  std::vector<Ip> local_pods;        // hairpin: one element per local pod
  std::vector<Cidr> nodeport_cidrs;  // which addresses have node ports; none of a family = all but loopback
  bool masquerade_all = false;       // whoever uses a ClusterIP seems to be this node
  // Ports of the node's own plumbing: no endpoint outside pod_cidrs, or a Service would be a way around the filters.
  std::vector<std::uint16_t> reserved_ports{6783, 6784, 6785};
  friend bool operator==(const NodeFacts&, const NodeFacts&) = default;
};

// What happens to one Service when the node is told.
struct Change {
  ServiceKey key;
  std::optional<Service> service;  // nothing = it is gone
};

}  // namespace trama::servicelb
