// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/service_page.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::agent {
namespace {

namespace json = boost::json;
using servicelb::ServiceView;
using Kind = ServiceView::Front::Kind;

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::cluster_ip: return "ClusterIP";
    case Kind::node_port: return "NodePort";
    case Kind::external_ip: return "ExternalIP";
    case Kind::load_balancer: return "LoadBalancer";
  }
  return "?";
}
const char* name_of(servicelb::Policy policy) { return policy == servicelb::Policy::local ? "Local" : "Cluster"; }

json::object page_of(const ServiceView::Front& f) {
  json::object out;
  out["kind"] = name_of(f.kind);
  if (f.address) out["address"] = f.address->to_string();
  out["port"] = f.port;
  if (f.mark != 0) out["mark"] = fmt::format("{:#010x}", f.mark);
  if (!f.key.empty()) out["table"] = f.table, out["map"] = f.map, out["key"] = f.key;
  return out;
}

json::object page_of(const ServiceView::Backend& b, bool slots_known) {
  const auto& e = b.endpoint;
  json::object out;
  out["address"] = e.ip.to_string();
  out["port"] = e.port;
  out["pod"] = e.pod;
  out["node"] = e.node;
  out["weight"] = e.weight;
  out["ready"] = e.ready, out["serving"] = e.serving, out["terminating"] = e.terminating;
  out["local"] = b.local;
  if (slots_known) out["slots"] = b.slots;
  if (b.connections) out["connections"] = *b.connections;
  return out;
}

json::object page_of(const ServiceView::Port& p) {
  json::object out;
  out["name"] = p.name;
  out["protocol"] = to_string(p.protocol);
  out["port"] = p.port;
  if (p.id != 0) {
    out["id"] = p.id;
    out["conntrackMark"] = fmt::format("{:#x}/{:#x}", p.id << servicelb::kViewIdShift, ~0u << servicelb::kViewIdShift);
  }
  if (!p.chain.empty()) out["chain"] = p.chain;
  if (!p.endpoints_map.empty()) out["endpointsMap"] = p.endpoints_map;
  if (p.affinity_entries) out["affinityEntries"] = *p.affinity_entries;
  json::array fronts, endpoints;
  for (const auto& f : p.fronts) fronts.push_back(page_of(f));
  for (const auto& b : p.backends) endpoints.push_back(page_of(b, p.id != 0));
  out["fronts"] = std::move(fronts);
  out["endpoints"] = std::move(endpoints);
  return out;
}

}  // namespace

ServiceView told_view(const servicelb::Service& service, const std::string& node) {
  ServiceView view;
  view.key = service.key;
  view.algorithm = service.algorithm;
  view.internal = service.internal, view.external = service.external;
  view.affinity = service.affinity;
  for (const auto& p : service.ports) {
    ServiceView::Port port;
    port.name = p.name, port.protocol = p.protocol, port.port = p.port;
    auto add = [&port](Kind kind, std::optional<base::Ip> address, std::uint16_t number) {
      ServiceView::Front f;
      f.kind = kind, f.address = address, f.port = number;
      port.fronts.push_back(std::move(f));
    };
    for (const auto& ip : service.cluster_ips) add(Kind::cluster_ip, ip, p.port);
    for (const auto& e : service.external_ips)
      add(e.load_balancer ? Kind::load_balancer : Kind::external_ip, e.ip, p.port);
    if (p.node_port != 0) add(Kind::node_port, std::nullopt, p.node_port);
    for (const auto& e : p.endpoints) {
      ServiceView::Backend b;
      b.endpoint = e;
      b.local = !node.empty() && e.node == node;
      port.backends.push_back(std::move(b));
    }
    view.ports.push_back(std::move(port));
  }
  return view;
}

ServiceView best_view(ServiceView told, base::Result<std::optional<ServiceView>> described) {
  told.programmed = false;  // nobody has said so
  if (!described) {
    told.failures.push_back(described.error().to_string());
    return told;
  }
  if (!*described) return told;
  ServiceView view = std::move(**described);
  view.failures.insert(view.failures.end(), told.failures.begin(), told.failures.end());
  return view;
}

json::object service_page(const ServiceView& view, const std::string& node) {
  json::object out;
  out["namespace"] = view.key.ns;
  out["name"] = view.key.name;
  out["node"] = node;
  out["programmed"] = view.programmed;
  out["algorithm"] = to_string(view.algorithm);
  out["internalPolicy"] = name_of(view.internal);
  out["externalPolicy"] = name_of(view.external);
  if (view.affinity.count() > 0) out["affinitySeconds"] = view.affinity.count();
  json::array failures, ports;
  for (const auto& line : view.failures) failures.emplace_back(line);
  for (const auto& p : view.ports) ports.push_back(page_of(p));
  out["failures"] = std::move(failures);
  out["ports"] = std::move(ports);
  return out;
}

std::string nft_page(const ServiceView& view) {
  std::string out = fmt::format("# {}: {} element{}\n", view.key.to_string(), view.elements.size(),
                                view.elements.size() == 1 ? "" : "s");
  if (std::none_of(view.ports.begin(), view.ports.end(), [](const auto& p) { return p.id != 0; }))
    out += "# its elements are not known\n";
  for (const auto& line : view.failures) out += "# not in the kernel: " + line + "\n";
  for (const auto& line : view.elements) out += line + "\n";
  return out;
}

}  // namespace trama::agent
