// SPDX-License-Identifier: GPL-2.0-or-later
// The controller's listening sockets: opened here, or handed over by whoever started us.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/unique_fd.h"

namespace trama::control {

struct Listener {
  base::UniqueFd socket;
  base::IpPort address;  // as bound: the port is never 0
};

// "address:port" or "[v6]:port"; port 0 lets the kernel choose.
base::Result<base::IpPort> parse_address(const std::string& text);
base::Result<Listener> open_listener(const base::IpPort& address);
// Sockets by systemd's protocol: LISTEN_PID is us, LISTEN_FDS of them from descriptor 3 on. The variables are removed.
// Anything that is not a listening TCP socket is an error that names the descriptor.
base::Result<std::vector<Listener>> inherited_listeners();
// Addresses of this network namespace's interfaces, loopback and link-local ones left out.
std::vector<base::Ip> local_addresses();

// Tells whoever waits for us: the descriptor gets "READY\n" and is closed (-1 = nobody waits), NOTIFY_SOCKET gets
// READY=1.
void announce_ready(int ready_fd);

}  // namespace trama::control
