// SPDX-License-Identifier: GPL-2.0-or-later
// Whose an object is, and what its owner may do with it. Every function answers why not; "" = nothing speaks against
// it.
#pragma once

#include <string>

#include "control/server/authorize.h"

namespace trama::server {

// From the request, and what is in the store now.
std::string why_not(Which which, const Identity& who, const Attempt& what, Known known);
// Inside a write. `old` is null on create, `body` on read and delete; `known` is asked for other objects only.
std::string why_not_object(Which which, const Identity& who, const Attempt& what, const api::Object* old,
                           const api::json::object* body, Known known);
// True when the pod's containers or volumes name this Secret or ConfigMap.
bool names(const api::json::object& pod, std::string_view resource, std::string_view name);

// The ServiceAccount that a pod runs as.
std::string account_of(const api::Object& pod);

}  // namespace trama::server
