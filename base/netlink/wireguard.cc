// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/netlink/wireguard.h"

#include <algorithm>

#include <linux/genetlink.h>
#include <linux/rtnetlink.h>
#include <linux/wireguard.h>
#include <sys/socket.h>

#include "base/sockaddr.h"

namespace trama::netlink {
namespace {

genlmsghdr header(std::uint8_t command, std::uint8_t version) {
  genlmsghdr g{};
  g.cmd = command;
  g.version = version;
  return g;
}

Request device_request(std::uint16_t family, std::uint8_t command, base::IfIndex link, const std::string& what) {
  Request r(family, 0, fmt::format("{} (WireGuard, link {})", what, link.value));
  r.body(header(command, WG_GENL_VERSION)).u32(WGDEVICE_A_IFINDEX, link.value);
  return r;
}

void put(Request& r, std::uint16_t type, const WireguardKey& key) { r.put(type, std::as_bytes(std::span(key.octets))); }

WireguardKey key_at(const Attributes& a, std::uint16_t type) {
  WireguardKey out;
  auto raw = a.bytes(type);
  if (raw.size() == out.octets.size()) std::memcpy(out.octets.data(), raw.data(), raw.size());
  return out;
}

Result<base::Cidr> read_prefix(Bytes attributes) {
  auto a = Attributes::parse(attributes);
  if (!a) return std::move(a).error();
  auto ip = base::Ip::from_bytes(a->bytes(WGALLOWEDIP_A_IPADDR));
  auto length = a->get<std::uint8_t>(WGALLOWEDIP_A_CIDR_MASK);
  if (!ip || !length || *length > ip->bits()) return Error::from_errno(EBADMSG, "a WireGuard peer's prefix");
  return base::Cidr::of(*ip, *length);
}

Result<WireguardPeer> read_peer(Bytes attributes) {
  auto a = Attributes::parse(attributes);
  if (!a) return std::move(a).error();
  WireguardPeer out;
  out.key = key_at(*a, WGPEER_A_PUBLIC_KEY);
  if (out.key.is_zero()) return Error::from_errno(EBADMSG, "a WireGuard peer without a key");
  out.preshared = !key_at(*a, WGPEER_A_PRESHARED_KEY).is_zero();
  out.keepalive = a->get<std::uint16_t>(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL).value_or(0);
  if (auto raw = a->bytes(WGPEER_A_ENDPOINT); raw.size() >= sizeof(sockaddr_in)) {
    sockaddr_storage where{};
    std::memcpy(&where, raw.data(), std::min(raw.size(), sizeof where));
    bool whole = where.ss_family == AF_INET || raw.size() >= sizeof(sockaddr_in6);
    if (auto place = base::from_sockaddr(reinterpret_cast<const sockaddr*>(&where)); whole && place)
      out.endpoint = *place;
  }
  base::Result<> wrong;
  auto walked = for_each_attribute(a->bytes(WGPEER_A_ALLOWEDIPS), [&](const Attribute& item) {
    auto prefix = read_prefix(item.payload);
    if (prefix)
      out.allowed.push_back(*prefix);
    else if (wrong)
      wrong = std::move(prefix).error();
  });
  if (!walked) return std::move(walked).error();
  if (!wrong) return std::move(wrong).error();
  return out;
}

}  // namespace

Request create_wireguard(const std::string& name, unsigned mtu) {
  Request r(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, fmt::format("create wireguard {}", name));
  r.body(ifinfomsg{});
  r.text(IFLA_IFNAME, name).u32(IFLA_MTU, mtu);
  auto* info = r.begin(IFLA_LINKINFO);
  r.text(IFLA_INFO_KIND, WG_GENL_NAME);
  r.end(info);
  return r;
}

Request find_family(const std::string& name) {
  Request r(GENL_ID_CTRL, 0, fmt::format("find generic netlink family {}", name));
  r.body(header(CTRL_CMD_GETFAMILY, 1)).text(CTRL_ATTR_FAMILY_NAME, name);
  return r;
}

Result<std::uint16_t> decode_family(const Part& part) {
  auto a = Attributes::parse(behind_header<genlmsghdr>(part.payload));
  if (!a) return std::move(a).error();
  auto id = a->get<std::uint16_t>(CTRL_ATTR_FAMILY_ID);
  if (!id) return Error::from_errno(EBADMSG, "a generic netlink family without a number");
  return *id;
}

Request dump_wireguard(std::uint16_t family, base::IfIndex link) {
  return device_request(family, WG_CMD_GET_DEVICE, link, "look at the device");
}

Result<Wireguard> decode_wireguard(const Reply& reply) {
  if (reply.empty()) return Error::from_errno(EBADMSG, "look at a WireGuard device: no answer");
  Wireguard out;
  for (const auto& part : reply) {
    auto a = Attributes::parse(behind_header<genlmsghdr>(part.payload));
    if (!a) return std::move(a).error();
    if (a->has(WGDEVICE_A_PUBLIC_KEY)) out.public_key = key_at(*a, WGDEVICE_A_PUBLIC_KEY);
    if (a->has(WGDEVICE_A_PRIVATE_KEY)) out.private_key = key_at(*a, WGDEVICE_A_PRIVATE_KEY);
    out.port = a->get<std::uint16_t>(WGDEVICE_A_LISTEN_PORT).value_or(out.port);
    out.mark = a->get<std::uint32_t>(WGDEVICE_A_FWMARK).value_or(out.mark);
    base::Result<> wrong;
    auto walked = for_each_attribute(a->bytes(WGDEVICE_A_PEERS), [&](const Attribute& item) {
      auto peer = read_peer(item.payload);
      if (!peer) {
        if (wrong) wrong = std::move(peer).error();
        return;
      }
      // What did not fit into a part goes on in the next one, under the same key, without what has been said.
      if (!out.peers.empty() && out.peers.back().key == peer->key)
        out.peers.back().allowed.insert(out.peers.back().allowed.end(), peer->allowed.begin(), peer->allowed.end());
      else
        out.peers.push_back(std::move(*peer));
    });
    if (!walked) return std::move(walked).error();
    if (!wrong) return std::move(wrong).error();
  }
  for (auto& peer : out.peers) std::sort(peer.allowed.begin(), peer.allowed.end());
  return out;
}

Request set_wireguard(std::uint16_t family, base::IfIndex link, const WireguardKey& private_key, std::uint16_t port) {
  auto r = device_request(family, WG_CMD_SET_DEVICE, link, fmt::format("set key and port {}", port));
  put(r, WGDEVICE_A_PRIVATE_KEY, private_key);
  r.u16(WGDEVICE_A_LISTEN_PORT, port).u32(WGDEVICE_A_FWMARK, 0);
  return r;
}

Request put_wireguard_peer(std::uint16_t family, base::IfIndex link, const WireguardPeer& peer) {
  auto r = device_request(family, WG_CMD_SET_DEVICE, link, "put peer " + peer.key.to_string());
  auto* peers = r.begin(WGDEVICE_A_PEERS | NLA_F_NESTED);
  auto* item = r.begin(NLA_F_NESTED);
  put(r, WGPEER_A_PUBLIC_KEY, peer.key);
  put(r, WGPEER_A_PRESHARED_KEY, WireguardKey{});
  r.u32(WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS).u16(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer.keepalive);
  if (peer.endpoint) {
    sockaddr_storage where{};
    auto size = base::to_sockaddr(*peer.endpoint, where);
    r.put(WGPEER_A_ENDPOINT, std::as_bytes(std::span(&where, 1)).first(size));
  }
  auto* list = r.begin(WGPEER_A_ALLOWEDIPS | NLA_F_NESTED);
  for (const auto& prefix : peer.allowed) {
    auto* entry = r.begin(NLA_F_NESTED);
    r.u16(WGALLOWEDIP_A_FAMILY, base::address_family(prefix.family()));
    r.ip(WGALLOWEDIP_A_IPADDR, prefix.address());
    r.u8(WGALLOWEDIP_A_CIDR_MASK, static_cast<std::uint8_t>(prefix.length()));
    r.end(entry);
  }
  r.end(list);
  r.end(item);
  r.end(peers);
  return r;
}

Request remove_wireguard_peer(std::uint16_t family, base::IfIndex link, const WireguardKey& key) {
  auto r = device_request(family, WG_CMD_SET_DEVICE, link, "remove peer " + key.to_string());
  auto* peers = r.begin(WGDEVICE_A_PEERS | NLA_F_NESTED);
  auto* item = r.begin(NLA_F_NESTED);
  put(r, WGPEER_A_PUBLIC_KEY, key);
  r.u32(WGPEER_A_FLAGS, WGPEER_F_REMOVE_ME);
  r.end(item);
  r.end(peers);
  return r;
}

}  // namespace trama::netlink
