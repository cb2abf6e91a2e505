// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/net_namespace.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include "base/netlink/rtnl.h"

namespace trama::netlink {
namespace {

constexpr std::uint16_t kCreate = NLM_F_CREATE | NLM_F_EXCL;
constexpr std::uint16_t kPut = NLM_F_CREATE | NLM_F_REPLACE;

int index_of(IfIndex i) { return static_cast<int>(i.value); }

Request change_link(IfIndex link, std::string what) {
  Request r(RTM_NEWLINK, 0, std::move(what));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  r.body(header);
  return r;
}

std::string link_text(IfIndex i) { return fmt::format("link #{}", i.value); }

}  // namespace

Request create_veth(const VethSpec& v) {
  Request r(RTM_NEWLINK, kCreate, fmt::format("create veth {}", v.name));
  ifinfomsg header{};
  header.ifi_index = index_of(v.index);
  r.body(header);
  r.text(IFLA_IFNAME, v.name).mac(IFLA_ADDRESS, v.mac).u32(IFLA_MTU, v.mtu).u32(IFLA_GROUP, v.group);
  r.u32(IFLA_TXQLEN, 1000).u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, "veth");
  auto* data = r.begin(IFLA_INFO_DATA);
  auto* peer = r.begin(VETH_INFO_PEER);
  r.body(ifinfomsg{});
  r.text(IFLA_IFNAME, v.peer_name).mac(IFLA_ADDRESS, v.peer_mac).u32(IFLA_MTU, v.mtu);
  r.u32(IFLA_NUM_TX_QUEUES, 1).u32(IFLA_NUM_RX_QUEUES, 1);
  if (v.peer_netns_fd >= 0) r.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(v.peer_netns_fd));
  r.end(peer);
  r.end(data);
  r.end(info);
  return r;
}

Request create_vxlan(const std::string& name, const Vxlan& v, const Mac& mac, unsigned mtu) {
  Request r(RTM_NEWLINK, kCreate, fmt::format("create vxlan {}", name));
  r.body(ifinfomsg{});
  // The address in the create call makes it NET_ADDR_SET: udev's MACAddressPolicy leaves it alone.
  r.text(IFLA_IFNAME, name).mac(IFLA_ADDRESS, mac).u32(IFLA_MTU, mtu);
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, "vxlan");
  auto* data = r.begin(IFLA_INFO_DATA);
  if (v.external)
    r.u8(IFLA_VXLAN_COLLECT_METADATA, 1);
  else
    r.u32(IFLA_VXLAN_ID, v.vni.value);
  r.be16(IFLA_VXLAN_PORT, v.port).u8(IFLA_VXLAN_LEARNING, v.learning ? 1 : 0);
  r.u8(IFLA_VXLAN_UDP_CSUM, v.udp_csum ? 1 : 0);
  if (v.local) r.ip(v.local->is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, *v.local);
  if (v.source_port_high) {
    ifla_vxlan_port_range range{htons(v.source_port_low), htons(v.source_port_high)};
    r.put(IFLA_VXLAN_PORT_RANGE, std::as_bytes(std::span(&range, 1)));
  }
  r.end(data);
  r.end(info);
  return r;
}

Request create_bridge(const std::string& name) {
  Request r(RTM_NEWLINK, kCreate, fmt::format("create bridge {}", name));
  r.body(ifinfomsg{});
  r.text(IFLA_IFNAME, name);
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, "bridge");
  r.end(info);
  return r;
}

