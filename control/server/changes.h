// SPDX-License-Identifier: GPL-2.0-or-later
// POST, PUT and PATCH of objects and of their status, approval, scale and binding.
#pragma once

#include "control/server/handlers.h"

namespace trama::server {

// `request` and `path` must outlive the coroutine.
awaitable<api::Answer<Reply>> create(Context context, const Request& request, const ResourcePath& path);
awaitable<api::Answer<Reply>> update(Context context, const Request& request, const ResourcePath& path);
awaitable<api::Answer<Reply>> patch(Context context, const Request& request, const ResourcePath& path);
// pods/NAME/binding: gives the pod its node, once.
awaitable<api::Answer<Reply>> bind(Context context, const Request& request, const ResourcePath& path);

}  // namespace trama::server
