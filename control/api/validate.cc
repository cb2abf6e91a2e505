// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/validate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/ip.h"
#include "control/api/service_options.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool alnum(char c) { return lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

void metadata(const Kind& kind, Causes& out, const json::object& body, const json::object* old) {
  auto name = text_at(body, "metadata.name");
  if (name.empty()) {
    required(out, "metadata.name", "name or generateName is required");
  } else if (kind.resource == "services") {
    if (!is_service_name(name)) invalid(out, "metadata.name", in_quotes(name), kServiceRule);
  } else if (kind.resource == "namespaces") {
    if (!is_dns_label(name)) invalid(out, "metadata.name", in_quotes(name), kLabelRule);
  } else if (!is_dns_subdomain(name)) {
    invalid(out, "metadata.name", in_quotes(name), kSubdomainRule);
  }
  labels(out, body, "metadata.labels");
  std::size_t size = 0;
  for (const auto& [key, value] : object_at(body, "metadata.annotations")) {
    if (!is_label_key(std::string_view(key)))
      invalid(out, "metadata.annotations", in_quotes(std::string_view(key)),
              "name part must consist of alphanumeric characters, '-', '_' or '.'");
    size += key.size() + (value.is_string() ? value.get_string().size() : 0);
  }
  if (size > 262'144)
    out.push_back({"FieldValueTooLong", "Too long: must have at most 262144 bytes", "metadata.annotations"});
  if (!old) return;
  for (const char* field : {"metadata.uid", "metadata.creationTimestamp"}) {
    auto was = text_at(*old, field), is = text_at(body, field);
    if (was != is) invalid(out, field, in_quotes(is), "field is immutable");
  }
}

void ip_list(Causes& out, const json::object& body, const std::string& path) {
  const auto& list = array_at(body, path);
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].is_string() && !base::Ip::parse(std::string_view(list[i].get_string())))
      invalid(out, fmt::format("{}[{}]", path, i), shown(list[i]),
              "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
}

// What would make a load balancer's filter say something else than its author thinks.
void source_ranges(Causes& out, const json::object& body) {
  const auto& list = array_at(body, "spec.loadBalancerSourceRanges");
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].is_string() && !parse_source_range(std::string_view(list[i].get_string())))
      invalid(out, fmt::format("spec.loadBalancerSourceRanges[{}]", i), shown(list[i]),
              "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
}

void service(Causes& out, const json::object& body, const json::object* old) {
  auto type = text_at(body, "spec.type");
  auto ip = text_at(body, "spec.clusterIP");
  bool headless = ip == "None";
  const auto& ports = array_at(body, "spec.ports");
  if (ports.empty() && type != "ExternalName" && !headless) required(out, "spec.ports");
  std::set<std::string> names, numbers, node_ports;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (!ports[i].is_object()) continue;
    const auto& p = ports[i].get_object();
    auto here = fmt::format("spec.ports[{}]", i);
    auto name = text_at(p, "name");
    if (name.empty() && ports.size() > 1) required(out, here + ".name");
    if (!name.empty() && !is_dns_label(name)) invalid(out, here + ".name", in_quotes(name), kLabelRule);
    if (!name.empty() && !names.insert(name).second) duplicate(out, here + ".name", in_quotes(name));
    port_number(out, p, "port", here, false);
    target_port(out, at(p, "targetPort"), here + ".targetPort");
    auto id = fmt::format("{}/{}", int_at(p, "port"), text_at(p, "protocol"));
    if (!numbers.insert(id).second) duplicate(out, here, fmt::format("port {}", id));
    auto node_port = int_at(p, "nodePort");
    if (node_port && type == "ClusterIP")
      forbidden(out, here + ".nodePort", "may not be used when `type` is 'ClusterIP'");
    if (node_port && (node_port < 1 || node_port > 65535))
      invalid(out, here + ".nodePort", std::to_string(node_port), "must be between 1 and 65535, inclusive");
    if (node_port && !node_ports.insert(fmt::format("{}/{}", node_port, text_at(p, "protocol"))).second)
      duplicate(out, here + ".nodePort", std::to_string(node_port));
  }
  labels(out, body, "spec.selector");
  if (!ip.empty() && !headless && !base::Ip::parse(ip))
    invalid(out, "spec.clusterIP", in_quotes(ip), "must be empty, 'None', or a valid IP address");
  ip_list(out, body, "spec.externalIPs");
  source_ranges(out, body);
  for (const auto& fault : read_service_options(object_at(body, "metadata.annotations")).faults)
    invalid(out, fmt::format("metadata.annotations[{}]", fault.annotation), in_quotes(fault.value), fault.why);
  if (headless && (type == "NodePort" || type == "LoadBalancer"))
    invalid(out, "spec.clusterIPs[0]", "\"None\"", fmt::format("may not be set to 'None' for {} services", type));
  if (type == "ExternalName") {
    auto name = text_at(body, "spec.externalName");
    if (name.empty())
      required(out, "spec.externalName");
    else if (!is_dns_subdomain(name))
      invalid(out, "spec.externalName", in_quotes(name), kSubdomainRule);
    if (!ip.empty()) forbidden(out, "spec.clusterIPs", "may not be set for ExternalName services");
  }
  auto timeout = int_at(body, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 1);
  if (timeout < 1 || timeout > 86'400)
    invalid(out, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", std::to_string(timeout),
            "must be greater than 0 and less than 86400");
  if (!old) return;
  auto was = text_at(*old, "spec.clusterIP");
  if (!was.empty() && text_at(*old, "spec.type") != "ExternalName" && type != "ExternalName" && was != ip)
    invalid(out, "spec.clusterIPs[0]", fmt::format("[\"{}\"]", ip), "may not change once set");
}