Request set_link_up(IfIndex link, bool up) {
  Request r(RTM_NEWLINK, 0, fmt::format("set {} {}", link_text(link), up ? "up" : "down"));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  header.ifi_flags = up ? IFF_UP : 0;
  header.ifi_change = IFF_UP;
  r.body(header);
  return r;
}
Request set_link_mtu(IfIndex link, unsigned mtu) {
  auto r = change_link(link, fmt::format("set mtu {} of {}", mtu, link_text(link)));
  r.u32(IFLA_MTU, mtu);
  return r;
}
Request set_link_mac(IfIndex link, const Mac& mac) {
  auto r = change_link(link, fmt::format("set address {} of {}", mac.to_string(), link_text(link)));
  r.mac(IFLA_ADDRESS, mac);
  return r;
}
Request set_vxlan_local(IfIndex link, const Ip& local) {
  auto r = change_link(link, fmt::format("set local {} of {}", local.to_string(), link_text(link)));
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, "vxlan");
  auto* data = r.begin(IFLA_INFO_DATA);
  r.ip(local.is_v4() ? IFLA_VXLAN_LOCAL : IFLA_VXLAN_LOCAL6, local);
  r.end(data);
  r.end(info);
  return r;
}
Request set_link_alias(IfIndex link, const std::string& alias) {
  auto r = change_link(link, fmt::format("set alias of {}", link_text(link)));
  r.text(IFLA_IFALIAS, alias);
  return r;
}
Request set_link_group(IfIndex link, std::uint32_t group) {
  auto r = change_link(link, fmt::format("set group {} of {}", group, link_text(link)));
  r.u32(IFLA_GROUP, group);
  return r;
}
Request set_link_master(IfIndex link, IfIndex master) {
  auto r = change_link(link, fmt::format("set master of {}", link_text(link)));
  r.u32(IFLA_MASTER, master.value);
  return r;
}
Request set_link_netns(IfIndex link, int netns_fd, const std::string& name) {
  auto r = change_link(link, fmt::format("move {} as {}", link_text(link), name));
  r.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(netns_fd)).text(IFLA_IFNAME, name);
  return r;
}
Request set_bridge_port_mute(IfIndex link) {
  Request r(RTM_SETLINK, 0, fmt::format("mute bridge port {}", link_text(link)));
  ifinfomsg header{};
  header.ifi_family = AF_BRIDGE;
  header.ifi_index = index_of(link);
  r.body(header);
  auto* port = r.begin(IFLA_PROTINFO);
  for (auto what : {IFLA_BRPORT_LEARNING, IFLA_BRPORT_UNICAST_FLOOD, IFLA_BRPORT_MCAST_FLOOD, IFLA_BRPORT_BCAST_FLOOD})
    r.u8(static_cast<std::uint16_t>(what), 0);
  r.end(port);
  return r;
}
Request set_gso_max_segments(IfIndex link, std::uint32_t segments) {
  auto r = change_link(link, fmt::format("set gso_max_segs {} of {}", segments, link_text(link)));
  r.u32(IFLA_GSO_MAX_SEGS, segments);
  return r;
}
Request set_addr_gen_none(IfIndex link) {
  auto r = change_link(link, fmt::format("set addrgenmode none of {}", link_text(link)));
  auto* spec = r.begin(IFLA_AF_SPEC);
  auto* inet6 = r.begin(AF_INET6);
  r.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
  r.end(inet6);
  r.end(spec);
  return r;
}
Request set_ipv4_conf(IfIndex link, const std::vector<std::pair<std::uint16_t, std::uint32_t>>& values) {
  auto r = change_link(link, fmt::format("set IPv4 switches of {}", link_text(link)));
  auto* spec = r.begin(IFLA_AF_SPEC);
  auto* inet = r.begin(AF_INET);
  auto* conf = r.begin(IFLA_INET_CONF);
  for (auto [id, value] : values) r.u32(id, value);
  r.end(conf);
  r.end(inet);
  r.end(spec);
  return r;
}
Request add_altname(IfIndex link, const std::string& altname) {
  Request r(RTM_NEWLINKPROP, NLM_F_EXCL | NLM_F_CREATE | NLM_F_APPEND, fmt::format("add altname {}", altname));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  r.body(header);
  auto* list = r.begin(IFLA_PROP_LIST);
  r.text(IFLA_ALT_IFNAME, altname);
  r.end(list);
  return r;
}
Request delete_altname(IfIndex link, const std::string& altname) {
  Request r(RTM_DELLINKPROP, 0, fmt::format("delete altname {}", altname));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  r.body(header);
  auto* list = r.begin(IFLA_PROP_LIST);
  r.text(IFLA_ALT_IFNAME, altname);
  r.end(list);
  return r;
}
Request delete_link(IfIndex link) {
  Request r(RTM_DELLINK, 0, fmt::format("delete {}", link_text(link)));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  r.body(header);
  return r;
}
Request delete_link_group(std::uint32_t group) {
  Request r(RTM_DELLINK, 0, fmt::format("delete links of group {}", group));
  r.body(ifinfomsg{});
  r.u32(IFLA_GROUP, group);
  return r;
}
Request get_link(const std::string& name) {
  Request r(RTM_GETLINK, 0, fmt::format("find link {}", name));
  r.body(ifinfomsg{});
  r.text(name.size() < IFNAMSIZ ? IFLA_IFNAME : IFLA_ALT_IFNAME, name);
  return r;
}
Request get_link(IfIndex link) {
  Request r(RTM_GETLINK, 0, fmt::format("find {}", link_text(link)));
  ifinfomsg header{};
  header.ifi_index = index_of(link);
  r.body(header);
  return r;
}
Request list_links() {
  Request r(RTM_GETLINK, 0, "list links");
  r.body(ifinfomsg{});
  return r;
}

