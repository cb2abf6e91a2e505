// SPDX-License-Identifier: GPL-2.0-or-later
// What an Ethernet frame says about where it goes. Pure.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "base/ip.h"
#include "cli/links/model.h"

namespace trama::cli {

struct FrameHead {
  base::Mac destination, source;
  std::uint8_t protocol = 0;          // of IPv4 and IPv6 packets; ICMPv6 counts as ICMP. 0: neither
  std::optional<std::uint16_t> port;  // destination port of TCP and UDP; fragments behind the first have none
  bool to_many() const { return (destination.octets[0] & 1) != 0; }
};
// Nothing when it is shorter than an Ethernet header. Whatever lies or is cut off behind that is taken as not said.
std::optional<FrameHead> parse_frame(std::span<const std::byte> frame);

bool fits(const Match& match, const FrameHead& frame);

}  // namespace trama::cli
