// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/service_pods.h"

#include <algorithm>

#include "base/ip.h"
#include "control/loops/label_selector.h"
#include "control/loops/loop.h"

namespace trama::control {

using Type = store::Event::Type;

namespace {

// Whether Services could see the pod differently different after the change; heartbeats and restarts counts do not
// matter.
bool matters(const json::object& before, const json::object& after) {
  for (const char* path : {"status.podIP", "status.phase", "spec.nodeName", "metadata.deletionTimestamp",
                           "spec.hostname", "spec.subdomain"})
    if (api::text_at(before, path) != api::text_at(after, path)) return true;
  return is_pod_ready(before) != is_pod_ready(after) ||
         api::array_at(before, "status.podIPs") != api::array_at(after, "status.podIPs");
}

}  // namespace

void ServicePods::service_seen(const store::Event& e) {
  const auto& key = e.object->key;
  auto selector = api::strings_at(e.object->body, "spec.selector");
  if (e.type == Type::deleted || selector.empty())
    services_.remove(key.ns, key.name);
  else
    services_.put(key.ns, key.name, {*selector.begin()});
}

std::vector<std::string> ServicePods::pod_seen(const store::Event& e) {
  const auto& pod = *e.object;
  if (e.type == Type::deleted)
    pods_.remove(pod.key.ns, pod.key.name);
  else
    pods_.put(pod.key.ns, pod.key.name, pod.labels);
  std::vector<std::string> out;
  if (e.previous && e.type == Type::modified) {
    if (e.previous->labels != pod.labels)
      services_of(pod, e.previous->labels, out);
    else if (!matters(e.previous->body, pod.body))
      return out;
  }
  services_of(pod, pod.labels, out);
  return out;
}

void ServicePods::services_of(const api::Object& pod, const Labels& labels, std::vector<std::string>& out) const {
  for (const auto& label : labels)
    for (const auto& name : services_.with(pod.key.ns, label)) out.push_back(pod.key.ns + "/" + name);
}

std::vector<api::ObjectPtr> ServicePods::of(const api::Object& service, const store::Store& store) const {
  std::vector<api::ObjectPtr> out;
  auto selector = LabelSelector::equalities(api::strings_at(service.body, "spec.selector"));
  if (!selector.anchor()) return out;
  for (const auto& name : pods_.with(service.key.ns, *selector.anchor())) {
    auto pod = store.get({"pods", service.key.ns, name});
    if (pod && selector.matches(pod->labels)) out.push_back(std::move(pod));
  }
  return out;
}

std::string trigger_of(const json::object& pod) {
  auto deleted = api::text_at(pod, "metadata.deletionTimestamp");
  if (!deleted.empty()) return deleted;
  const auto* ready = condition(pod, "Ready");
  auto since = ready == nullptr ? "" : api::text_at(*ready, "lastTransitionTime");
  return since.empty() ? api::text_at(pod, "metadata.creationTimestamp") : since;
}

std::vector<std::string> families_of(const json::object& service) {
  std::vector<std::string> families;
  for (const auto& f : api::array_at(service, "spec.ipFamilies"))
    if (f.is_string()) families.emplace_back(f.get_string());
  if (!families.empty()) return families;
  auto ip = base::Ip::parse(api::text_at(service, "spec.clusterIP"));
  return {ip && !ip->is_v4() ? "IPv6" : "IPv4"};
}

std::string pod_address(const json::object& pod, const std::string& family) {
  auto fits = [&](const std::string& text) {
    auto ip = base::Ip::parse(text);
    return ip && ip->is_v4() == (family == "IPv4");
  };
  for (const auto& v : api::array_at(pod, "status.podIPs")) {
    const auto* o = v.if_object();
    if (o == nullptr) continue;
    auto ip = api::text_at(*o, "ip");
    if (fits(ip)) return ip;
  }
  auto single = api::text_at(pod, "status.podIP");
  return fits(single) ? single : "";
}

std::int64_t resolve_port(const json::object& pod, const json::object& service_port) {
  const auto* target = service_port.if_contains("targetPort");
  if (target == nullptr || target->is_null()) return api::int_at(service_port, "port");
  if (target->is_number()) {
    auto n = target->to_number<std::int64_t>();
    return n != 0 ? n : api::int_at(service_port, "port");
  }
  if (!target->is_string()) return 0;
  if (target->get_string().empty()) return api::int_at(service_port, "port");
  auto protocol = api::text_at(service_port, "protocol", "TCP");
  // Restartable init containers (sidecars) serve as well.
  for (const char* list : {"spec.containers", "spec.initContainers"}) {
    for (const auto& c : api::array_at(pod, list)) {
      const auto* container = c.if_object();
      if (container == nullptr) continue;
      if (std::string_view(list) == "spec.initContainers" && api::text_at(*container, "restartPolicy") != "Always")
        continue;
      for (const auto& p : api::array_at(*container, "ports")) {
        const auto* port = p.if_object();
        if (port != nullptr && api::text_at(*port, "name") == target->get_string() &&
            api::text_at(*port, "protocol", "TCP") == protocol)
          return api::int_at(*port, "containerPort");
      }
    }
  }
  return 0;
}

std::string hostname_in(const json::object& service, const json::object& pod) {
  bool named = api::text_at(pod, "spec.subdomain") == api::text_at(service, "metadata.name");
  return named ? api::text_at(pod, "spec.hostname") : "";
}

}  // namespace trama::control
