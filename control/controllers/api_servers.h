// SPDX-License-Identifier: GPL-2.0-or-later
// Several controllers behind one Service: each says by a Lease that it is there, the leader keeps default/kubernetes.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/ip.h"
#include "control/store/store.h"

namespace trama::control {

struct ApiServer {
  std::string identity;  // "host_1a2b3c4d", one per process
  base::IpPort address;  // where it can be reached
  // The CA that it signs with and, where it has the key of another one, that: short pins. For `trama controller
  // rotate-ca`.
  std::function<std::string()> authorities;
};

inline constexpr const char* kApiServerCa = "trama.dev/ca";  // annotation of the Lease: ApiServer::authorities

// Writes the Lease kube-system/apiserver-IDENTITY every `period`, until it is cancelled.
async::awaitable<void> announce_api_server(store::Store& store, ApiServer self, std::chrono::milliseconds period);
async::awaitable<void> withdraw_api_server(store::Store& store, ApiServer self);
// On the leader: those that have been silent for three periods, by this controller's clock, lose their Lease; the
// EndpointSlice default/kubernetes has the others that serve on `port`.
async::awaitable<void> follow_api_servers(store::Store& store, std::uint16_t port, std::chrono::milliseconds period);

}  // namespace trama::control
