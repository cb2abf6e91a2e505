// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.h"
#include "control/controllers/service_allocation.h"
#include "control/pki/rotation.h"
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

// The CAs that are trusted, as the cluster knows it: ConfigMap kube-system/kube-root-ca.crt, which only administrators
// write. Several controllers follow it; no CA at all = nobody has said yet.
extern const api::Key kCaConfigMap;
inline constexpr const char* kCaRotation = "trama.dev/ca-rotation";  // its annotation: started, switched
// Of a Node: short pins of the CAs that it trusts, and of those that signed its certificates.
inline constexpr const char* kTrustedCa = "trama.dev/trusted-ca";
inline constexpr const char* kCertificateCa = "trama.dev/certificate-ca";
inline constexpr const char* kServingCa = "trama.dev/serving-ca";
pki::Authorities authorities_of(const api::json::object& config_map);
pki::Authorities known_authorities(const store::Store& store);
// The body of that ConfigMap: `have` (which may be empty) with these authorities.
api::json::object with_authorities(api::json::object have, const pki::Authorities& authorities);
// Says which they are: when nobody has, and with `anew` in the place of what was said.
async::awaitable<base::Result<>> publish_authorities(store::Store& store, pki::Authorities authorities, bool anew);

}  // namespace trama::control
