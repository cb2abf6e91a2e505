// SPDX-License-Identifier: GPL-2.0-or-later
// The TUN device that packets for the tunnel go through. It outlives the agent; routes through it do not, because the
// kernel drops nexthops over a device without carrier, and a TUN device has one only while somebody holds it.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::overlay::tunnel {

// Whether this machine has TUN devices at all.
base::Result<> can_make_tun();
// Makes it if it is not there, and holds it: it has its carrier as long as the descriptor lives. Nothing is read there.
// In the network namespace of the calling thread. EBUSY when another program has it.
base::Result<base::UniqueFd> hold_tun(const std::string& name);
// That many queues of a device that hold_tun has made, non-blocking, each packet with a virtio_net_hdr in front. ENODEV
// when there is none. The kernel hands out pieces of up to 64 KB where it can.
base::Result<std::vector<base::UniqueFd>> attach_tun(const std::string& name, unsigned queues);

}  // namespace trama::overlay::tunnel
