// SPDX-License-Identifier: GPL-2.0-or-later
// Desired states and empty machines for tests of the overlay.
#pragma once

#include "overlay/plan.h"

namespace trama::overlay::test {

inline Ip ip(const char* text) { return *Ip::parse(text); }
inline Cidr cidr(const char* text) { return *Cidr::parse(text); }
inline Cidr cidr(const std::string& text) { return *Cidr::parse(text); }

// Node number n of a cluster: underlay 192.168.77.n, pods 10.244.n.0/24 and fd00:244:n::/64.
inline Peer peer(unsigned n, bool dual = true) {
  Peer p{fmt::format("n{}", n),
         Ip::v4(192, 168, static_cast<std::uint8_t>(77 + n / 250), static_cast<std::uint8_t>(n % 250)),
         {}};
  p.pod_cidrs.push_back(
      Cidr::of(Ip::v4(10, static_cast<std::uint8_t>(244 + n / 256), static_cast<std::uint8_t>(n % 256), 0), 24));
  if (dual) p.pod_cidrs.push_back(cidr(fmt::format("fd00:244:{:x}::/64", n)));
  return p;
}

inline Desired node(unsigned self, unsigned count, bool dual = true) {
  Desired d;
  auto me = peer(self, dual);
  d.node = me.node;
  d.cluster_id = "test";
  d.underlay = me.underlay;
  d.pod_cidrs = me.pod_cidrs;
  d.cluster_cidrs = {cidr("10.240.0.0/12")};
  if (dual) d.cluster_cidrs.push_back(cidr("fd00:244::/32"));
  d.dns = {ip("10.96.0.10")};
  if (dual) d.dns.push_back(ip("fd00:96::a"));
  for (unsigned n = 1; n <= count; ++n)
    if (n != self) d.peers.emplace(fmt::format("n{}", n), peer(n, dual));
  return d;
}

inline Observed empty_machine(const Desired& d, Mode mode = Mode::nexthop) {
  Observed o;
  o.mode = mode;
  o.uplinks[d.underlay] = Uplink{base::IfIndex{2}, "eth0", 1500};
  o.sysctls = {{"net/ipv4/ip_forward", "0"}, {"net/ipv6/conf/all/forwarding", "0"}};
  return o;
}

inline std::string text_of(const std::vector<Op>& ops) {
  std::string out;
  for (const auto& op : ops) out += to_text(op) + "\n";
  return out;
}

}  // namespace trama::overlay::test
