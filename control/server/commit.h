// SPDX-License-Identifier: GPL-2.0-or-later
// From a decision about objects to a committed write, or to a rehearsal of one.
#pragma once

#include "control/server/handlers.h"
#include "control/store/writes.h"

namespace trama::server {

// The composition's admissions and the object-level authorisation, as one hook of the write. Context and request must
// outlive it.
store::Hook hook_of(const Context& context, const Request& request, const Attempt& attempt);

// Whether the query says dryRun=All. Anything but All is 422.
api::Answer<bool> dry_run(const Request& request);

// With `dry` the decision is made and answered, and nothing is written.
awaitable<api::Answer<api::ObjectPtr>> commit(store::Store& store, store::Decision decide, bool dry);

}  // namespace trama::server
