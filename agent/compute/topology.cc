// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/topology.h"

#include <algorithm>
#include <tuple>

#include "agent/compute/services.h"

namespace trama::agent {
namespace {

using base::Cidr;
using base::Ip;

// Prefixes that do not overlap, and whose they are.
using Claims = std::map<Cidr, std::string>;

const Claims::value_type* overlapping(const Claims& claims, const Cidr& cidr) {
  auto next = claims.lower_bound(cidr);
  if (next != claims.end() && next->first.overlaps(cidr)) return &*next;
  if (next != claims.begin() && std::prev(next)->first.overlaps(cidr)) return &*std::prev(next);
  return nullptr;
}

std::string objection_to(const Ip& address, const std::string& node, const std::map<Ip, std::string>& owners) {
  if (auto why = unacceptable(address); !why.empty())
    return fmt::format("its address {} is a {}", address.to_string(), why);
  if (auto it = owners.find(address); it != owners.end() && it->second != node)
    return fmt::format("its address {} is that of {}", address.to_string(), it->second);
  return "";
}

// The first thing that is wrong with a peer, "" if nothing is.
std::string objection(const overlay::Peer& peer, const Claims& claims, const std::map<Ip, std::string>& owners,
                      const TopologyContext& context) {
  if (auto why = objection_to(peer.underlay, peer.node, owners); !why.empty()) return why;
  for (const auto& cidr : peer.pod_cidrs) {
    auto inside = [&](const Cidr& whole) {
      return whole.family() == cidr.family() && whole.length() <= cidr.length() && whole.contains(cidr.address());
    };
    bool same_family = std::any_of(context.cluster_cidrs.begin(), context.cluster_cidrs.end(),
                                   [&](const Cidr& c) { return c.family() == cidr.family(); });
    if (same_family && std::none_of(context.cluster_cidrs.begin(), context.cluster_cidrs.end(), inside))
      return fmt::format("its pod CIDR {} is not one of the cluster's", cidr.to_string());
    if (const auto* claim = overlapping(claims, cidr))
      return fmt::format("its pod CIDR {} overlaps that of {}", cidr.to_string(), claim->second);
    if (auto it = owners.lower_bound(cidr.address()); it != owners.end() && cidr.contains(it->first))
      return fmt::format("its pod CIDR {} covers {}, the address of {}", cidr.to_string(), it->first.to_string(),
                         it->second);
  }
  return "";
}

}  // namespace

std::vector<Ip> node_addresses(const api::Object& node, std::string_view type) {
  std::vector<Ip> out;
  for (const auto& value : api::array_at(node.body, "status.addresses")) {
    if (!value.is_object() || api::text_at(value.get_object(), "type") != type) continue;
    if (auto ip = Ip::parse(api::text_at(value.get_object(), "address"))) out.push_back(*ip);
  }
  return out;
}

std::vector<Cidr> node_pod_cidrs(const api::Object& node) {
  std::vector<Cidr> out;
  for (const auto& value : api::array_at(node.body, "spec.podCIDRs"))
    if (value.is_string())
      if (auto cidr = Cidr::parse(std::string_view(value.get_string()))) out.push_back(*cidr);
  if (out.empty())
    if (auto cidr = Cidr::parse(api::text_at(node.body, "spec.podCIDR"))) out.push_back(*cidr);
  return out;
}

bool node_is_starting(const api::Object& node) {
  for (const auto& value : api::array_at(node.body, "status.conditions"))
    if (value.is_object() && api::text_at(value.get_object(), "type") == "NetworkUnavailable")
      return api::text_at(value.get_object(), "status") == "True";
  return false;
}

TopologyOutcome compute_topology(const ClusterView::Objects& nodes, const TopologyContext& context) {
  TopologyOutcome out;
  std::vector<api::ObjectPtr> by_age;
  for (const auto& [name, node] : nodes) by_age.push_back(node);
  auto age = [](const api::ObjectPtr& n) {
    return std::make_tuple(api::text_at(n->body, "metadata.creationTimestamp"), n->key.name);
  };
  std::sort(by_age.begin(), by_age.end(), [&](const auto& a, const auto& b) { return age(a) < age(b); });

  std::map<Ip, std::string> owners;  // of addresses; the older node keeps a disputed one
  for (const auto& ip : context.node_ips) owners.emplace(ip, context.node_name);
  for (const auto& node : by_age)
    for (const auto& ip : node_addresses(*node))
      if (unacceptable(ip).empty()) owners.emplace(ip, node->key.name);
  for (const auto& [ip, owner] : owners) out.node_addresses.insert(ip);

  overlay::Desired want;
  want.node = context.node_name;
  want.cluster_id = context.cluster_id;
  want.cluster_cidrs = context.cluster_cidrs;
  want.masquerade = context.masquerade;
  want.dns = context.dns;
  want.tunnel = context.tunnel;
  want.encrypt = context.encrypt;
  want.direct = context.direct && !context.encrypt;
  want.wireguard = context.wireguard;
  want.wireguard_port = context.wireguard_port;
  if (auto self = nodes.find(context.node_name); self != nodes.end()) out.pod_cidrs = node_pod_cidrs(*self->second);
  if (context.node_ips.empty() || out.pod_cidrs.empty()) return out;
  want.underlay = context.node_ips.front();
  for (const auto& ip : context.node_ips)
    if (ip.family() == want.underlay.family() && ip != want.underlay) want.further.push_back(ip);
  want.further.resize(std::min(want.further.size(), overlay::kMostUplinks - 1));
  want.pod_cidrs = out.pod_cidrs;

  Claims claims;
  for (const auto& cidr : out.pod_cidrs) claims.emplace(cidr, context.node_name);
  for (const auto& node : by_age) {
    if (node->key.name == context.node_name) continue;
    overlay::Peer peer;
    peer.node = node->key.name;
    peer.pod_cidrs = node_pod_cidrs(*node);
    if (context.tunnel || want.direct) peer.path = overlay::Path::keep;
    peer.told = !want.direct && !want.wireguard;
    auto addresses = node_addresses(*node);
    auto underlay = std::find_if(addresses.begin(), addresses.end(),
                                 [&](const Ip& ip) { return ip.family() == want.underlay.family(); });
    if (underlay == addresses.end() || peer.pod_cidrs.empty()) continue;
    peer.underlay = *underlay;
    std::size_t ignored = 0;
    for (auto further = underlay + 1; further != addresses.end(); ++further) {
      if (further->family() != peer.underlay.family() || *further == peer.underlay) continue;
      auto why = objection_to(*further, peer.node, owners);
      if (why.empty() && peer.further.size() + 1 >= overlay::kMostUplinks)
        ++ignored;
      else if (why.empty())
        peer.further.push_back(*further);
      else
        out.refusals.push_back(fmt::format("an uplink of node {} is left out: {}", peer.node, why));
    }
    if (ignored > 0)
      out.refusals.push_back(fmt::format("node {} announces {} addresses of one family; the first {} are its uplinks",
                                         peer.node, overlay::kMostUplinks + ignored, overlay::kMostUplinks));
    if (auto why = objection(peer, claims, owners, context); !why.empty()) {
      out.refusals.push_back(fmt::format("node {} is no peer: {}", peer.node, why));
      continue;
    }
    for (const auto& cidr : peer.pod_cidrs) claims.emplace(cidr, peer.node);
    want.peers.emplace(peer.node, std::move(peer));
  }
  out.overlay = std::move(want);
  return out;
}

}  // namespace trama::agent
