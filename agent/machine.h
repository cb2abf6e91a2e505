// SPDX-License-Identifier: GPL-2.0-or-later
// What this machine is, as the Node object tells it.
#pragma once

#include <string>
#include <vector>

#include "agent/compute/node_status.h"
#include "base/result.h"

namespace trama::agent {

// uname, /etc/os-release, /etc/machine-id, boot id, CPUs and memory. What cannot be read stays empty.
MachineFacts read_machine();
// The host's name in lower case, without a domain's trailing dot.
std::string default_node_name();
// The source address that the default route would use; per family at most one. No packet is sent.
std::vector<base::Ip> default_node_ips();
// What this node has now, which had `had`: of each family what the machine would choose (`now`) in place of an address
// that is not `present` any more. While it is, it stays: IPv6 hosts choose another one each day. One that is gone
// without another in its place stays, too: a cable is out.
std::vector<base::Ip> followed_addresses(const std::vector<base::Ip>& had, const std::vector<base::Ip>& now,
                                         const std::vector<base::Ip>& present);
// Every address of every interface of the calling thread's network namespace that is up; loopback and link-local ones
// left out.
std::vector<base::Ip> local_addresses();
// PRETTY_NAME of an os-release text.
std::string pretty_name(std::string_view os_release);
// MemTotal of a /proc/meminfo text, in bytes.
std::uint64_t total_memory(std::string_view meminfo);

}  // namespace trama::agent
