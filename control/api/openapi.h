// SPDX-License-Identifier: GPL-2.0-or-later
// OpenAPI v3 of one group, made from the tables of kinds and fields: what `kubectl explain` prints, and what tells
// kubectl that the server validates fields itself. Pure.
#pragma once

#include <span>
#include <string_view>

#include "control/api/kinds.h"
#include "control/api/object.h"

namespace trama::api {

// "" is the core group. `version` is the document's own; `asked` are kinds that are only posted, never stored.
json::object openapi_v3(std::string_view group, std::string_view version, std::span<const Kind> asked = {});

// A sentence or two about a message of the schema table; "" for those that say enough by their fields.
std::string_view message_doc(std::string_view message);

}  // namespace trama::api
