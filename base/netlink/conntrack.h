// SPDX-License-Identifier: GPL-2.0-or-later
// Connection tracking entries as values, and the requests that list and delete them (NETLINK_NETFILTER).
#pragma once

#include <optional>

#include "base/ip.h"
#include "base/netlink/exchange.h"
#include "base/netlink/request.h"

namespace trama::netlink {

struct Flow {
  base::Family family = base::Family::v4;
  std::uint8_t protocol = 0;
  base::IpPort source, destination;              // as the first packet had them
  base::IpPort reply_source, reply_destination;  // as the answers have them: after address translation
  std::uint32_t mark = 0;
  std::uint32_t status = 0;  // IPS_*
  std::uint32_t id = 0;
  std::uint16_t zone = 0;
  bool seen_reply() const { return (status & 2) != 0; }
  bool destination_translated() const { return (status & 1u << 5) != 0; }
};

struct FlowFilter {
  base::Family family = base::Family::v4;
  std::uint8_t protocol = 0;              // 0 = all
  std::uint32_t mark = 0, mark_mask = 0;  // mask 0 = any mark
  bool matches(const Flow& flow) const;
};

// The kernel filters by mark, and by protocol since Linux 5.8; callers check again with matches().
Request list_flows(const FlowFilter& filter);
// Exactly this entry: not one that took its place meanwhile. ENOENT when it is gone.
Request delete_flow(const Flow& flow);
Result<Flow> decode_flow(const Part& part);

}  // namespace trama::netlink
