// SPDX-License-Identifier: GPL-2.0-or-later
// What loops read and write in every object's metadata and status. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "base/timestamp.h"
#include "control/api/object.h"

namespace trama::control {

namespace json = api::json;
using Time = base::Timestamp;

// An object without its content: apiVersion, kind, metadata with name, namespace, uid and creationTimestamp.
json::object new_object(std::string_view api_version, std::string_view kind, const api::Key& key, Time now);
// "web-" + five characters that spell no word.
std::string generated_name(std::string_view prefix, std::uint64_t random);

json::object owner_reference(const api::Object& owner);  // controller: true, blockOwnerDeletion: true
// The owner that is responsible for the object (controller: true), or null.
const json::object* controller_of(const json::object& body);
bool is_controlled_by(const json::object& body, std::string_view uid);

bool is_terminating(const json::object& body);  // metadata.deletionTimestamp is set
bool has_finalizer(const json::object& body, std::string_view finalizer);
// True when it was there.
bool remove_finalizer(json::object& body, std::string_view finalizer);

const json::object* condition(const json::object& body, std::string_view type);
std::string condition_status(const json::object& body, std::string_view type);  // "True", "False", "Unknown", ""
// Adds or changes one entry of status.conditions; lastTransitionTime moves only when `status` changes.
// Returns whether anything changed.
bool set_condition(json::object& body, std::string_view type, std::string_view status, std::string_view reason,
                   std::string_view message, Time now);

bool is_pod_ready(const json::object& pod);
// Not finished and not on its way out: what a ReplicaSet counts.
bool is_pod_active(const json::object& pod);
// Ready for at least min_ready_seconds.
bool is_pod_available(const json::object& pod, std::int64_t min_ready_seconds, Time now);

// The same value with all object keys sorted: equal values give equal text.
std::string canonical_text(const json::value& v);

}  // namespace trama::control
