// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/endpoint_mirror_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/ip.h"
#include "control/controllers/endpoints_plan.h"

namespace trama::control {

namespace {

constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";
constexpr std::string_view kLeader = "control-plane.alpha.kubernetes.io/leader";

struct Wanted {
  std::string address_type;
  json::array ports, endpoints;
  std::set<std::string> addresses;
};
using WantedSlices = std::map<std::string, Wanted>;  // by family and ports

std::string key_of(std::string_view address_type, const json::array& ports) {
  std::string key(address_type);
  std::vector<std::string> parts;
  for (const auto& p : ports) parts.push_back(canonical_text(p));
  std::sort(parts.begin(), parts.end());
  for (const auto& p : parts) key += "|" + p;
  return key;
}

json::object endpoint_of(const json::object& address, const std::string& ip, bool ready) {
  json::array addresses;
  addresses.emplace_back(ip);
  json::object conditions, out;
  conditions["ready"] = ready;
  out["addresses"] = std::move(addresses);
  out["conditions"] = std::move(conditions);
  for (const char* field : {"hostname", "targetRef", "nodeName"})
    if (const auto* v = address.if_contains(field)) out[field] = *v;
  return out;
}

void add_subset(const json::object& subset, WantedSlices& wanted, std::size_t& skipped) {
  json::array ports;
  for (const auto& v : api::array_at(subset, "ports")) {
    const auto* p = v.if_object();
    if (p == nullptr) continue;
    json::object port = *p;
    if (!port.contains("name")) port["name"] = "";
    ports.push_back(std::move(port));
  }
  std::size_t taken = 0;
  for (const char* list : {"addresses", "notReadyAddresses"})
    for (const auto& v : api::array_at(subset, list)) {
      const auto* address = v.if_object();
      auto text = address ? api::text_at(*address, "ip") : "";
      auto ip = base::Ip::parse(text);
      if (!ip) continue;
      if (taken == kMirroredPerSubset) {
        ++skipped;
        continue;
      }
      auto type = ip->is_v4() ? "IPv4" : "IPv6";
      auto& slice = wanted[key_of(type, ports)];
      slice.address_type = type;
      slice.ports = ports;
      // The same address twice: what was said first, ready if anybody says so.
      if (!slice.addresses.insert(text).second) continue;
      slice.endpoints.push_back(endpoint_of(*address, text, std::string_view(list) == "addresses"));
      ++taken;
    }
}

json::object labels_of(const api::Object& endpoints) {
  json::object out;
  for (const auto& [key, value] : endpoints.labels)
    if (key != kServiceNameLabel && key != kManagedByLabel && key != kSkipMirror) out[key] = value;
  out[kServiceNameLabel] = endpoints.key.name;
  out[kManagedByLabel] = kMirrorManager;
  return out;
}

json::object annotations_of(const api::Object& endpoints) {
  auto out = api::object_at(endpoints.body, "metadata.annotations");
  out.erase(kLastApplied);
  out.erase(kTriggerTime);
  return out;
}

SliceOp removal_of(const api::Object& slice) {
  SliceOp op;
  op.type = SliceOp::Type::remove;
  op.name = slice.key.name;
  op.revision = slice.revision;
  return op;
}

bool says(const api::Object& slice, const json::object& content) {
  return api::array_at(slice.body, "endpoints") == content.at("endpoints").as_array() &&
         api::object_at(slice.body, "metadata.labels") == content.at("labels").as_object() &&
         api::object_at(slice.body, "metadata.annotations") == content.at("annotations").as_object();
}

}  // namespace

bool is_mirrored(const api::Object& endpoints, const api::Object* service) {
  if (service == nullptr || !api::object_at(service->body, "spec.selector").empty()) return false;
  auto skip = endpoints.labels.find(std::string(kSkipMirror));
  if (skip != endpoints.labels.end() && skip->second == "true") return false;
  if (api::object_at(endpoints.body, "metadata.annotations").contains(kLeader)) return false;
  return !has_endpoints_manager(endpoints) && !is_terminating(endpoints.body);
}

MirrorPlan plan_mirror(const api::Object& endpoints, const std::vector<api::ObjectPtr>& slices) {
  MirrorPlan plan;
  WantedSlices wanted;
  for (const auto& v : api::array_at(endpoints.body, "subsets"))
    if (v.is_object()) add_subset(v.get_object(), wanted, plan.skipped);
  auto labels = labels_of(endpoints), annotations = annotations_of(endpoints);
  std::vector<SliceOp> removals;
  std::map<std::string, api::ObjectPtr> have;
  for (const auto& slice : slices) {
    auto key = key_of(api::text_at(slice->body, "addressType"), api::array_at(slice->body, "ports"));
    if (!wanted.contains(key) || !have.try_emplace(key, slice).second) removals.push_back(removal_of(*slice));
  }
  for (auto& [key, slice] : wanted) {
    SliceOp op;
    op.content["addressType"] = slice.address_type;
    op.content["endpoints"] = std::move(slice.endpoints);
    op.content["ports"] = std::move(slice.ports);
    op.content["labels"] = labels;
    op.content["annotations"] = annotations;
    if (auto it = have.find(key); it != have.end()) {
      if (says(*it->second, op.content)) continue;
      op.type = SliceOp::Type::update;
      op.name = it->second->key.name;
      op.revision = it->second->revision;
    }
    plan.ops.push_back(std::move(op));
  }
  plan.ops.insert(plan.ops.end(), std::make_move_iterator(removals.begin()), std::make_move_iterator(removals.end()));
  return plan;
}

std::vector<SliceOp> plan_no_mirror(const std::vector<api::ObjectPtr>& slices) {
  std::vector<SliceOp> out;
  for (const auto& slice : slices) out.push_back(removal_of(*slice));
  return out;
}

}  // namespace trama::control
