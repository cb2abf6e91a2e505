// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "control/api/object.h"

namespace trama::api {

// An update of a Service by a client that does not repeat what the server gave it, or that changes its type.
// Addresses and ports that `spec` leaves out are taken over from `old` as far as the type still has them; those that
// no longer fit the type are dropped unless the client changed them. Both are the `spec` objects.
void carry_service_allocations(const json::object& old, json::object& spec);

}  // namespace trama::api
