// SPDX-License-Identifier: GPL-2.0-or-later
// What two nodes on one link tell each other about plain routes: the capability "direct.02aabbccddee" says that the
// sender takes pods' packets as they are, and from which address of its uplink its own pods' come. It stands in a
// conversation that certificates have opened, so nobody on the link can say it for another node. Pure.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace trama::overlay::peers {

std::string plain_capability(const base::Mac& mac);
// The first that is well-formed and an address that one station can have.
std::optional<base::Mac> plain_mac(const std::vector<std::string>& capabilities);

}  // namespace trama::overlay::peers
