// SPDX-License-Identifier: GPL-2.0-or-later
// "table bridge trama-links" on the switch: what it does not let through, because a link is down or because the relay
// carries it. The table belongs to the socket that made it and ends with it. Pure.
#pragma once

#include <set>
#include <utility>

#include "base/nft/blueprint.h"
#include "cli/links/backend.h"

namespace trama::cli {

// Names of ports, "switch" for the switch itself.
using Ways = std::set<std::pair<std::string, std::string>>;

// `carried`: all frames of these ways are held back. Links that are down at `now` hold back what their rule says; on a
// carried way the carrier sees to it itself.
nft::Blueprint link_table(const LinkPlace& place, const std::vector<LinkRule>& rules, const Ways& carried,
                          Nanoseconds now);
// The name of the device by which the relay hands frames to the switch.
constexpr const char* kRelayDevice = "trama.relay";

}  // namespace trama::cli
