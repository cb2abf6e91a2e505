// SPDX-License-Identifier: GPL-2.0-or-later
#include <arpa/inet.h>
#include <endian.h>
#include <linux/if_link.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "base/netlink/rtnl.h"

namespace trama::netlink {
namespace {

template <class Header>
Result<std::pair<Header, Attributes>> open_part(const Part& part, std::uint16_t type, const char* what) {
  if (part.type != type) return Error::from_errno(EBADMSG, fmt::format("{}: message of type {}", what, part.type));
  auto header = fixed_header<Header>(part.payload);
  if (!header) return Error::from_errno(EBADMSG, fmt::format("{}: header cut short", what));
  auto attributes = Attributes::parse(behind_header<Header>(part.payload));
  if (!attributes) return std::move(attributes).error().in(what);
  return std::pair{*header, std::move(*attributes)};
}

std::optional<Ip> ip_in(const Attributes& a, std::uint16_t type) {
  if (!a.has(type)) return std::nullopt;
  auto ip = Ip::from_bytes(a.bytes(type));
  return ip ? std::optional<Ip>(*ip) : std::nullopt;
}

Mac mac_in(const Attributes& a, std::uint16_t type) {
  Mac mac;
  auto b = a.bytes(type);
  if (b.size() >= mac.octets.size()) std::memcpy(mac.octets.data(), b.data(), mac.octets.size());
  return mac;
}

std::optional<Family> family_of(std::uint8_t af) {
  if (af == AF_INET) return Family::v4;
  if (af == AF_INET6) return Family::v6;
  return std::nullopt;
}

constexpr unsigned kLowerUp = 1 << 16;  // IFF_LOWER_UP; <net/if.h> does not have it, <linux/if.h> clashes with it

std::vector<std::int32_t> integers(Bytes raw) {
  std::vector<std::int32_t> out(raw.size() / sizeof(std::int32_t));
  if (!out.empty()) std::memcpy(out.data(), raw.data(), out.size() * sizeof(std::int32_t));
  return out;
}

Ip zero(Family f) {
  std::array<std::byte, 16> raw{};
  return *Ip::from_bytes(std::span<const std::byte>(raw).first(f == Family::v4 ? 4 : 16));
}

Vxlan decode_vxlan(const Attributes& data) {
  Vxlan v;
  v.vni.value = data.get<std::uint32_t>(IFLA_VXLAN_ID).value_or(0);
  v.port = ntohs(data.get<std::uint16_t>(IFLA_VXLAN_PORT).value_or(0));
  v.external = data.has(IFLA_VXLAN_COLLECT_METADATA) && data.get<std::uint8_t>(IFLA_VXLAN_COLLECT_METADATA).value_or(1);
  v.learning = data.get<std::uint8_t>(IFLA_VXLAN_LEARNING).value_or(0);
  v.udp_csum = data.get<std::uint8_t>(IFLA_VXLAN_UDP_CSUM).value_or(0);
  if (auto range = data.get<ifla_vxlan_port_range>(IFLA_VXLAN_PORT_RANGE)) {
    v.source_port_low = ntohs(range->low);
    v.source_port_high = ntohs(range->high);
  }
  v.local = ip_in(data, IFLA_VXLAN_LOCAL);
  if (!v.local) v.local = ip_in(data, IFLA_VXLAN_LOCAL6);
  if (v.local && v.local->is_unspecified()) v.local.reset();
  return v;
}

}  // namespace

Result<Link> decode_link(const Part& part) {
  auto opened = open_part<ifinfomsg>(part, RTM_NEWLINK, "link");
  if (!opened) return std::move(opened).error();
  auto& [header, a] = *opened;
  Link link;
  link.index.value = static_cast<std::uint32_t>(header.ifi_index);
  link.up = header.ifi_flags & IFF_UP;
  link.carrier = header.ifi_flags & kLowerUp;
  link.name = a.text(IFLA_IFNAME);
  link.alias = a.text(IFLA_IFALIAS);
  link.mac = mac_in(a, IFLA_ADDRESS);
  link.mtu = a.get<std::uint32_t>(IFLA_MTU).value_or(0);
  link.group = a.get<std::uint32_t>(IFLA_GROUP).value_or(0);
  if (auto peer = a.get<std::uint32_t>(IFLA_LINK)) link.peer = IfIndex{*peer};
  link.peer_nsid = a.get<std::int32_t>(IFLA_LINK_NETNSID);
  if (auto master = a.get<std::uint32_t>(IFLA_MASTER)) link.master = IfIndex{*master};
  auto families = a.nested(IFLA_AF_SPEC);
  auto inet6 = families.nested(AF_INET6);
  link.ipv4_conf = integers(families.nested(AF_INET).bytes(IFLA_INET_CONF));
  link.ipv6_conf = integers(inet6.bytes(IFLA_INET6_CONF));
  link.addr_gen_mode = inet6.get<std::uint8_t>(IFLA_INET6_ADDR_GEN_MODE);
  auto info = a.nested(IFLA_LINKINFO);
  link.kind = info.text(IFLA_INFO_KIND);
  if (link.kind == "vxlan") link.vxlan = decode_vxlan(info.nested(IFLA_INFO_DATA));
  (void)for_each_attribute(a.bytes(IFLA_PROP_LIST), [&](const Attribute& p) {
    auto* text = reinterpret_cast<const char*>(p.payload.data());
    if (p.type == IFLA_ALT_IFNAME && !p.payload.empty())
      link.altnames.emplace_back(text, strnlen(text, p.payload.size()));
  });
  return link;
}

Result<Address> decode_address(const Part& part) {
  auto opened = open_part<ifaddrmsg>(part, RTM_NEWADDR, "address");
  if (!opened) return std::move(opened).error();
  auto& [header, a] = *opened;
  Address out;
  out.link.value = header.ifa_index;
  out.length = header.ifa_prefixlen;
  out.scope = header.ifa_scope;
  out.flags = a.get<std::uint32_t>(IFA_FLAGS).value_or(header.ifa_flags);
  auto ip = ip_in(a, IFA_LOCAL);
  if (!ip) ip = ip_in(a, IFA_ADDRESS);
  if (!ip) return Error::from_errno(EBADMSG, "address: none in the message");
  out.ip = *ip;
  return out;
}

Result<Route> decode_route(const Part& part) {
  auto opened = open_part<rtmsg>(part, RTM_NEWROUTE, "route");
  if (!opened) return std::move(opened).error();
  auto& [header, a] = *opened;
  auto family = family_of(header.rtm_family);
  if (!family) return Error::from_errno(EAFNOSUPPORT, "route");
  Route out;
  auto destination = ip_in(a, RTA_DST).value_or(zero(*family));
  if (header.rtm_dst_len > destination.bits()) return Error::from_errno(EBADMSG, "route: prefix too long");
  out.destination = Cidr::of(destination, header.rtm_dst_len);
  out.link.value = a.get<std::uint32_t>(RTA_OIF).value_or(0);
  out.gateway = ip_in(a, RTA_GATEWAY);
  out.source = ip_in(a, RTA_PREFSRC);
  out.nexthop_id = a.get<std::uint32_t>(RTA_NH_ID).value_or(0);
  out.mtu = a.nested(RTA_METRICS).get<std::uint32_t>(RTAX_MTU).value_or(0);
  out.metric = a.get<std::uint32_t>(RTA_PRIORITY).value_or(0);
  out.protocol = header.rtm_protocol;
  out.type = header.rtm_type;
  out.scope = header.rtm_scope;
  out.table = a.get<std::uint32_t>(RTA_TABLE).value_or(header.rtm_table);
  out.onlink = header.rtm_flags & RTNH_F_ONLINK;
  return out;
}

Result<Neighbour> decode_neighbour(const Part& part) {
  auto opened = open_part<ndmsg>(part, RTM_NEWNEIGH, "neighbour");
  if (!opened) return std::move(opened).error();
  auto& [header, a] = *opened;
  Neighbour out;
  out.link.value = static_cast<std::uint32_t>(header.ndm_ifindex);
  out.state = header.ndm_state;
  out.mac = mac_in(a, NDA_LLADDR);
  auto destination = ip_in(a, NDA_DST);
  if (header.ndm_family == AF_BRIDGE) {
    out.fdb_destination = destination;
  } else {
    if (!destination) return Error::from_errno(EBADMSG, "neighbour: no address in the message");
    out.ip = *destination;
  }
  return out;
}

Result<Nexthop> decode_nexthop(const Part& part) {
  auto opened = open_part<nhmsg>(part, RTM_NEWNEXTHOP, "nexthop");
  if (!opened) return std::move(opened).error();
  auto& [header, a] = *opened;
  Nexthop out;
  out.id = a.get<std::uint32_t>(NHA_ID).value_or(0);
  out.link.value = a.get<std::uint32_t>(NHA_OIF).value_or(0);
  out.gateway = ip_in(a, NHA_GATEWAY);
  out.onlink = header.nh_flags & RTNH_F_ONLINK;
  out.protocol = header.nh_protocol;
  if (a.has(NHA_ENCAP)) {
    auto tunnel = a.nested(NHA_ENCAP);
    Nexthop::Encap encap;
    encap.vni.value = static_cast<std::uint32_t>(be64toh(tunnel.get<std::uint64_t>(LWTUNNEL_IP_ID).value_or(0)));
    if (auto ip = ip_in(tunnel, LWTUNNEL_IP_DST)) encap.destination = *ip;
    encap.source = ip_in(tunnel, LWTUNNEL_IP_SRC);
    if (encap.source && encap.source->is_unspecified()) encap.source.reset();
    encap.checksum = ntohs(tunnel.get<std::uint16_t>(LWTUNNEL_IP_FLAGS).value_or(0)) & 1;
    out.encap = encap;
  }
  return out;
}

}  // namespace trama::netlink
