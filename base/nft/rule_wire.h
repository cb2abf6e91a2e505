// SPDX-License-Identifier: GPL-2.0-or-later
// Rules on the wire, by libnftnl. Internal to base/nft.
#pragma once

#include "base/nft/decode.h"
#include "base/nft/rule.h"

namespace trama::nft {

// A NEWRULE message with its header. set_ids: one number per anonymous set, in order of appearance.
std::vector<std::byte> encode_rule(Family family, const std::string& table, const std::string& chain, const Rule& rule,
                                   const std::vector<std::uint32_t>& set_ids);

}  // namespace trama::nft
