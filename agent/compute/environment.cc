// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/environment.h"

#include <optional>

namespace trama::agent {
namespace {

std::string first(const std::vector<base::Ip>& ips) { return ips.empty() ? "" : ips.front().to_string(); }

std::string all(const std::vector<base::Ip>& ips) {
  std::string out;
  for (const auto& ip : ips) out += (out.empty() ? "" : ",") + ip.to_string();
  return out;
}

// "metadata.labels['app']" -> "app"; nothing when `path` is not of that form.
std::optional<std::string> subscript(std::string_view path, std::string_view map) {
  if (!path.starts_with(map)) return std::nullopt;
  path.remove_prefix(map.size());
  if (path.size() < 4 || !path.starts_with("['") || !path.ends_with("']")) return std::nullopt;
  return std::string(path.substr(2, path.size() - 4));
}

std::optional<std::string> field_value(const api::Object& pod, const std::string& path, const PodFacts& facts) {
  if (path == "metadata.name") return pod.key.name;
  if (path == "metadata.namespace") return pod.key.ns;
  if (path == "metadata.uid") return pod.uid;
  if (path == "spec.nodeName") return facts.node_name;
  if (path == "spec.serviceAccountName") return api::text_at(pod.body, path);
  if (path == "status.podIP") return first(facts.pod_ips);
  if (path == "status.podIPs") return all(facts.pod_ips);
  if (path == "status.hostIP") return first(facts.host_ips);
  if (path == "status.hostIPs") return all(facts.host_ips);
  for (auto map : {"metadata.labels", "metadata.annotations"}) {
    auto key = subscript(path, map);
    if (!key) continue;
    auto values = api::strings_at(pod.body, map);
    auto it = values.find(*key);
    return it == values.end() ? "" : it->second;
  }
  return std::nullopt;
}

}  // namespace

std::string expand(std::string_view text, const Environment& variables) {
  std::string out;
  while (!text.empty()) {
    if (text.starts_with("$$")) {
      out += '$';
      text.remove_prefix(2);
      continue;
    }
    auto end = text.starts_with("$(") ? text.find(')') : text.npos;
    if (end != text.npos) {
      auto it = variables.find(std::string(text.substr(2, end - 2)));
      out += it == variables.end() ? text.substr(0, end + 1) : std::string_view(it->second);
      text.remove_prefix(end + 1);
      continue;
    }
    out += text.front();
    text.remove_prefix(1);
  }
  return out;
}

base::Result<Environment> container_environment(const api::Object& pod, const json::object& container,
                                                const PodFacts& facts) {
  Environment out;
  out["TRAMA_POD"] = pod.key.name;
  out["TRAMA_NAMESPACE"] = pod.key.ns;
  out["TRAMA_NODE"] = facts.node_name;
  out["TRAMA_POD_IP"] = first(facts.pod_ips);
  auto cannot = [&](const std::string& name, const std::string& why) {
    return base::Error::text(fmt::format("container {}: variable {}: {}", api::text_at(container, "name"), name, why));
  };
  if (!api::array_at(container, "envFrom").empty())
    return cannot("envFrom", "ConfigMaps and Secrets are not supported");
  for (const auto& value : api::array_at(container, "env")) {
    if (!value.is_object()) continue;
    const auto& item = value.get_object();
    auto name = api::text_at(item, "name");
    if (!item.contains("valueFrom")) {
      out[name] = expand(api::text_at(item, "value"), out);
      continue;
    }
    auto path = api::text_at(item, "valueFrom.fieldRef.fieldPath");
    if (path.empty()) return cannot(name, "of valueFrom only fieldRef is supported");
    auto found = field_value(pod, path, facts);
    if (!found) return cannot(name, fmt::format("fieldPath {} is not supported", path));
    out[name] = *found;
  }
  return out;
}

std::vector<std::string> container_command(const json::object& container, const Environment& variables) {
  std::vector<std::string> out;
  for (auto field : {"command", "args"})
    for (const auto& value : api::array_at(container, field))
      if (value.is_string()) out.push_back(expand(std::string_view(value.get_string()), variables));
  return out;
}

}  // namespace trama::agent
