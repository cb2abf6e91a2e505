// SPDX-License-Identifier: GPL-2.0-or-later
// All Nodes -> this node's overlay. Pure.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "overlay/model.h"

namespace trama::agent {

struct TopologyContext {
  std::string node_name;
  std::vector<base::Ip> node_ips;  // ours; the first one's family is the underlay's, those of it are our uplinks
  std::vector<base::Cidr> cluster_cidrs;
  std::string cluster_id;
  bool masquerade = true;
  std::vector<base::Ip> dns;  // addresses that this node answers, as every other
  bool tunnel = false, encrypt = false, direct = false;
  bool wireguard = false;
  std::uint16_t wireguard_port = overlay::kWireguardPort;
};

struct TopologyOutcome {
  std::optional<overlay::Desired> overlay;  // nothing: this node has no pod CIDR yet
  std::vector<base::Cidr> pod_cidrs;        // ours
  std::set<base::Ip> node_addresses;        // every InternalIP of every node
  std::vector<std::string> refusals;        // "node n3 is no peer: its pod CIDR 10.244.1.0/24 overlaps that of n1"
};

// A peer that could harm others is left out and named: an underlay address that is loopback, link-local, multicast or
// another node's; a pod CIDR outside of the cluster's, overlapping another node's, or covering a node's address. Of two
// nodes that claim the same, the older one keeps it. A node without address or pod CIDR is merely not a peer yet.
TopologyOutcome compute_topology(const ClusterView::Objects& nodes, const TopologyContext& context);

// Several InternalIPs of the underlay's family are a node's uplinks: the first overlay::kMostUplinks of them, without
// those that would be refused as a node's only one.

// status.addresses of the given type ("InternalIP"), in order; unreadable ones are skipped.
std::vector<base::Ip> node_addresses(const api::Object& node, std::string_view type = "InternalIP");
// spec.podCIDRs, or spec.podCIDR alone.
std::vector<base::Cidr> node_pod_cidrs(const api::Object& node);
// Its condition NetworkUnavailable holds: its agent has not yet made its network.
bool node_is_starting(const api::Object& node);

}  // namespace trama::agent
