// SPDX-License-Identifier: GPL-2.0-or-later
// GET: objects, lists and the scale subresource, from the store's memory.
#pragma once

#include "control/server/handlers.h"

namespace trama::server {

api::Answer<Reply> get(const Context& context, const Request& request, const ResourcePath& path);
api::Answer<Reply> list(const Context& context, const Request& request, const ResourcePath& path);

// autoscaling/v1 Scale of a workload.
api::json::object scale_of(const api::Object& object);

}  // namespace trama::server
