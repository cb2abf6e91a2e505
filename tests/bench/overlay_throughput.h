// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <vector>

#include "tests/bench/report.h"

namespace trama::bench {

// overlay.vxlan.throughput: Gbit/s of one TCP connection between pods through trama's VXLAN. Floor: a VXLAN device set
// up by
//   hand, in the same run and in turn.
// overlay.tunnel.throughput: the same through the sealed tunnel. Floor: the cheapest program that carries the same
//   pieces between a TUN device and a UDP socket in the same way, without keys and checks.
// overlay.relay.throughput: over a third node. Floor: the tunnel between two, which seals once where this one seals
//   three times and opens three times; all nodes share this machine's cores.
// overlay.tunnel.seal.*: what one core seals, Gbit/s, in packets of full size.
void throughput(std::vector<Row>& rows);

}  // namespace trama::bench
