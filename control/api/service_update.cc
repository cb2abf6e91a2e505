// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/service_update.h"

#include <vector>

namespace trama::api {

namespace {

std::string type_of(const json::object& spec) { return text_at(spec, "type", "ClusterIP"); }
bool wants_node_ports(const json::object& spec) {
  auto type = type_of(spec);
  if (type == "LoadBalancer") return bool_at(spec, "allocateLoadBalancerNodePorts", true);
  return type == "NodePort";
}
bool wants_health_port(const json::object& spec) {
  return type_of(spec) == "LoadBalancer" && text_at(spec, "externalTrafficPolicy") == "Local";
}

std::vector<std::string> texts(const json::object& spec, std::string_view field) {
  std::vector<std::string> out;
  for (const auto& v : array_at(spec, field))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

void put_texts(json::object& spec, std::string_view field, const std::vector<std::string>& values) {
  if (values.empty()) return;
  json::array a;
  for (const auto& v : values) a.emplace_back(v);
  spec[field] = std::move(a);
}

json::object* port_like(json::array& ports, const json::object& wanted) {
  for (auto& v : ports)
    if (auto* p = v.if_object(); p != nullptr && int_at(*p, "port") == int_at(wanted, "port") &&
                                 text_at(*p, "protocol", "TCP") == text_at(wanted, "protocol", "TCP"))
      return p;
  return nullptr;
}

}  // namespace

void carry_service_allocations(const json::object& old, json::object& spec) {
  auto type = type_of(spec);
  bool had_ip = type_of(old) != "ExternalName";
  if (type != "ExternalName" && had_ip) {
    if (text_at(spec, "clusterIP").empty() && texts(spec, "clusterIPs").empty()) {
      if (auto ip = text_at(old, "clusterIP"); !ip.empty()) spec["clusterIP"] = ip;
      put_texts(spec, "clusterIPs", texts(old, "clusterIPs"));
    } else if (texts(spec, "clusterIPs").empty() && text_at(spec, "clusterIP") == text_at(old, "clusterIP")) {
      put_texts(spec, "clusterIPs", texts(old, "clusterIPs"));
    }
  }
  if (type == "ExternalName" && had_ip && text_at(spec, "clusterIP") == text_at(old, "clusterIP"))
    for (const char* field : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"})
      spec.erase(field);
  auto* ports = spec.contains("ports") ? spec["ports"].if_array() : nullptr;
  if (ports == nullptr) return;
  json::array before = array_at(old, "ports");
  for (auto& v : *ports) {
    auto* p = v.if_object();
    auto* was = p == nullptr ? nullptr : port_like(before, *p);
    if (was == nullptr) continue;
    auto had = int_at(*was, "nodePort");
    auto has = int_at(*p, "nodePort");
    if (wants_node_ports(spec) && has == 0 && had != 0) (*p)["nodePort"] = had;
    bool keeps_ports = type == "NodePort" || type == "LoadBalancer";
    if (!keeps_ports && has == had) p->erase("nodePort");
  }
  auto health = int_at(old, "healthCheckNodePort");
  if (wants_health_port(spec) && int_at(spec, "healthCheckNodePort") == 0 && health != 0)
    spec["healthCheckNodePort"] = health;
  if (!wants_health_port(spec) && int_at(spec, "healthCheckNodePort") == health) spec.erase("healthCheckNodePort");
}

}  // namespace trama::api
