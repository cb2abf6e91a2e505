// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/links/frame.h"

#include <cstring>

#include <linux/if_ether.h>
#include <netinet/in.h>

namespace trama::cli {

namespace {

using Bytes = std::span<const std::byte>;

unsigned byte_at(Bytes b, std::size_t at) { return at < b.size() ? static_cast<unsigned>(b[at]) : 0; }
unsigned word_at(Bytes b, std::size_t at) { return byte_at(b, at) << 8 | byte_at(b, at + 1); }

void read_ports(Bytes segment, FrameHead& head) {
  if ((head.protocol == IPPROTO_TCP || head.protocol == IPPROTO_UDP) && segment.size() >= 4)
    head.port = static_cast<std::uint16_t>(word_at(segment, 2));
}

void read_ipv4(Bytes packet, FrameHead& head) {
  std::size_t length = (byte_at(packet, 0) & 15u) * 4;
  if (packet.size() < 20 || byte_at(packet, 0) >> 4 != 4 || length < 20 || length > packet.size()) return;
  head.protocol = static_cast<std::uint8_t>(byte_at(packet, 9));
  bool first = (word_at(packet, 6) & 0x1fffu) == 0;
  if (first) read_ports(packet.subspan(length), head);
}

// Extension headers are not followed: underlays use none.
void read_ipv6(Bytes packet, FrameHead& head) {
  if (packet.size() < 40 || byte_at(packet, 0) >> 4 != 6) return;
  auto next = byte_at(packet, 6);
  head.protocol = static_cast<std::uint8_t>(next == IPPROTO_ICMPV6 ? +IPPROTO_ICMP : next);
  read_ports(packet.subspan(40), head);
}

}  // namespace

std::optional<FrameHead> parse_frame(Bytes frame) {
  if (frame.size() < ETH_HLEN) return std::nullopt;
  FrameHead head;
  std::memcpy(head.destination.octets.data(), frame.data(), ETH_ALEN);
  std::memcpy(head.source.octets.data(), frame.data() + ETH_ALEN, ETH_ALEN);
  auto type = word_at(frame, 2 * ETH_ALEN);
  if (type == ETH_P_IP) read_ipv4(frame.subspan(ETH_HLEN), head);
  if (type == ETH_P_IPV6) read_ipv6(frame.subspan(ETH_HLEN), head);
  return head;
}

bool fits(const Match& match, const FrameHead& frame) {
  if (match.protocol && match.protocol != frame.protocol) return false;
  return !match.port || match.port == frame.port;
}

}  // namespace trama::cli
