// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/validate.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/ip.h"
#include "control/api/quantity.h"
#include "control/api/service_options.h"

namespace trama::api {
namespace {

using Causes = std::vector<Cause>;

constexpr std::string_view kLabelRule =
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an "
    "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
constexpr std::string_view kSubdomainRule =
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with "
    "an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
constexpr std::string_view kServiceRule =
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end "
    "with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')";

std::string shown(const json::value& v) { return json::serialize(v).substr(0, 200); }
std::string in_quotes(std::string_view v) { return fmt::format("\"{}\"", v.substr(0, 200)); }

void invalid(Causes& out, const std::string& field, const std::string& value, std::string_view why) {
  out.push_back({"FieldValueInvalid", fmt::format("Invalid value: {}: {}", value, why), field});
}
void required(Causes& out, const std::string& field, std::string_view why = "") {
  out.push_back({"FieldValueRequired", why.empty() ? "Required value" : fmt::format("Required value: {}", why), field});
}
void duplicate(Causes& out, const std::string& field, const std::string& value) {
  out.push_back({"FieldValueDuplicate", "Duplicate value: " + value, field});
}
void forbidden(Causes& out, const std::string& field, std::string_view why) {
  out.push_back({"FieldValueForbidden", fmt::format("Forbidden: {}", why), field});
}

bool lower_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool alnum(char c) { return lower_alnum(c) || (c >= 'A' && c <= 'Z'); }

void labels(Causes& out, const json::object& body, const std::string& path) {
  for (const auto& [key, value] : object_at(body, path)) {
    std::string_view name(key);
    if (!is_label_key(name))
      invalid(out, path, in_quotes(name),
              "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
              "alphanumeric character");
    if (value.is_string() && !is_label_value(std::string_view(value.get_string())))
      invalid(out, path, shown(value),
              "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
              "start and end with an alphanumeric character, at most 63 characters");
  }
}

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

void selector(Causes& out, const json::object& body, const std::string& path) {
  labels(out, body, path + ".matchLabels");
  const auto& list = array_at(body, path + ".matchExpressions");
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_object()) continue;
    const auto& e = list[i].get_object();
    auto op = text_at(e, "operator");
    auto here = fmt::format("{}.matchExpressions[{}]", path, i);
    bool values = !array_at(e, "values").empty();
    if ((op == "In" || op == "NotIn") && !values)
      required(out, here + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
    if ((op == "Exists" || op == "DoesNotExist") && values)
      forbidden(out, here + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  }
}

void port_number(Causes& out, const json::object& at_object, const char* name, const std::string& path, bool zero_ok) {
  auto* v = at_object.if_contains(name);
  if (!v || !v->is_int64()) return;
  auto port = v->get_int64();
  if (zero_ok && port == 0) return;
  if (port < 1 || port > 65535) invalid(out, path + "." + name, shown(*v), "must be between 1 and 65535, inclusive");
}

void target_port(Causes& out, const json::value* v, const std::string& path) {
  if (!v) return;
  if (v->is_int64() && (v->get_int64() < 1 || v->get_int64() > 65535))
    invalid(out, path, shown(*v), "must be between 1 and 65535, inclusive");
  if (v->is_string() && !is_port_name(std::string_view(v->get_string())))
    invalid(out, path, shown(*v),
            "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-), at least one letter, at most 15 "
            "characters");
}

void probe(Causes& out, const json::object& container, const char* name, const std::string& path) {
  auto* v = at(container, name);
  if (!v || !v->is_object()) return;
  const auto& p = v->get_object();
  auto here = path + "." + name;
  int handlers = 0;
  for (const char* kind : {"httpGet", "tcpSocket", "exec", "grpc"}) handlers += p.contains(kind);
  if (handlers == 0) required(out, here, "must specify a handler type");
  if (handlers > 1) forbidden(out, here, "may not specify more than 1 handler type");
  target_port(out, at(p, "httpGet.port"), here + ".httpGet.port");
  target_port(out, at(p, "tcpSocket.port"), here + ".tcpSocket.port");
  if (p.contains("exec") && array_at(p, "exec.command").empty()) required(out, here + ".exec.command");
  for (const char* field :
       {"initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"})
    if (int_at(p, field, 1) < 0)
      invalid(out, here + "." + field, std::to_string(int_at(p, field)), "must be greater than or equal to 0");
}

void resources(Causes& out, const json::object& container, const std::string& path) {
  for (const char* list : {"limits", "requests"})
    for (const auto& [name, value] : object_at(container, std::string("resources.") + list)) {
      auto q = value.is_string() ? parse_milli(std::string_view(value.get_string())) : std::nullopt;
      if (q && *q < 0)
        invalid(out, fmt::format("{}.resources.{}[{}]", path, list, std::string_view(name)), shown(value),
                "must be greater than or equal to 0");
    }
  for (const auto& [name, value] : object_at(container, "resources.requests")) {
    auto* limit = object_at(container, "resources.limits").if_contains(name);
    if (!limit || !limit->is_string() || !value.is_string()) continue;
    auto r = parse_milli(std::string_view(value.get_string())), l = parse_milli(std::string_view(limit->get_string()));
    if (r && l && *r > *l)
      invalid(out, fmt::format("{}.resources.requests", path), shown(value),
              fmt::format("must be less than or equal to {} limit of {}", std::string_view(name),
                          std::string_view(limit->get_string())));
  }
}

void pod_spec(Causes& out, const json::object& spec, const std::string& path) {
  if (array_at(spec, "containers").empty()) required(out, path + ".containers");
  std::set<std::string> names;
  for (const char* list : {"initContainers", "containers"}) {
    const auto& containers = array_at(spec, list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      if (!containers[i].is_object()) continue;
      const auto& c = containers[i].get_object();
      auto here = fmt::format("{}.{}[{}]", path, list, i);
      auto name = text_at(c, "name");
      if (!name.empty() && !is_dns_label(name)) invalid(out, here + ".name", in_quotes(name), kLabelRule);
      if (!name.empty() && !names.insert(name).second) duplicate(out, here + ".name", in_quotes(name));
      if (text_at(c, "image").empty()) required(out, here + ".image");
      const auto& ports = array_at(c, "ports");
      for (std::size_t p = 0; p < ports.size(); ++p) {
        if (!ports[p].is_object()) continue;
        auto port_path = fmt::format("{}.ports[{}]", here, p);
        port_number(out, ports[p].get_object(), "containerPort", port_path, false);
        port_number(out, ports[p].get_object(), "hostPort", port_path, true);
        auto port_name = text_at(ports[p].get_object(), "name");
        if (!port_name.empty() && !is_port_name(port_name))
          invalid(out, port_path + ".name", in_quotes(port_name),
                  "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
      }
      const auto& env = array_at(c, "env");
      for (std::size_t e = 0; e < env.size(); ++e) {
        if (!env[e].is_object()) continue;
        auto env_name = text_at(env[e].get_object(), "name");
        if (env_name.empty() || env_name.find('=') != std::string::npos || (env_name[0] >= '0' && env_name[0] <= '9'))
          invalid(out, fmt::format("{}.env[{}].name", here, e), in_quotes(env_name),
                  "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
                  "and must not start with a digit");
      }
      for (const char* p : {"livenessProbe", "readinessProbe", "startupProbe"}) probe(out, c, p, here);
      resources(out, c, here);
    }
  }
  if (int_at(spec, "terminationGracePeriodSeconds", 0) < 0)
    invalid(out, path + ".terminationGracePeriodSeconds", std::to_string(int_at(spec, "terminationGracePeriodSeconds")),
            "must be greater than or equal to 0");
  auto host = text_at(spec, "hostname");
  if (!host.empty() && !is_dns_label(host)) invalid(out, path + ".hostname", in_quotes(host), kLabelRule);
}

// Upstream lets a running pod change its images, deadlines and tolerations only.
json::object fixed_part(json::object spec) {
  for (const char* free : {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "nodeName"})
    spec.erase(free);
  for (const char* list : {"containers", "initContainers"})
    if (auto* v = spec.if_contains(list); v && v->is_array())
      for (auto& c : v->get_array())
        if (c.is_object()) c.get_object().erase("image"), c.get_object().erase("resources");
  return spec;
}

void pod(Causes& out, const json::object& body, const json::object* old) {
  pod_spec(out, object_at(body, "spec"), "spec");
  if (!old) return;
  auto was = text_at(*old, "spec.nodeName"), is = text_at(body, "spec.nodeName");
  if (!was.empty() && was != is)
    forbidden(out, "spec.nodeName", "a pod does not move; delete it and let it be created again");
  if (fixed_part(object_at(*old, "spec")) != fixed_part(object_at(body, "spec")))
    forbidden(out, "spec",
              "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
              "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
              "tolerations),`spec.terminationGracePeriodSeconds`");
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

bool template_matches(const json::object& body) {
  auto labels_of_pod = strings_at(body, "spec.template.metadata.labels");
  for (const auto& [key, value] : strings_at(body, "spec.selector.matchLabels")) {
    auto it = labels_of_pod.find(key);
    if (it == labels_of_pod.end() || it->second != value) return false;
  }
  return true;
}

void workload(Causes& out, const json::object& body, const json::object* old) {
  if (int_at(body, "spec.replicas", 0) < 0)
    invalid(out, "spec.replicas", std::to_string(int_at(body, "spec.replicas")), "must be greater than or equal to 0");
  selector(out, body, "spec.selector");
  if (object_at(body, "spec.selector.matchLabels").empty() && array_at(body, "spec.selector.matchExpressions").empty())
    invalid(out, "spec.selector", "{}", "empty selector is invalid for deployment");
  if (!template_matches(body))
    invalid(out, "spec.template.metadata.labels", json::serialize(object_at(body, "spec.template.metadata.labels")),
            "`selector` does not match template `labels`");
  labels(out, body, "spec.template.metadata.labels");
  if (at(body, "spec.template.spec")) pod_spec(out, object_at(body, "spec.template.spec"), "spec.template.spec");
  auto restart = text_at(body, "spec.template.spec.restartPolicy");
  if (!restart.empty() && restart != "Always")
    out.push_back({"FieldValueNotSupported",
                   fmt::format("Unsupported value: \"{}\": supported values: \"Always\"", restart),
                   "spec.template.spec.restartPolicy"});
  if (old && object_at(*old, "spec.selector") != object_at(body, "spec.selector"))
    invalid(out, "spec.selector", json::serialize(object_at(body, "spec.selector")), "field is immutable");
}

void node(Causes& out, const json::object& body, const json::object* old) {
  auto cidr = text_at(body, "spec.podCIDR");
  if (!cidr.empty() && !base::Cidr::parse(cidr))
    invalid(out, "spec.podCIDR", in_quotes(cidr), "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  if (old && !text_at(*old, "spec.podCIDR").empty() && text_at(*old, "spec.podCIDR") != cidr)
    forbidden(out, "spec.podCIDR", "node updates may not change podCIDR except from \"\" to valid");
}

void endpoint_slice(Causes& out, const json::object& body, const json::object* old) {
  auto type = text_at(body, "addressType");
  const auto& endpoints = array_at(body, "endpoints");
  if (endpoints.size() > 1000)
    out.push_back({"FieldValueTooMany", fmt::format("Too many: {}: must have at most 1000 items", endpoints.size()),
                   "endpoints"});
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    if (!endpoints[i].is_object()) continue;
    const auto& addresses = array_at(endpoints[i].get_object(), "addresses");
    auto here = fmt::format("endpoints[{}].addresses", i);
    if (addresses.empty()) required(out, here, "must contain at least 1 address");
    for (const auto& a : addresses) {
      if (!a.is_string() || type == "FQDN") continue;
      auto ip = base::Ip::parse(std::string_view(a.get_string()));
      if (!ip || ip->is_v4() != (type == "IPv4"))
        invalid(out, here, shown(a), fmt::format("must be a valid {} address", type));
      else if (ip->is_loopback())
        invalid(out, here, shown(a), "may not be in the loopback range (127.0.0.0/8, ::1/128)");
      else if (ip->is_link_local())
        invalid(out, here, shown(a), "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
      else if (ip->is_multicast())
        invalid(out, here, shown(a), "may not be in the multicast range (224.0.0.0/4, ff00::/8)");
      else if (ip->is_unspecified())
        invalid(out, here, shown(a), "may not be unspecified (0.0.0.0 or ::)");
    }
  }
  const auto& ports = array_at(body, "ports");
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (ports[i].is_object()) port_number(out, ports[i].get_object(), "port", fmt::format("ports[{}]", i), false);
  if (old && text_at(*old, "addressType") != type) invalid(out, "addressType", in_quotes(type), "field is immutable");
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
  if (kind.resource == "pods") pod(out, body, old);
  if (kind.resource == "services") service(out, body, old);
  if (kind.resource == "deployments" || kind.resource == "replicasets") workload(out, body, old);
  if (kind.resource == "nodes") node(out, body, old);
  if (kind.resource == "endpointslices") endpoint_slice(out, body, old);
  return out;
}

}  // namespace trama::api
