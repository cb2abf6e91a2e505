// SPDX-License-Identifier: GPL-2.0-or-later
// Who has set which fields (metadata.managedFields), and what server-side apply makes of it. Pure.
//
// An object is tracked from the request that creates it on. What the controller's loops make is tracked from its first
// apply on; what it had before belongs to "before-first-apply".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/api/field_set.h"
#include "control/api/kinds.h"
#include "control/api/lifecycle.h"
#include "control/api/status.h"

namespace trama::api {

struct Manager {
  std::string name;
  bool applies = false;  // operation Apply; else Update
  std::string api_version, subresource, time;
  FieldSet fields;
};
std::vector<Manager> managers_of(const json::object& body);
void set_managers(json::object& body, const std::vector<Manager>& managers);

struct Applier {
  std::string name;
  std::string subresource;  // "" or "status"
  bool force = false;
};
// `live` is empty when there is no object yet. `config` is what the applier wants to be there, no more and no less:
// fields that it no longer names go, unless another manager has them. 409 with a cause per field that another manager
// has set to something else. The answer has no defaults yet.
Answer<json::object> apply_fields(const Kind& kind, const json::object& live, json::object config,
                                  const Applier& applier, Time now);

// An object that is new: what it has belongs to `manager`, but for what an entry that came with it says.
void track_create(const Kind& kind, json::object& body, std::string_view manager, Time now);
// After another kind of write: what it changed belongs to `manager` now. Does nothing on objects that are not tracked.
// Of more than kUpdateManagers the oldest are put together under the name "ancient-changes".
constexpr std::size_t kUpdateManagers = 10;
void track_update(const Kind& kind, const json::object& before, json::object& after, std::string_view manager,
                  std::string_view subresource, Time now);

}  // namespace trama::api
