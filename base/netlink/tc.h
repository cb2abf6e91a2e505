// SPDX-License-Identifier: GPL-2.0-or-later
// Traffic control as values: the queueing disciplines, classes and filters that impaired links are made of. Pure.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/netlink/rtnl.h"

namespace trama::netlink {

constexpr std::uint32_t kTcRoot = 0xffffffffu;
constexpr std::uint32_t kTcIngress = 0xffff0000u;
constexpr std::uint32_t tc_handle(std::uint16_t major, std::uint16_t minor = 0) {
  return static_cast<std::uint32_t>(major) << 16 | minor;
}

struct Netem {
  std::chrono::nanoseconds delay{0}, jitter{0};
  std::uint32_t loss_ppm = 0, reorder_ppm = 0;
  std::uint64_t rate = 0;      // bits per second. With one, delayed packets keep their order
  std::uint32_t limit = 1000;  // packets
};

// put_*: created, or changed in place when it is there already.
Request put_netem(IfIndex link, std::uint32_t parent, std::uint32_t handle, const Netem& netem);
// A root that sends what no filter claims as if it were not there.
Request put_htb(IfIndex link, std::uint32_t handle);
Request put_htb_class(IfIndex link, std::uint32_t parent, std::uint32_t classid);  // as fast as it goes
Request put_ingress(IfIndex link);
Request delete_qdisc(IfIndex link, std::uint32_t parent);
Request create_ifb(const std::string& name);
Request list_qdiscs();

// Which packets; absent = whichever. With a protocol the family must be said.
struct TcMatch {
  std::optional<Mac> destination;
  std::optional<Family> family;
  std::uint8_t protocol = 0;
  std::optional<std::uint16_t> port;  // destination
};
// Lower priorities are asked first.
Request add_flower(IfIndex link, std::uint32_t parent, std::uint16_t priority, const TcMatch& match,
                   std::uint32_t classid);
// Everything that comes in goes out by another device, and from there up as if nothing had been.
Request add_redirect(IfIndex link, std::uint16_t priority, IfIndex to);

struct QdiscSeen {
  IfIndex link;
  std::uint32_t handle = 0, parent = 0;
  std::string kind;
  std::uint64_t packets = 0, drops = 0;
};
Result<QdiscSeen> decode_qdisc(const Part&);

}  // namespace trama::netlink
