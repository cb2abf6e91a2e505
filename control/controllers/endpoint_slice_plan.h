// SPDX-License-Identifier: GPL-2.0-or-later
// Which EndpointSlices a Service should have. Pure.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::size_t kEndpointsPerSlice = 100;
constexpr std::string_view kServiceNameLabel = "kubernetes.io/service-name";
constexpr std::string_view kManagedByLabel = "endpointslice.kubernetes.io/managed-by";
constexpr std::string_view kSliceManager = "endpointslice-controller.k8s.io";
constexpr std::string_view kMirrorManager = "endpointslicemirroring-controller.k8s.io";
constexpr std::string_view kTriggerTime = "endpoints.kubernetes.io/last-change-trigger-time";

struct SliceWorld {
  api::ObjectPtr service;
  std::vector<api::ObjectPtr> pods;    // those that the selector matches
  std::vector<api::ObjectPtr> slices;  // those of this service that we manage
  std::map<std::string, std::string> zone_of_node;
};

struct SliceOp {
  enum class Type { create, update, remove };
  Type type = Type::create;
  std::string name;             // empty for `create`
  std::uint64_t revision = 0;   // of the slice that the decision rests on
  json::object content;         // for create and update: addressType, endpoints, ports, labels, perhaps annotations
  std::string to_text() const;  // "update web-x2k4p IPv4 3 endpoints"
};

// True for Services whose slices are ours to write: with a selector and not ExternalName.
bool has_managed_slices(const json::object& service);

// At most 100 endpoints a slice, one address family and one set of target ports each. Slices that keep all their
// endpoints are left alone; free places are filled before slices are added; a Service without endpoints keeps one
// empty slice per family, so that consumers can tell "none" from "not known yet".
std::vector<SliceOp> plan_slices(const SliceWorld& world);

// The whole object for an operation: `name` for created ones, `have` the present object for updated ones. Slices that
// are created belong to `owner` and go with it.
// The trigger time goes into the annotation when not empty.
json::object slice_object(const SliceOp& op, const api::Object& owner, const std::string& name, const api::Object* have,
                          const std::string& trigger_time, Time now);

}  // namespace trama::control
