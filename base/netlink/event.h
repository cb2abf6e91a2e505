// SPDX-License-Identifier: GPL-2.0-or-later
// An rtnetlink notification, as far as it decides who has to look again. Pure.
#pragma once

#include <cstdint>
#include <optional>

#include "base/netlink/message.h"

namespace trama::netlink {

struct Event {
  bool overrun = false;    // events were lost
  std::uint16_t type = 0;  // RTM_*; 0 with overrun
  // Interface index of link, address, neighbour, route (its output) and netconf messages; 0 = not known.
  std::uint32_t link = 0;
  std::uint8_t protocol = 0;         // of route and nexthop messages (RTPROT_*)
  std::uint8_t scope = 0;            // of address messages (RT_SCOPE_*)
  std::optional<std::int32_t> nsid;  // where it happened, when that is another namespace
};

// What one datagram says about itself: the reading of its first message. Whatever is malformed is "not known".
Event read_event(Bytes datagram);

}  // namespace trama::netlink
