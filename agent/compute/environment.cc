// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/environment.h"

#include <utility>

#include "base/utf8.h"

namespace trama::agent {
namespace {

// Of a variable whose value is not there: nothing when it is optional, otherwise `problem` says so.
std::optional<std::string> key_value(const Sources& sources, const api::Key& key, const json::object& reference,
                                     std::optional<SourceProblem>& problem) {
  bool optional = api::bool_at(reference, "optional");
  auto source = find_source(sources, key, optional, problem);
  if (!source) return std::nullopt;
  auto name = api::text_at(reference, "key");
  auto value = source_value(*source, name, false);
  if (!value && !optional)
    problem = SourceProblem{fmt::format("couldn't find key {} in {} {}/{}", name,
                                        key.resource == "secrets" ? "Secret" : "ConfigMap", key.ns, key.name)};
  return value;
}

// A program's environment is text. What is not, the object's owner has to change: that is waited for.
bool put(Environment& out, const std::string& name, std::string value, const api::Key& key,
         std::optional<SourceProblem>& problem) {
  if (!base::is_utf8(value) || value.find('\0') != value.npos) {
    problem =
        SourceProblem{fmt::format("{} \"{}\": the value for variable {} is not text (UTF-8 without NUL); mount it "
                                  "as a file instead",
                                  key.resource == "secrets" ? "secret" : "configmap", key.name, name)};
    return false;
  }
  out[name] = std::move(value);
  return true;
}

void put_all_of(Environment& out, const api::Object& pod, const json::object& from, const Sources& sources,
                std::optional<SourceProblem>& problem) {
  for (auto [member, resource] : {std::pair{"configMapRef", "configmaps"}, {"secretRef", "secrets"}}) {
    const auto& reference = api::object_at(from, member);
    if (reference.empty()) continue;
    api::Key key{resource, pod.key.ns, api::text_at(reference, "name")};
    auto source = find_source(sources, key, api::bool_at(reference, "optional"), problem);
    if (!source) continue;
    for (const auto& name : source_keys(*source, false))
      if (auto value = source_value(*source, name, false);
          value && !put(out, api::text_at(from, "prefix") + name, std::move(*value), key, problem))
        return;
  }
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

Environment own_variables(const api::Object& pod, const PodFacts& facts) {
  Environment out;
  out["TRAMA_POD"] = pod.key.name;
  out["TRAMA_NAMESPACE"] = pod.key.ns;
  out["TRAMA_NODE"] = facts.node_name;
  out["TRAMA_POD_IP"] = facts.pod_ips.empty() ? "" : facts.pod_ips.front().to_string();
  return out;
}

void add_api_server(Environment& variables, const std::string& host, std::uint16_t port) {
  variables["KUBERNETES_SERVICE_HOST"] = host;
  variables["KUBERNETES_SERVICE_PORT"] = variables["KUBERNETES_SERVICE_PORT_HTTPS"] = fmt::format("{}", port);
}

base::Result<Environment> container_environment(const api::Object& pod, const json::object& container,
                                                const PodFacts& facts, const Sources& sources, Environment out,
                                                std::optional<SourceProblem>& problem) {
  auto container_name = api::text_at(container, "name");
  auto cannot = [&](const std::string& name, const std::string& why) {
    return base::Error::text(fmt::format("container {}: variable {}: {}", container_name, name, why));
  };
  for (const auto& value : api::array_at(container, "envFrom")) {
    if (!value.is_object() || problem) continue;
    put_all_of(out, pod, value.get_object(), sources, problem);
  }
  for (const auto& value : api::array_at(container, "env")) {
    if (!value.is_object()) continue;
    const auto& item = value.get_object();
    auto name = api::text_at(item, "name");
    if (!item.contains("valueFrom")) {
      out[name] = expand(api::text_at(item, "value"), out);
      continue;
    }
    const auto& from = api::object_at(item, "valueFrom");
    if (auto path = api::text_at(from, "fieldRef.fieldPath"); !path.empty()) {
      auto found = field_value(pod, path, facts);
      if (!found) return cannot(name, fmt::format("fieldPath {} is not supported", path));
      out[name] = *found;
    } else if (from.contains("resourceFieldRef")) {
      auto found = resource_value(pod, api::object_at(from, "resourceFieldRef"), container_name, facts);
      if (!found) return cannot(name, found.error().to_string());
      out[name] = *found;
    } else {
      bool secret = from.contains("secretKeyRef");
      const auto& reference = api::object_at(from, secret ? "secretKeyRef" : "configMapKeyRef");
      if (reference.empty())
        return cannot(name, "of valueFrom fieldRef, resourceFieldRef, configMapKeyRef and secretKeyRef are supported");
      if (problem) continue;
      api::Key key{secret ? "secrets" : "configmaps", pod.key.ns, api::text_at(reference, "name")};
      if (auto found = key_value(sources, key, reference, problem)) put(out, name, std::move(*found), key, problem);
    }
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
