// SPDX-License-Identifier: GPL-2.0-or-later
// The three kinds of patches. Pure: the patched body is returned, the input is not changed on failure.
#pragma once

#include <string>
#include <string_view>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

// RFC 7386.
json::object merge_patch(json::object target, const json::object& patch);
// RFC 6902. At most 10,000 operations.
Answer<json::object> json_patch(const json::object& target, const json::value& operations);
// Upstream's strategic merge: lists with a merge key are merged by it; $patch: delete|replace|merge,
// $deleteFromPrimitiveList/x, $setElementOrder/x and $retainKeys are understood.
Answer<json::object> strategic_patch(const Kind& kind, json::object target, const json::object& patch);

}  // namespace trama::api
