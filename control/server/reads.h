// SPDX-License-Identifier: GPL-2.0-or-later
// GET: objects, lists and the scale subresource, from the store's memory, when that is as new as was asked for.
#pragma once

#include "control/server/handlers.h"

namespace trama::server {

// Before any read or watch. Without resourceVersion: what was acknowledged before, by whichever controller, is shown.
// "0": whatever memory holds. A revision: waits for it, 3 s at most; whoever reads says then that it is too large.
awaitable<std::optional<api::Status>> catch_up(Context context, const Request& request);
// 504 when `resourceVersion` is not reached yet.
std::optional<api::Status> check_revision(const Context& context, const std::string& text);

api::Answer<Reply> get(const Context& context, const Request& request, const ResourcePath& path);
api::Answer<Reply> list(const Context& context, const Request& request, const ResourcePath& path);

// autoscaling/v1 Scale of a workload.
api::json::object scale_of(const api::Object& object);

}  // namespace trama::server
