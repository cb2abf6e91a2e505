// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoint_slice_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/controllers/service_pods.h"

namespace trama::control {

namespace {

// One kind of slice: all its endpoints share the family and the resolved ports.
struct Group {
  std::string address_type;
  json::array ports;
  std::map<std::string, json::object> endpoints;  // by pod uid
};

json::array ports_for(const json::object& service, const json::object& pod) {
  json::array ports;
  for (const auto& v : api::array_at(service, "spec.ports")) {
    const auto* p = v.if_object();
    if (p == nullptr) continue;
    auto number = resolve_port(pod, *p);
    if (number == 0) continue;
    json::object port;
    port["name"] = api::text_at(*p, "name");
    port["port"] = number;
    port["protocol"] = api::text_at(*p, "protocol", "TCP");
    if (auto app = api::text_at(*p, "appProtocol"); !app.empty()) port["appProtocol"] = app;
    ports.push_back(std::move(port));
  }
  return ports;
}

json::array named(const std::string& name) {
  json::object one;
  one["name"] = name;
  json::array out;
  out.push_back(std::move(one));
  return out;
}

// What spec.trafficDistribution asks for (KEP-4444, KEP-3015): the endpoint is for its own zone, and with
// PreferSameNode for its own node first. PreferClose is the old name of PreferSameZone. Endpoints that are not ready
// have no hints: nodes look at the ready ones only, and take none of the hints when one is missing.
json::object hints_for(const json::object& service, const json::object& endpoint) {
  json::object hints;
  auto wanted = api::text_at(service, "spec.trafficDistribution");
  bool same_node = wanted == "PreferSameNode";
  if (!same_node && wanted != "PreferSameZone" && wanted != "PreferClose") return hints;
  if (!api::bool_at(endpoint, "conditions.ready")) return hints;
  if (auto zone = api::text_at(endpoint, "zone"); !zone.empty()) hints["forZones"] = named(zone);
  if (auto node = api::text_at(endpoint, "nodeName"); same_node && !node.empty()) hints["forNodes"] = named(node);
  return hints;
}

json::object endpoint_for(const json::object& service, const api::Object& pod, const std::string& address,
                          const std::map<std::string, std::string>& zones) {
  bool ready = is_pod_ready(pod.body);
  bool terminating = is_terminating(pod.body);
  json::object conditions;
  conditions["ready"] = api::bool_at(service, "spec.publishNotReadyAddresses") || (ready && !terminating);
  conditions["serving"] = ready;
  conditions["terminating"] = terminating;
  json::object target;
  target["kind"] = "Pod";
  target["namespace"] = pod.key.ns;
  target["name"] = pod.key.name;
  target["uid"] = pod.uid;
  json::object e;
  json::array addresses;
  addresses.emplace_back(address);
  e["addresses"] = std::move(addresses);
  e["conditions"] = std::move(conditions);
  e["targetRef"] = std::move(target);
  if (auto node = api::text_at(pod.body, "spec.nodeName"); !node.empty()) {
    e["nodeName"] = node;
    if (auto z = zones.find(node); z != zones.end()) e["zone"] = z->second;
  }
  if (auto hints = hints_for(service, e); !hints.empty()) e["hints"] = std::move(hints);
  if (auto hostname = hostname_in(service, pod.body); !hostname.empty()) e["hostname"] = hostname;
  return e;
}

std::string group_key(const std::string& address_type, const json::array& ports) {
  std::vector<std::string> parts;
  for (const auto& p : ports) parts.push_back(canonical_text(p));
  std::sort(parts.begin(), parts.end());
  std::string key = address_type;
  for (const auto& p : parts) key += "|" + p;
  return key;
}

std::map<std::string, Group> wanted_groups(const SliceWorld& world) {
  std::map<std::string, Group> groups;
  const auto& service = world.service->body;
  for (const auto& family : families_of(service)) {
    bool any = false;
    for (const auto& pod : world.pods) {
      auto phase = api::text_at(pod->body, "status.phase");
      if (phase == "Succeeded" || phase == "Failed") continue;
      auto address = pod_address(pod->body, family);
      if (address.empty()) continue;
      auto ports = ports_for(service, pod->body);
      auto& group = groups[group_key(family, ports)];
      group.address_type = family;
      group.ports = std::move(ports);
      group.endpoints[pod->uid] = endpoint_for(service, *pod, address, world.zone_of_node);
      any = true;
    }
    if (any) continue;
    auto& placeholder = groups[group_key(family, json::array())];
    placeholder.address_type = family;
  }
  return groups;
}

// Labels of the slice: the Service's own plus ours.
json::object labels_for(const api::Object& service) {
  json::object labels;
  for (const auto& [k, v] : service.labels)
    if (k != kServiceNameLabel && k != kManagedByLabel && k != "service.kubernetes.io/headless") labels[k] = v;
  labels[kServiceNameLabel] = service.key.name;
  labels[kManagedByLabel] = kSliceManager;
  if (api::text_at(service.body, "spec.clusterIP") == "None") labels["service.kubernetes.io/headless"] = "";
  return labels;
}

json::object content_for(const Group& group, const json::array& endpoints, const json::object& labels) {
  json::object content;
  content["addressType"] = group.address_type;
  content["endpoints"] = endpoints;
  content["ports"] = group.ports;
  content["labels"] = labels;
  return content;
}

// A slice while its new content is being worked out.
struct Draft {
  api::ObjectPtr have;  // null for a new one
  json::array endpoints;
  bool changed = false;
};

std::vector<Draft> keep_what_stays(std::map<std::string, json::object>& missing,
                                   const std::vector<api::ObjectPtr>& slices, const json::object& labels) {
  std::vector<Draft> drafts;
  for (const auto& slice : slices) {
    Draft d;
    d.have = slice;
    d.changed = json::value(api::object_at(slice->body, "metadata.labels")) != json::value(labels);
    for (const auto& v : api::array_at(slice->body, "endpoints")) {
      const auto* e = v.if_object();
      auto it = e == nullptr ? missing.end() : missing.find(api::text_at(*e, "targetRef.uid"));
      if (it == missing.end()) {
        d.changed = true;
        continue;
      }
      if (*e != it->second) d.changed = true;
      d.endpoints.push_back(std::move(it->second));
      missing.erase(it);
    }
    drafts.push_back(std::move(d));
  }
  return drafts;
}

void fill(Draft& d, std::map<std::string, json::object>& missing) {
  while (!missing.empty() && d.endpoints.size() < kEndpointsPerSlice) {
    d.endpoints.push_back(std::move(missing.begin()->second));
    missing.erase(missing.begin());
    d.changed = true;
  }
}

void plan_group(Group& group, const std::vector<api::ObjectPtr>& slices, const json::object& labels,
                std::vector<SliceOp>& ops) {
  bool placeholder = group.endpoints.empty();
  auto missing = std::move(group.endpoints);
  auto drafts = keep_what_stays(missing, slices, labels);
  // Slices that are written anyway are filled first, the fullest ones before others; then those that are not.
  std::stable_sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) {
    if (a.changed != b.changed) return a.changed;
    return a.endpoints.size() > b.endpoints.size();
  });
  for (auto& d : drafts)
    if (!d.endpoints.empty() || placeholder) fill(d, missing);
  for (auto& d : drafts) fill(d, missing);
  while (!missing.empty()) {
    Draft d;
    fill(d, missing);
    drafts.push_back(std::move(d));
  }
  if (placeholder && drafts.empty()) drafts.emplace_back();
  bool kept_placeholder = false;
  for (auto& d : drafts) {
    SliceOp op;
    if (d.have) op.name = d.have->key.name;
    if (d.have) op.revision = d.have->revision;
    bool keep = !d.endpoints.empty() || (placeholder && !kept_placeholder);
    if (d.endpoints.empty() && keep) kept_placeholder = true;
    op.type = !keep ? SliceOp::Type::remove : d.have ? SliceOp::Type::update : SliceOp::Type::create;
    if (op.type == SliceOp::Type::update && !d.changed) continue;
    if (keep) op.content = content_for(group, d.endpoints, labels);
    ops.push_back(std::move(op));
  }
}

}  // namespace

