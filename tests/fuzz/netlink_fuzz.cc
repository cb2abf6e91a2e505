// SPDX-License-Identifier: GPL-2.0-or-later
// A datagram as the kernel might send it: walked, fed to a conversation, decoded as every kind of object.
#include <cstdlib>

#include <linux/rtnetlink.h>

#include "base/netlink/exchange.h"
#include "base/netlink/rtnl.h"
#include "base/netlink/tc.h"
#include "base/netlink/wireguard.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::netlink;
  Bytes datagram(reinterpret_cast<const std::byte*>(data), size);
  Exchange exchange(1, "fuzz");
  std::size_t walked = 0;
  (void)for_each_message(datagram, [&](const nlmsghdr& h, Bytes payload) {
    walked += sizeof h + payload.size();
    if (walked > size) std::abort();  // beyond the datagram
    auto step = exchange.feed(h, payload);
    if (auto* end = std::get_if<Result<Reply>>(&step); end && !*end && end->error().to_string().empty()) std::abort();
    Part part{h.nlmsg_type, h.nlmsg_flags, {payload.begin(), payload.end()}};
    // Whatever the type field says, each decoder sees the payload.
    part.type = RTM_NEWLINK;
    if (auto link = decode_link(part); link && link->name.find('\0') != std::string::npos) std::abort();
    part.type = RTM_NEWADDR;
    if (auto a = decode_address(part); a) (void)a->ip.to_string();
    part.type = RTM_NEWROUTE;
    if (auto r = decode_route(part); r && r->destination.length() > r->destination.address().bits()) std::abort();
    part.type = RTM_NEWNEIGH;
    if (auto n = decode_neighbour(part); n) (void)n->ip.to_string();
    part.type = RTM_NEWNEXTHOP;
    if (auto n = decode_nexthop(part); n && n->encap) (void)n->encap->destination.to_string();
    if (auto w = decode_wireguard({part, part}); w)
      for (const auto& peer : w->peers) {
        if (peer.key.is_zero()) std::abort();
        for (const auto& prefix : peer.allowed)
          if (prefix.length() > prefix.address().bits()) std::abort();
      }
    (void)decode_family(part);
    part.type = RTM_NEWQDISC;
    if (auto q = decode_qdisc(part); q && q->kind.find('\0') != std::string::npos) std::abort();
  });
  return 0;
}
