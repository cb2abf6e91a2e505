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
  bool alone = true;  // false: other controllers may serve as well, and the leader keeps the EndpointSlice
};

// What must be there before anybody asks: the namespaces default, kube-system, kube-public and kube-node-lease, the
// Service default/kubernetes on the first service address, and its EndpointSlice. Safe to call at every start.
async::awaitable<base::Result<>> ensure_defaults(store::Store& store, ServiceAllocator& allocator,
                                                 BootstrapFacts facts);
// The EndpointSlice default/kubernetes with these addresses, those of the Service's family. Writes only a change.
async::awaitable<base::Result<>> write_kubernetes_slice(store::Store& store, BootstrapFacts facts);

// The CA that nodes trust, as the cluster knows it: ConfigMap kube-system/kube-root-ca.crt. Several controllers must
// have one and the same; "" = nobody has said yet.
std::string known_ca(const store::Store& store);
// Says which CA it is, once. An error when the cluster's is another one.
async::awaitable<base::Result<>> publish_ca(store::Store& store, std::string certificate_pem);

}  // namespace trama::control
