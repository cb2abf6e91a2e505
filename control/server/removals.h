// SPDX-License-Identifier: GPL-2.0-or-later
// DELETE, of one object or many, and eviction.
#pragma once

#include "control/server/handlers.h"

namespace trama::server {

// `request` and `path` must outlive the coroutine.
awaitable<api::Answer<Reply>> remove(Context context, const Request& request, const ResourcePath& path);
awaitable<api::Answer<Reply>> remove_collection(Context context, const Request& request, const ResourcePath& path);
// pods/NAME/eviction.
awaitable<api::Answer<Reply>> evict(Context context, const Request& request, const ResourcePath& path);

}  // namespace trama::server
