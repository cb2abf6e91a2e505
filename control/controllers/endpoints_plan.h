// SPDX-License-Identifier: GPL-2.0-or-later
// The Endpoints object of a Service, as upstream's endpoints controller writes it for clients that know no
// EndpointSlices. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::size_t kEndpointsCapacity = 1000;  // addresses; slices have no such limit
constexpr std::string_view kEndpointsManagedBy = "endpoints.kubernetes.io/managed-by";
constexpr std::string_view kEndpointsManager = "endpoint-controller";
constexpr std::string_view kOverCapacity = "endpoints.kubernetes.io/over-capacity";

// Written by this controller, as its label says.
bool has_endpoints_manager(const api::Object& endpoints);

// The whole object as it should be; nothing when `have` (null: there is none) says all that already. `pods` are those
// that the selector matches. An object that somebody else wrote under the Service's name is taken over.
std::optional<json::object> plan_endpoints(const api::Object& service, const std::vector<api::ObjectPtr>& pods,
                                           const api::Object* have, const std::string& trigger_time, Time now);

// What a Service's pods are in Endpoints: addresses that share their ports in one subset, those that are not ready
// apart. Each port stands in one subset only. Equal worlds give equal subsets.
json::array endpoint_subsets(const json::object& service, const std::vector<api::ObjectPtr>& pods);

// Leaves kEndpointsCapacity addresses, ready ones first, of every subset its share. Returns whether any had to go.
bool truncate_subsets(json::array& subsets);

}  // namespace trama::control
