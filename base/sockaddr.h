// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses as the socket calls take and give them.
#pragma once

#include <sys/socket.h>

#include "base/ip.h"

namespace trama::base {

// Fills `out` and returns how much of it counts.
socklen_t to_sockaddr(const IpPort& address, sockaddr_storage& out);
// An error for anything but IPv4 and IPv6.
Result<IpPort> from_sockaddr(const sockaddr* address);

}  // namespace trama::base
