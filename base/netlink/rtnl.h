// SPDX-License-Identifier: GPL-2.0-or-later
// Links, addresses, routes, neighbours and nexthops as values, and the requests that make, change and list them.
// Encoders and decoders are pure; nothing here knows what the objects are for.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/netlink/exchange.h"
#include "base/netlink/request.h"
#include "base/strong.h"

namespace trama::netlink {

using base::Cidr;
using base::Family;
using base::IfIndex;
using base::Ip;
using base::Mac;
using base::Vni;

// ---- links ------------------------------------------------------------------------------------------------------

struct Vxlan {
  Vni vni;                 // 0 with external
  std::uint16_t port = 0;  // UDP destination port
  bool external = false;   // tunnel parameters come with each packet (collect metadata)
  bool learning = false;
  bool udp_csum = true;
  std::uint16_t source_port_low = 0, source_port_high = 0;  // 0,0 = the kernel's choice
  std::optional<Ip> local;
  friend bool operator==(const Vxlan&, const Vxlan&) = default;
};

struct Link {
  IfIndex index;
  std::string name;
  std::string kind;   // "veth", "vxlan", "bridge", ""
  std::string alias;  // ifalias
  std::vector<std::string> altnames;
  Mac mac;
  unsigned mtu = 0;
  std::uint32_t group = 0;
  bool up = false;       // IFF_UP: switched on
  bool carrier = false;  // IFF_LOWER_UP: the other end is there and up
  // The device's switches as in /proc/sys/net/ipv{4,6}/conf/<name>/; by IPV4_DEVCONF_* - 1 and DEVCONF_*. Empty: the
  // kernel did not say.
  std::vector<std::int32_t> ipv4_conf, ipv6_conf;
  std::optional<std::uint8_t> addr_gen_mode;  // IN6_ADDR_GEN_MODE_*
  std::optional<IfIndex> peer;                // IFLA_LINK
  std::optional<std::int32_t> peer_nsid;      // IFLA_LINK_NETNSID
  std::optional<IfIndex> master;
  std::optional<Vxlan> vxlan;
};

struct VethSpec {
  std::string name;  // host end
  IfIndex index;     // 0 = the kernel's choice
  Mac mac;
  unsigned mtu = 1500;
  std::uint32_t group = 0;
  std::string peer_name;  // other end
  Mac peer_mac;
  int peer_netns_fd = -1;  // made directly in that namespace; -1 = here
};
// Both ends stay down: set up what must be there before the first packet, then bring them up.
Request create_veth(const VethSpec&);
// The kernel takes no alias in a create call: set_link_alias() afterwards.
Request create_vxlan(const std::string& name, const Vxlan&, const Mac&, unsigned mtu);
Request create_bridge(const std::string& name);
Request set_link_up(IfIndex, bool up);
Request set_link_mtu(IfIndex, unsigned mtu);
Request set_link_mac(IfIndex, const Mac&);
// The outer source address of a VXLAN device that is not external; the family must stay the same.
Request set_vxlan_local(IfIndex, const Ip& local);
Request set_link_alias(IfIndex, const std::string& alias);
Request set_link_group(IfIndex, std::uint32_t group);
Request set_link_master(IfIndex, IfIndex master);
// A port of a bridge into which the bridge sends nothing but what is meant for an address learned there, and on which
// it learns none: it only takes.
Request set_bridge_port_mute(IfIndex);
// 1: a link takes no packets that are still to be cut into segments, as a cable would not. kGsoSegments is the kernel's
// usual value.
constexpr std::uint32_t kGsoSegments = 65535;
Request set_gso_max_segments(IfIndex, std::uint32_t segments);
Request set_link_netns(IfIndex, int netns_fd, const std::string& name);
// No IPv6 link-local address of the kernel's making; must be set before the link goes up.
Request set_addr_gen_none(IfIndex);
// Per-device IPv4 switches (IPV4_DEVCONF_*, value) in one message; what /proc/sys/net/ipv4/conf/<name>/ shows.
Request set_ipv4_conf(IfIndex, const std::vector<std::pair<std::uint16_t, std::uint32_t>>& values);
Request add_altname(IfIndex, const std::string& altname);
Request delete_altname(IfIndex, const std::string& altname);
Request delete_link(IfIndex);
// Deletes every link of the group at once: one RCU grace period for all of them.
Request delete_link_group(std::uint32_t group);
Request get_link(const std::string& name);
Request get_link(IfIndex);
Request list_links();
Result<Link> decode_link(const Part&);

// ---- addresses --------------------------------------------------------------------------------------------------

struct Address {
  IfIndex link;
  Ip ip;
  unsigned length = 32;
  std::uint32_t flags = 0;  // IFA_F_*
  std::uint8_t scope = 0;   // RT_SCOPE_*
  friend auto operator<=>(const Address&, const Address&) = default;
};
Request put_address(const Address&);  // idempotent
Request delete_address(const Address&);
Request list_addresses(std::optional<Family> = {});
Result<Address> decode_address(const Part&);

// ---- routes -----------------------------------------------------------------------------------------------------

struct Route {
  Cidr destination;
  IfIndex link;  // 0 with a nexthop id or a type without a link
  std::optional<Ip> gateway;
  std::optional<Ip> source;  // preferred source address
  std::uint32_t nexthop_id = 0;
  unsigned mtu = 0;          // 0 = the link's
  std::uint32_t metric = 0;  // IPv6: 0 means the kernel's 1024
  std::uint8_t protocol = 0;
  std::uint8_t type = 1;   // RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, …
  std::uint8_t scope = 0;  // RT_SCOPE_*
  std::uint32_t table = 254;
  bool onlink = false;
  friend auto operator<=>(const Route&, const Route&) = default;
};
Request add_route(const Route&);  // EEXIST when the prefix is taken at that metric, by us or by anybody
Request put_route(const Route&);  // create or replace; replaces a foreign route just the same
Request delete_route(const Route&);
// protocol 0 = all. With strict checking the kernel filters by protocol and table, so foreign routes cost nothing.
Request list_routes(Family, std::uint8_t protocol);
Result<Route> decode_route(const Part&);
// What the kernel would do with a packet to `destination` (RTM_GETROUTE).
Request lookup_route(const Ip& destination);

// ---- neighbours -------------------------------------------------------------------------------------------------

struct Neighbour {
  IfIndex link;
  Ip ip;  // for FDB entries: unused
  Mac mac;
  std::uint16_t state = 0;            // NUD_*
  std::optional<Ip> fdb_destination;  // present = an FDB entry of a VXLAN device: frames to mac go there
  friend auto operator<=>(const Neighbour&, const Neighbour&) = default;
};
Request put_neighbour(const Neighbour&);  // create or replace, permanent
Request delete_neighbour(const Neighbour&);
Request list_neighbours(Family, IfIndex link = {});
Request list_fdb(IfIndex link);
Result<Neighbour> decode_neighbour(const Part&);

// ---- nexthop objects (Linux 5.3) --------------------------------------------------------------------------------

struct Nexthop {
  std::uint32_t id = 0;
  IfIndex link;
  std::optional<Ip> gateway;
  bool onlink = false;
  std::uint8_t protocol = 0;
  struct Encap {  // lightweight tunnel: outer destination for an external VXLAN device
    Vni vni;
    Ip destination;
    std::optional<Ip> source;  // outer source address; absent = the kernel's choice by route
    // UDP checksum of the outer packet. The device flag does not count here; IPv6 drops packets without one.
    bool checksum = true;
    friend auto operator<=>(const Encap&, const Encap&) = default;
  };
  std::optional<Encap> encap;
  friend auto operator<=>(const Nexthop&, const Nexthop&) = default;
};
Request put_nexthop(const Nexthop&);  // create or replace
Request delete_nexthop(std::uint32_t id);
Request list_nexthops();
Result<Nexthop> decode_nexthop(const Part&);

// ---- namespaces -------------------------------------------------------------------------------------------------

// Gives the namespace behind the fd an id in ours, so that `ip netns` and `ip link` can name it. EEXIST is fine.
Request assign_nsid(int netns_fd);

}  // namespace trama::netlink
