// SPDX-License-Identifier: GPL-2.0-or-later
#include <set>

#include "control/api/quantity.h"
#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

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

}  // namespace

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
  volumes(out, spec, path);
  scheduling_rules(out, spec, path);
  auto host = text_at(spec, "hostname");
  if (!host.empty() && !is_dns_label(host)) invalid(out, path + ".hostname", in_quotes(host), kLabelRule);
}

void validate_pod(Causes& out, const json::object& body, const json::object* old) {
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

}  // namespace trama::api
