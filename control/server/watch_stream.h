// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "control/server/handlers.h"

namespace trama::server {

// Answers one watch request until its time is up, its client leaves or its history is gone.
awaitable<void> serve_watch(Context context, Request request, ResourcePath path, Stream& stream);

}  // namespace trama::server