namespace {
Request address_request(std::uint16_t type, std::uint16_t flags, const Address& a, std::string what) {
  Request r(type, flags, std::move(what));
  ifaddrmsg header{};
  header.ifa_family = base::address_family(a.ip.family());
  header.ifa_prefixlen = static_cast<std::uint8_t>(a.length);
  header.ifa_scope = a.scope;
  header.ifa_index = a.link.value;
  r.body(header);
  r.ip(IFA_LOCAL, a.ip).ip(IFA_ADDRESS, a.ip);
  if (a.flags) r.u32(IFA_FLAGS, a.flags);
  if (a.flags & IFA_F_DEPRECATED) {
    // The kernel sets the flag itself, of an address whose preferred life is over and whose life is not.
    ifa_cacheinfo life{};
    life.ifa_valid = UINT32_MAX;
    r.put(IFA_CACHEINFO, std::as_bytes(std::span(&life, 1)));
  }
  return r;
}
}  // namespace

Request put_address(const Address& a) {
  return address_request(RTM_NEWADDR, kPut, a,
                         fmt::format("add address {}/{} on {}", a.ip.to_string(), a.length, link_text(a.link)));
}
Request delete_address(const Address& a) {
  return address_request(RTM_DELADDR, 0, a, fmt::format("delete address {}/{}", a.ip.to_string(), a.length));
}
Request list_addresses(std::optional<Family> family) {
  Request r(RTM_GETADDR, 0, "list addresses");
  ifaddrmsg header{};
  header.ifa_family = family ? base::address_family(*family) : AF_UNSPEC;
  r.body(header);
  return r;
}

namespace {
Request route_request(std::uint16_t type, std::uint16_t flags, const Route& route, std::string what) {
  Request r(type, flags, std::move(what));
  rtmsg header{};
  header.rtm_family = base::address_family(route.destination.family());
  header.rtm_dst_len = static_cast<std::uint8_t>(route.destination.length());
  header.rtm_table = route.table < 256 ? static_cast<std::uint8_t>(route.table) : std::uint8_t{RT_TABLE_UNSPEC};
  header.rtm_protocol = route.protocol;
  header.rtm_scope = route.scope;
  header.rtm_type = route.type;
  header.rtm_flags = route.onlink ? RTNH_F_ONLINK : 0;
  r.body(header);
  if (route.table >= 256) r.u32(RTA_TABLE, route.table);
  if (route.destination.length() > 0) r.ip(RTA_DST, route.destination.address());
  if (route.metric) r.u32(RTA_PRIORITY, route.metric);
  if (route.nexthop_id) {
    r.u32(RTA_NH_ID, route.nexthop_id);
  } else {
    if (route.link.value) r.u32(RTA_OIF, route.link.value);
    if (route.gateway) r.ip(RTA_GATEWAY, *route.gateway);
  }
  if (route.source) r.ip(RTA_PREFSRC, *route.source);
  if (route.mtu) {
    auto* metrics = r.begin(RTA_METRICS);
    r.u32(RTAX_MTU, route.mtu);
    r.end(metrics);
  }
  return r;
}
}  // namespace

Request add_route(const Route& route) {
  return route_request(RTM_NEWROUTE, kCreate, route, fmt::format("add route {}", route.destination.to_string()));
}
Request put_route(const Route& route) {
  return route_request(RTM_NEWROUTE, kPut, route, fmt::format("put route {}", route.destination.to_string()));
}
Request delete_route(const Route& route) {
  return route_request(RTM_DELROUTE, 0, route, fmt::format("delete route {}", route.destination.to_string()));
}
Request list_routes(Family family, std::uint8_t protocol) {
  Request r(RTM_GETROUTE, 0, "list routes");
  rtmsg header{};
  header.rtm_family = base::address_family(family);
  header.rtm_protocol = protocol;
  r.body(header);
  return r;
}
Request lookup_route(const Ip& destination) {
  Request r(RTM_GETROUTE, 0, fmt::format("look up the route to {}", destination.to_string()));
  rtmsg header{};
  header.rtm_family = base::address_family(destination.family());
  header.rtm_dst_len = static_cast<std::uint8_t>(destination.bits());
  r.body(header);
  r.ip(RTA_DST, destination);
  return r;
}

