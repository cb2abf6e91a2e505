// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include "overlay/plan.h"

namespace trama::overlay {

struct Probe {
  Mode mode = Mode::nexthop;
  std::string why;  // of the fallback: what the kernel refused, in its own words
};

// Tries the nexthop recipe in a network namespace made for the purpose, which is gone afterwards. About a millisecond.
Probe probe_mode();
// Why this kernel has no WireGuard; "" = it has. Tried in the same way, which loads the module where there is one.
std::string probe_wireguard();

}  // namespace trama::overlay
