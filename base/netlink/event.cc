// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/event.h"

#include <linux/netconf.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

namespace trama::netlink {

Event read_event(Bytes datagram) {
  Event seen;
  auto header = fixed_header<nlmsghdr>(datagram);
  if (!header) return seen;
  seen.type = header->nlmsg_type;
  auto payload = behind_header<nlmsghdr>(datagram);
  switch (seen.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      if (auto m = fixed_header<ifinfomsg>(payload)) seen.link = static_cast<std::uint32_t>(m->ifi_index);
      break;
    case RTM_NEWADDR:
    case RTM_DELADDR:
      if (auto m = fixed_header<ifaddrmsg>(payload)) seen.link = m->ifa_index, seen.scope = m->ifa_scope;
      break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
      if (auto m = fixed_header<ndmsg>(payload)) seen.link = static_cast<std::uint32_t>(m->ndm_ifindex);
      break;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (auto m = fixed_header<rtmsg>(payload)) seen.protocol = m->rtm_protocol;
      if (auto a = Attributes::parse(behind_header<rtmsg>(payload)))
        seen.link = a->get<std::uint32_t>(RTA_OIF).value_or(0);
      break;
    case RTM_NEWNEXTHOP:
    case RTM_DELNEXTHOP:
      if (auto m = fixed_header<nhmsg>(payload)) seen.protocol = m->nh_protocol;
      break;
    case RTM_NEWNETCONF:
    case RTM_DELNETCONF:
      if (auto a = Attributes::parse(behind_header<netconfmsg>(payload)))
        seen.link = a->get<std::uint32_t>(NETCONFA_IFINDEX).value_or(0);
      break;
    default: break;
  }
  return seen;
}

}  // namespace trama::netlink
