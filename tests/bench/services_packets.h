// SPDX-License-Identifier: GPL-2.0-or-later
// What a packet pays on a node: CPU time of a packet that enters through a veth, is routed, and leaves through another.
#pragma once

#include <vector>

#include "tests/bench/report.h"

namespace trama::bench {

// Packets to random services of `ours` sizes, and of the peer's. Rounds are interleaved and the minimum counts: the
// machine's other work can only add. One kernel per run, so floors and figures are comparable.
std::vector<Row> packet_rows(const std::vector<int>& ours, const std::vector<int>& peers, int endpoints);

}  // namespace trama::bench
