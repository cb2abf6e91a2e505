// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/downward.h"

#include <fmt/format.h>

#include "control/api/quantity.h"

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

// As Go's %q: what a shell or a program reads back is the value, whatever is in it.
std::string go_quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text) switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
          out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        else
          out += c;
    }
  return out + "\"";
}

// A quantity's thousandths; 0 when it is not given.
std::int64_t milli(const json::object& container, const std::string& list, const std::string& resource) {
  const auto* value = api::object_at(container, "resources." + list).if_contains(resource);
  return value ? api::milli_of(*value) : 0;
}

}  // namespace

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

std::optional<std::string> field_file(const api::Object& pod, const std::string& path, const PodFacts& facts) {
  if (path != "metadata.labels" && path != "metadata.annotations") {
    bool served = path.starts_with("metadata.");
    return served ? field_value(pod, path, facts) : std::nullopt;
  }
  std::string out;
  for (const auto& [key, value] : api::strings_at(pod.body, path))
    out += fmt::format("{}{}={}", out.empty() ? "" : "\n", key, go_quoted(value));
  return out;
}

base::Result<std::string> resource_value(const api::Object& pod, const json::object& reference,
                                         const std::string& container, const PodFacts& facts) {
  auto resource = api::text_at(reference, "resource");
  auto name = api::text_at(reference, "containerName", container);
  auto dot = resource.find('.');
  auto list = resource.substr(0, dot), what = dot == resource.npos ? "" : resource.substr(dot + 1);
  bool cpu = what == "cpu";
  if ((list != "limits" && list != "requests") || (!cpu && what != "memory"))
    return base::Error::text(
        fmt::format("resourceFieldRef: resource \"{}\" is not supported; limits and requests of "
                    "cpu and memory are",
                    resource));
  const json::object* of = nullptr;
  for (const auto& value : api::array_at(pod.body, "spec.containers"))
    if (value.is_object() && api::text_at(value.get_object(), "name") == name) of = &value.get_object();
  if (!of) return base::Error::text(fmt::format("resourceFieldRef: there is no container \"{}\"", name));
  auto value = milli(*of, list, what);
  if (value == 0 && list == "requests") value = milli(*of, "limits", what);
  if (value == 0 && list == "limits") value = cpu ? facts.node_cpu_milli : facts.node_memory_bytes * 1000;
  const auto* given = api::at(reference, "divisor");
  auto divisor = given ? api::milli_of(*given) : 0;
  if (divisor < 0 || (given && given->is_string() && !api::parse_milli(std::string_view(given->get_string()))))
    return base::Error::text("resourceFieldRef: the divisor is no positive quantity");
  if (divisor == 0) divisor = 1000;
  return fmt::format("{}", value / divisor + (value % divisor != 0 ? 1 : 0));
}

}  // namespace trama::agent