namespace {
Request neighbour_request(std::uint16_t type, std::uint16_t flags, const Neighbour& n, std::string what) {
  Request r(type, flags, std::move(what));
  ndmsg header{};
  header.ndm_ifindex = index_of(n.link);
  if (n.fdb_destination) {
    header.ndm_family = AF_BRIDGE;
    header.ndm_state = NUD_PERMANENT | NUD_NOARP;
    header.ndm_flags = NTF_SELF;
    r.body(header);
    r.mac(NDA_LLADDR, n.mac).ip(NDA_DST, *n.fdb_destination);
    return r;
  }
  header.ndm_family = base::address_family(n.ip.family());
  header.ndm_state = NUD_PERMANENT;
  r.body(header);
  r.ip(NDA_DST, n.ip);
  if (type == RTM_NEWNEIGH) r.mac(NDA_LLADDR, n.mac);
  return r;
}
std::string neighbour_text(const Neighbour& n) {
  return n.fdb_destination ? fmt::format("fdb entry {}", n.mac.to_string())
                           : fmt::format("neighbour {}", n.ip.to_string());
}
}  // namespace

Request put_neighbour(const Neighbour& n) {
  return neighbour_request(RTM_NEWNEIGH, kPut, n, "put " + neighbour_text(n));
}
Request delete_neighbour(const Neighbour& n) {
  return neighbour_request(RTM_DELNEIGH, 0, n, "delete " + neighbour_text(n));
}
Request list_neighbours(Family family, IfIndex link) {
  Request r(RTM_GETNEIGH, 0, "list neighbours");
  ndmsg header{};
  header.ndm_family = base::address_family(family);
  r.body(header);
  if (link.value) r.u32(NDA_IFINDEX, link.value);
  return r;
}
Request list_fdb(IfIndex link) {
  Request r(RTM_GETNEIGH, 0, "list fdb entries");
  ndmsg header{};
  header.ndm_family = AF_BRIDGE;
  header.ndm_ifindex = index_of(link);
  r.body(header);
  return r;
}

namespace {
// LWTUNNEL_IP_* / LWTUNNEL_IP6_*: the two enumerations agree in what is used here.
constexpr std::uint16_t kTunnelId = LWTUNNEL_IP_ID, kTunnelDestination = LWTUNNEL_IP_DST,
                        kTunnelSource = LWTUNNEL_IP_SRC, kTunnelFlags = LWTUNNEL_IP_FLAGS, kTunnelChecksum = 1;
}  // namespace

Request put_nexthop(const Nexthop& n) {
  Request r(RTM_NEWNEXTHOP, kPut, fmt::format("put nexthop {}", n.id));
  nhmsg header{};
  auto family = n.gateway ? n.gateway->family() : Family::v4;
  header.nh_family = base::address_family(family);
  header.nh_protocol = n.protocol;
  header.nh_flags = n.onlink ? RTNH_F_ONLINK : 0;
  r.body(header);
  r.u32(NHA_ID, n.id).u32(NHA_OIF, n.link.value);
  if (n.gateway) r.ip(NHA_GATEWAY, *n.gateway);
  if (n.encap) {
    bool v4 = n.encap->destination.is_v4();
    r.u16(NHA_ENCAP_TYPE, v4 ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6);
    auto* encap = r.begin(NHA_ENCAP);
    r.be64(kTunnelId, n.encap->vni.value).ip(kTunnelDestination, n.encap->destination);
    if (n.encap->source) r.ip(kTunnelSource, *n.encap->source);
    if (n.encap->checksum) r.be16(kTunnelFlags, kTunnelChecksum);
    r.end(encap);
  }
  return r;
}
Request delete_nexthop(std::uint32_t id) {
  Request r(RTM_DELNEXTHOP, 0, fmt::format("delete nexthop {}", id));
  r.body(nhmsg{});
  r.u32(NHA_ID, id);
  return r;
}
Request list_nexthops() {
  Request r(RTM_GETNEXTHOP, 0, "list nexthops");
  r.body(nhmsg{});
  return r;
}

Request assign_nsid(int netns_fd) {
  Request r(RTM_NEWNSID, 0, "assign a namespace id");
  rtgenmsg header{};
  header.rtgen_family = AF_UNSPEC;
  r.body(header);
  r.u32(NETNSA_FD, static_cast<std::uint32_t>(netns_fd));
  r.u32(NETNSA_NSID, static_cast<std::uint32_t>(-1));
  return r;
}

}  // namespace trama::netlink
