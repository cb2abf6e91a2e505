// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.h"
#include "control/controllers/service_allocation.h"
#include "control/store/store.h"

namespace trama::control {

struct BootstrapFacts {
  std::vector<base::Ip> addresses;  // where the API server can be reached; loopback ones are left out
  std::uint16_t port = 6443;
};

// What must be there before anybody asks: the namespaces default, kube-system, kube-public and kube-node-lease, the
// Service default/kubernetes on the first service address, and its EndpointSlice. Safe to call at every start.
async::awaitable<base::Result<>> ensure_defaults(store::Store& store, ServiceAllocator& allocator,
                                                 BootstrapFacts facts);

}  // namespace trama::control