std::string SliceOp::to_text() const {
  if (type == Type::remove) return "remove " + name;
  auto what =
      fmt::format("{} {} endpoints", api::text_at(content, "addressType"), api::array_at(content, "endpoints").size());
  return type == Type::create ? "create " + what : fmt::format("update {} {}", name, what);
}

bool has_managed_slices(const json::object& service) {
  return !api::object_at(service, "spec.selector").empty() && api::text_at(service, "spec.type") != "ExternalName";
}

std::vector<SliceOp> plan_slices(const SliceWorld& world) {
  auto groups = wanted_groups(world);
  auto labels = labels_for(*world.service);
  std::map<std::string, std::vector<api::ObjectPtr>> have;
  std::vector<SliceOp> ops, removals;
  for (const auto& slice : world.slices) {
    auto key = group_key(api::text_at(slice->body, "addressType"), api::array_at(slice->body, "ports"));
    if (groups.contains(key)) {
      have[key].push_back(slice);
      continue;
    }
    SliceOp op;
    op.type = SliceOp::Type::remove;
    op.name = slice->key.name;
    op.revision = slice->revision;
    removals.push_back(std::move(op));
  }
  for (auto& [key, group] : groups) plan_group(group, have[key], labels, ops);
  // What is added or changed comes first: consumers never see the Service without the endpoints that it keeps.
  std::stable_partition(ops.begin(), ops.end(), [](const SliceOp& op) { return op.type != SliceOp::Type::remove; });
  ops.insert(ops.end(), std::make_move_iterator(removals.begin()), std::make_move_iterator(removals.end()));
  return ops;
}

json::object slice_object(const SliceOp& op, const api::Object& owner, const std::string& name, const api::Object* have,
                          const std::string& trigger_time, Time now) {
  json::object body;
  if (have != nullptr) {
    body = have->body;
    auto& metadata = body["metadata"].as_object();
    metadata["generation"] = api::int_at(body, "metadata.generation", 1) + 1;
  } else {
    api::Key key;
    key.resource = "endpointslices";
    key.ns = owner.key.ns;
    key.name = name;
    body = new_object("discovery.k8s.io/v1", "EndpointSlice", key, now);
    auto& metadata = body["metadata"].as_object();
    metadata["generateName"] = owner.key.name + "-";
    metadata["generation"] = 1;
    json::array owners;
    owners.push_back(owner_reference(owner));
    metadata["ownerReferences"] = std::move(owners);
  }
  auto& metadata = body["metadata"].as_object();
  metadata["labels"] = op.content.at("labels");
  if (const auto* annotations = op.content.if_contains("annotations"); annotations != nullptr) {
    metadata.erase("annotations");
    if (!annotations->as_object().empty()) metadata["annotations"] = *annotations;
  }
  if (!trigger_time.empty()) api::make_object_at(body, "metadata.annotations")[kTriggerTime] = trigger_time;
  for (const char* field : {"addressType", "endpoints", "ports"}) body[field] = op.content.at(field);
  return body;
}

}  // namespace trama::control
