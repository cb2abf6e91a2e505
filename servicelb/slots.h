// SPDX-License-Identifier: GPL-2.0-or-later
// How endpoints share the slots of a service. Pure.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ip.h"

namespace trama::servicelb {

// What one endpoint may have of the connections.
struct Share {
  std::uint32_t weight = 1;
  double grown = 1;  // 0…1: slow start
};

// Slots by endpoint: proportional to weight and growth, at least one each, as few as say it (2:4 is 1:2), at most
// kMostSlots in all.
constexpr std::uint32_t kMostSlots = 16384;
std::vector<std::uint32_t> slots_each(const std::vector<Share>& shares);

// Which endpoint (its index) takes which slot. `before`: who had them. An endpoint that had slots below the new number
// keeps as many of them as it still gets; the holes are filled in turn, so that weighted endpoints alternate.
// Deterministic.
std::vector<std::uint16_t> assign_slots(const std::vector<base::IpPort>& before,
                                        const std::vector<base::IpPort>& endpoints,
                                        const std::vector<std::uint32_t>& each);

// Maglev (Eisenbud et al., NSDI 2016, section 3.4): a table in which every endpoint has its share of places and keeps
// nearly all of them when others come or go: when one of n goes, at most 2 % more than its own share moves. The size is
// prime and at least 100 times the number of endpoints while that fits. Depends on addresses and weights only, so every
// node has the same table.
std::uint32_t maglev_size(std::size_t endpoints);
std::vector<std::uint16_t> maglev_table(const std::vector<base::IpPort>& endpoints,
                                        const std::vector<std::uint32_t>& each, std::uint32_t size);

}  // namespace trama::servicelb