void node(Causes& out, const json::object& body, const json::object* old) {
  auto cidr = text_at(body, "spec.podCIDR");
  if (!cidr.empty() && !base::Cidr::parse(cidr))
    invalid(out, "spec.podCIDR", in_quotes(cidr), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  if (old && !text_at(*old, "spec.podCIDR").empty() && text_at(*old, "spec.podCIDR") != cidr)
    forbidden(out, "spec.podCIDR", "node updates may not change podCIDR except from \"\" to valid");
}

}  // namespace

bool is_dns_label(std::string_view s) {
  if (s.empty() || s.size() > 63 || !lower_alnum(s.front()) || !lower_alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return lower_alnum(c) || c == '-'; });
}
bool is_dns_subdomain(std::string_view s) {
  if (s.empty() || s.size() > 253) return false;
  while (true) {
    auto dot = s.find('.');
    auto part = s.substr(0, dot);
    if (part.empty() || !lower_alnum(part.front()) || !lower_alnum(part.back())) return false;
    if (!std::all_of(part.begin(), part.end(), [](char c) { return lower_alnum(c) || c == '-'; })) return false;
    if (dot == std::string_view::npos) return true;
    s = s.substr(dot + 1);
  }
}
bool is_service_name(std::string_view s) { return is_dns_label(s) && s.front() >= 'a' && s.front() <= 'z'; }
bool is_label_key(std::string_view s) {
  auto slash = s.find('/');
  if (slash != std::string_view::npos) {
    if (!is_dns_subdomain(s.substr(0, slash))) return false;
    s = s.substr(slash + 1);
  }
  return !s.empty() && is_label_value(s);
}
bool is_label_value(std::string_view s) {
  if (s.empty()) return true;
  if (s.size() > 63 || !alnum(s.front()) || !alnum(s.back())) return false;
  return std::all_of(s.begin(), s.end(), [](char c) { return alnum(c) || c == '-' || c == '_' || c == '.'; });
}
bool is_port_name(std::string_view s) {
  if (s.empty() || s.size() > 15 || s.front() == '-' || s.back() == '-') return false;
  bool letter = false;
  for (char c : s) {
    if (!lower_alnum(c) && c != '-') return false;
    letter |= c >= 'a' && c <= 'z';
  }
  return letter;
}

std::vector<Cause> validate(const Kind& kind, const json::object& body, const json::object* old) {
  Causes out;
  metadata(kind, out, body, old);
  if (kind.resource == "pods") validate_pod(out, body, old);
  if (kind.resource == "services") service(out, body, old);
  if (kind.resource == "deployments" || kind.resource == "replicasets") validate_replicas(out, body, old);
  if (kind.resource == "daemonsets") validate_daemon_set(out, body, old);
  if (kind.resource == "jobs") validate_job(out, body, old);
  if (kind.resource == "networkpolicies") validate_network_policy(out, body);
  if (kind.resource == "nodes") node(out, body, old);
  if (kind.resource == "configmaps") validate_config_map(out, body, old);
  if (kind.resource == "secrets") validate_secret(out, body, old);
  if (kind.resource == "serviceaccounts") validate_service_account(out, body);
  if (kind.resource == "endpoints") validate_endpoints(out, body);
  if (kind.resource == "endpointslices") validate_endpoint_slice(out, body, old);
  if (kind.resource == "controllerrevisions") validate_controller_revision(out, body, old);
  return out;
}

}  // namespace trama::api
