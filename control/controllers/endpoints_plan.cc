// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoints_plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "control/controllers/endpoint_slice_plan.h"
#include "control/controllers/service_pods.h"

namespace trama::control {

namespace {

constexpr std::string_view kHeadless = "service.kubernetes.io/headless";

struct Place {
  std::string ip;
  bool ready = false;
  const api::Object* pod = nullptr;
};

json::object address_of(const json::object& service, const Place& place) {
  json::object target;
  target["kind"] = "Pod";
  target["namespace"] = place.pod->key.ns;
  target["name"] = place.pod->key.name;
  target["uid"] = place.pod->uid;
  json::object out;
  out["ip"] = place.ip;
  if (auto hostname = hostname_in(service, place.pod->body); !hostname.empty()) out["hostname"] = hostname;
  if (auto node = api::text_at(place.pod->body, "spec.nodeName"); !node.empty()) out["nodeName"] = node;
  out["targetRef"] = std::move(target);
  return out;
}

// Pods with an address that have not ended; ending ones only where the Service wants those that are not ready too.
std::vector<Place> places_of(const json::object& service, const std::vector<api::ObjectPtr>& pods) {
  bool all = api::bool_at(service, "spec.publishNotReadyAddresses");
  auto family = families_of(service).front();
  std::vector<Place> out;
  for (const auto& pod : pods) {
    auto phase = api::text_at(pod->body, "status.phase");
    if (phase == "Succeeded" || phase == "Failed" || (!all && is_terminating(pod->body))) continue;
    auto ip = pod_address(pod->body, family);
    if (!ip.empty()) out.push_back({std::move(ip), all || is_pod_ready(pod->body), pod.get()});
  }
  std::sort(out.begin(), out.end(),
            [](const Place& a, const Place& b) { return std::tie(a.ip, a.pod->uid) < std::tie(b.ip, b.pod->uid); });
  return out;
}

json::object port_of(const json::object& service_port, std::int64_t number) {
  json::object out;
  if (auto name = api::text_at(service_port, "name"); !name.empty()) out["name"] = name;
  out["port"] = number;
  out["protocol"] = api::text_at(service_port, "protocol", "TCP");
  if (auto app = api::text_at(service_port, "appProtocol"); !app.empty()) out["appProtocol"] = app;
  return out;
}

// Which places a port is at, by their index. Ports that are at the same ones share a subset.
struct PortPlaces {
  json::object port;
  std::vector<std::size_t> places;
};

std::vector<PortPlaces> ports_of(const json::object& service, const std::vector<Place>& places) {
  std::vector<PortPlaces> out;
  for (const auto& v : api::array_at(service, "spec.ports")) {
    const auto* p = v.if_object();
    if (p == nullptr) continue;
    std::map<std::int64_t, std::size_t> seen;  // a name may be another number in another pod
    for (std::size_t i = 0; i < places.size(); ++i) {
      auto number = resolve_port(places[i].pod->body, *p);
      if (number == 0) continue;
      auto [it, fresh] = seen.try_emplace(number, out.size());
      if (fresh) out.push_back({port_of(*p, number), {}});
      out[it->second].places.push_back(i);
    }
  }
  return out;
}

std::size_t count(const json::array& subsets, std::string_view list) {
  std::size_t n = 0;
  for (const auto& s : subsets) n += api::array_at(s.get_object(), list).size();
  return n;
}

void keep_first(json::object& subset, std::string_view list, std::size_t n) {
  auto* found = subset.if_contains(list);
  if (found == nullptr) return;
  auto& all = found->get_array();
  if (all.size() > n) all.resize(n);
  if (all.empty()) subset.erase(list);
}

json::object labels_for(const api::Object& service) {
  json::object out;
  for (const auto& [key, value] : service.labels)
    if (key != kHeadless && key != kEndpointsManagedBy) out[key] = value;
  auto ip = api::text_at(service.body, "spec.clusterIP");
  if (ip.empty() || ip == "None") out[kHeadless] = "";
  out[kEndpointsManagedBy] = kEndpointsManager;
  return out;
}

}  // namespace

bool has_endpoints_manager(const api::Object& endpoints) {
  auto it = endpoints.labels.find(std::string(kEndpointsManagedBy));
  return it != endpoints.labels.end() && it->second == kEndpointsManager;
}

json::array endpoint_subsets(const json::object& service, const std::vector<api::ObjectPtr>& pods) {
  auto places = places_of(service, pods);
  std::map<std::vector<std::size_t>, json::array> grouped;
  if (api::array_at(service, "spec.ports").empty()) {
    std::vector<std::size_t> everywhere(places.size());
    for (std::size_t i = 0; i < places.size(); ++i) everywhere[i] = i;
    if (!places.empty()) grouped[std::move(everywhere)];
  }
  for (auto& p : ports_of(service, places)) grouped[std::move(p.places)].push_back(std::move(p.port));
  json::array out;
  for (auto& [where, ports] : grouped) {
    json::array ready, waiting;
    for (auto i : where) (places[i].ready ? ready : waiting).push_back(address_of(service, places[i]));
    json::object subset;
    if (!ready.empty()) subset["addresses"] = std::move(ready);
    if (!waiting.empty()) subset["notReadyAddresses"] = std::move(waiting);
    if (!ports.empty()) subset["ports"] = std::move(ports);
    out.push_back(std::move(subset));
  }
  return out;
}

bool truncate_subsets(json::array& subsets) {
  auto ready = count(subsets, "addresses"), waiting = count(subsets, "notReadyAddresses");
  if (ready + waiting <= kEndpointsCapacity) return false;
  // What is short: places for ready addresses, or those that are left for the others.
  bool too_many_ready = ready > kEndpointsCapacity;
  std::string_view short_of = too_many_ready ? "addresses" : "notReadyAddresses";
  auto room = too_many_ready ? kEndpointsCapacity : kEndpointsCapacity - ready;
  auto all = too_many_ready ? ready : waiting;
  auto left = room;
  for (auto& v : subsets) {
    auto& subset = v.get_object();
    auto here = api::array_at(subset, short_of).size();
    auto share = std::min((here * room + all - 1) / all, left);
    keep_first(subset, short_of, share);
    if (too_many_ready) keep_first(subset, "notReadyAddresses", 0);
    left -= std::min(share, here);
  }
  subsets.erase(std::remove_if(subsets.begin(), subsets.end(),
                               [](const json::value& v) {
                                 const auto& s = v.get_object();
                                 return !s.contains("addresses") && !s.contains("notReadyAddresses");
                               }),
                subsets.end());
  return true;
}

std::optional<json::object> plan_endpoints(const api::Object& service, const std::vector<api::ObjectPtr>& pods,
                                           const api::Object* have, const std::string& trigger_time, Time now) {
  auto subsets = endpoint_subsets(service.body, pods);
  bool truncated = truncate_subsets(subsets);
  auto labels = labels_for(service);
  static const json::object none;
  const auto& had = have ? api::object_at(have->body, "metadata.annotations") : none;
  if (have && api::array_at(have->body, "subsets") == subsets &&
      api::object_at(have->body, "metadata.labels") == labels && had.contains(kOverCapacity) == truncated &&
      (!truncated || had.at(kOverCapacity) == "truncated"))
    return std::nullopt;
  auto body = have ? have->body : new_object("v1", "Endpoints", {"endpoints", service.key.ns, service.key.name}, now);
  auto& metadata = body["metadata"].as_object();
  metadata["labels"] = std::move(labels);
  auto annotations = had;
  annotations.erase(kOverCapacity);
  annotations.erase(kTriggerTime);
  if (truncated) annotations[kOverCapacity] = "truncated";
  if (!trigger_time.empty()) annotations[kTriggerTime] = trigger_time;
  if (annotations.empty())
    metadata.erase("annotations");
  else
    metadata["annotations"] = std::move(annotations);
  if (subsets.empty())
    body.erase("subsets");
  else
    body["subsets"] = std::move(subsets);
  return body;
}

}  // namespace trama::control
