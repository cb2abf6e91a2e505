// SPDX-License-Identifier: GPL-2.0-or-later
// What happens to an object between the request and the store, decided in one place for handlers and loops alike:
// defaults, validation, uid, creationTimestamp, generation, what a subresource may change, graceful deletion.
// Pure: time and randomness come in as values.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

using Time = std::chrono::system_clock::time_point;

// Which part of an object a write may change.
enum class Part {
  main,      // everything but status (kinds without a status subresource: everything)
  status,    // status only
  approval,  // of certificate signing requests: status.conditions
  all,       // both, for loops that own the object: spec changes still bump the generation
};

// A new object: name (or generateName), defaults, validation, uid, creationTimestamp, generation 1, no status but the
// initial one. `key.name` may be empty; read the name from the answer's metadata.
Answer<json::object> prepare_create(const Kind& kind, const Key& key, json::object body, Time now);

// A changed object. `body` is the whole new object; resourceVersion "" or absent means "whatever is there", anything
// else must be the present one (409). System metadata is carried over. Semantic errors are 422.
Answer<json::object> prepare_update(const Kind& kind, const Object& old, json::object body, Part part, Time now);

// True when the two differ in nothing but resourceVersion and managedFields: writing would only make noise.
bool same_content(const json::object& a, const json::object& b);

struct DeleteOptions {
  std::optional<std::int64_t> grace_seconds;
  std::string uid, resource_version;  // preconditions; "" = none
  std::string propagation;            // "Background", "Foreground", "Orphan", ""
  bool dry_run = false;
};
Answer<DeleteOptions> parse_delete_options(const json::object& body);

struct Removal {
  bool now = false;   // take it out of the store; otherwise `body` is to be stored
  bool noop = false;  // it is already on its way: nothing to write
  json::object body;  // with deletionTimestamp, deletionGracePeriodSeconds and finalizers set
};
// Pods that run on a node get their grace period; everything else leaves at once unless finalizers hold it.
Answer<Removal> prepare_delete(const Kind& kind, const Object& old, const DeleteOptions& options, Time now);

// True for an object that was only waiting: deletionTimestamp set, no finalizers left, no grace period pending.
// An update that makes this true removes the object instead of storing it.
bool is_removable(const json::object& body);

}  // namespace trama::api
