// SPDX-License-Identifier: GPL-2.0-or-later
// An echo request in VXLAN, as the kernel would send it: to look at that path while packets to the peer take another
// one. The peer's kernel takes it like any other. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/strong.h"

namespace trama::overlay::peers {

struct VxlanProbe {
  base::Vni vni;
  base::Mac from_mac, to_mac;  // of the VXLAN devices
  base::Ip from, to;           // overlay addresses of one family
  std::uint16_t id = 0, sequence = 0;
};
// An IP packet: an echo request around `body`, not to be cut in pieces.
std::string echo_packet(const base::Ip& from, const base::Ip& to, std::uint16_t id, std::uint16_t sequence,
                        std::string_view body);
// The payload of a UDP datagram to the VXLAN port: VXLAN header, Ethernet, IP, ICMP, `body`.
std::string encode(const VxlanProbe& probe, std::string_view body);

}  // namespace trama::overlay::peers
