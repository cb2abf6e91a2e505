// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/service_reference.h"

#include <algorithm>

namespace trama::test {
namespace {
using namespace servicelb;  // NOLINT

bool in(const std::vector<base::Cidr>& list, const base::Ip& ip) {
  return std::any_of(list.begin(), list.end(), [&](const base::Cidr& c) { return c.contains(ip); });
}
bool named(const std::vector<std::string>& list, const std::string& what) {
  return std::count(list.begin(), list.end(), what) > 0;
}

// KEP-1669: ready ones, else those that serve while they terminate.
std::vector<Endpoint> usable(const std::vector<Endpoint>& list) {
  std::vector<Endpoint> ready, leaving;
  for (const auto& e : list)
    if (e.ready)
      ready.push_back(e);
    else if (e.serving && e.terminating)
      leaving.push_back(e);
  return ready.empty() ? leaving : ready;
}
// KEP-2433: hints count when every ready endpoint has one and one is for here.
std::vector<Endpoint> near(const std::vector<Endpoint>& list, const std::string& node, const std::string& zone) {
  std::vector<Endpoint> ready;
  for (const auto& e : list)
    if (e.ready) ready.push_back(e);
  for (bool by_node : {true, false}) {
    bool all = true;
    std::vector<Endpoint> here;
    for (const auto& e : ready) {
      const auto& hints = by_node ? e.nodes : e.zones;
      all = all && !hints.empty();
      if (named(hints, by_node ? node : zone)) here.push_back(e);
    }
    if (all && !here.empty()) return here;
  }
  return usable(list);
}
}  // namespace

ServiceWorld::Answer ServiceWorld::to_endpoints(const Service& service, const ServicePort& port, bool v4, bool local,
                                                bool masquerade) const {
  std::vector<Endpoint> family, here;
  for (const auto& e : port.endpoints)
    if (e.ip.is_v4() == v4 && e.weight > 0) {
      family.push_back(e);
      if (e.node == node.name) here.push_back(e);
    }
  auto cluster = near(family, node.name, node.zone);
  auto chosen = local ? usable(here) : cluster;
  Answer a;
  if (chosen.empty()) {
    a.kind = local && !cluster.empty() ? Fate::Kind::dropped : Fate::Kind::refused;
    return a;
  }
  a.kind = Fate::Kind::translated, a.masqueraded = masquerade;
  a.exact = service.affinity.count() > 0 || service.algorithm != Algorithm::maglev;
  for (const auto& e : chosen) a.shares[{e.ip, e.port}] = e.weight;
  return a;
}

ServiceWorld::Answer ServiceWorld::ask(const Packet& p) const {
  bool v4 = p.destination.is_v4();
  bool from_pod = in(node.pod_cidrs, p.source);
  for (const auto& [key, s] : services) {  // smallest key first: it wins
    bool family =
        std::any_of(s.cluster_ips.begin(), s.cluster_ips.end(), [&](const Ip& ip) { return ip.is_v4() == v4; });
    bool is_vip = std::count(s.cluster_ips.begin(), s.cluster_ips.end(), p.destination) > 0;
    auto external = std::find_if(s.external_ips.begin(), s.external_ips.end(),
                                 [&](const ExternalIp& e) { return e.ip == p.destination; });
    for (const auto& port : s.ports) {
      if (port.protocol != p.protocol) continue;
      if (is_vip && port.port == p.port)
        return to_endpoints(s, port, v4, s.internal == Policy::local, !from_pod || node.masquerade_all);
      bool by_address = family && external != s.external_ips.end() && port.port == p.port;
      std::vector<base::Cidr> node_port_ranges;
      for (const auto& c : node.nodeport_cidrs)
        if (c.address().is_v4() == v4) node_port_ranges.push_back(c);
      bool here = node_port_ranges.empty() || in(node_port_ranges, p.destination);
      bool by_port = family && p.to_node && here && port.node_port == p.port && p.port != 0;
      if (!by_address && !by_port) continue;
      if (by_address && external->load_balancer) {
        std::vector<base::Cidr> ranges;
        for (const auto& c : s.source_ranges)
          if (c.address().is_v4() == v4) ranges.push_back(c);
        if (!ranges.empty() && !in(ranges, p.source)) {
          Answer a;
          a.kind = Fate::Kind::dropped;
          return a;
        }
      }
      if (s.external == Policy::cluster) return to_endpoints(s, port, v4, false, true);
      if (from_pod) return to_endpoints(s, port, v4, false, false);
      if (p.from_node) return to_endpoints(s, port, v4, false, true);
      return to_endpoints(s, port, v4, true, false);
    }
  }
  Answer nobody;
  bool a_vip = std::any_of(services.begin(), services.end(), [&](const auto& s) {
    return std::count(s.second.cluster_ips.begin(), s.second.cluster_ips.end(), p.destination) > 0;
  });
  if (a_vip)
    nobody.kind = Fate::Kind::refused;
  else if (in(node.service_cidrs, p.destination))
    nobody.kind = Fate::Kind::dropped;
  return nobody;
}

}  // namespace trama::test
