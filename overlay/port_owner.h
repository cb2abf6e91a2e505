// SPDX-License-Identifier: GPL-2.0-or-later
// Who holds a UDP port: for the one error that operators must be able to act on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace trama::overlay {

// The socket inodes bound to `port` in a table of /proc/net/udp or udp6; 0 stands for a socket of the kernel's own.
// Lines that do not look right are passed over.
std::vector<std::uint64_t> udp_inodes(std::string_view table, std::uint16_t port);

// "pid 1234 (weaver)", "the VXLAN device flannel.1", or "a socket that no visible process holds". Looks in the current
// thread's network namespace; reads every process's file table, so only for the failure path.
std::string udp_port_owner(std::uint16_t port);

}  // namespace trama::overlay
