// SPDX-License-Identifier: GPL-2.0-or-later
// Objects as they are stored and as a group shows them: events.k8s.io names some fields of Events differently than the
// core group, and both are the same objects. Pure.
#pragma once

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/server/route.h"

namespace trama::server {

// The kind whose objects these are.
const api::Kind& storage_kind(const api::Kind& kind);
// Where the store keeps what the path names.
api::Key key_of(const ResourcePath& path);
// From the group's form to the stored one.
void to_storage(const api::Kind& kind, api::json::object& body);
// An object as this group sees it.
api::json::object view_of(const api::Kind& kind, const api::Object& object);

}  // namespace trama::server
