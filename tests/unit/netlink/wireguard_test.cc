// SPDX-License-Identifier: GPL-2.0-or-later
// WireGuard's requests and answers, byte by byte: this machine's kernel may have none to ask.
#include "base/netlink/wireguard.h"

#include <cstring>

#include <gmock/gmock.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <netinet/in.h>

namespace trama::netlink {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

WireguardKey key_of(std::uint8_t fill) {
  WireguardKey key;
  key.octets.fill(fill);
  return key;
}

// Bytes as linux/wireguard.h has them, put together by hand.
struct Wire {
  std::vector<std::byte> bytes;
  Wire& raw(const void* data, std::size_t n) {
    auto* p = static_cast<const std::byte*>(data);
    bytes.insert(bytes.end(), p, p + n);
    return *this;
  }
  template <class T>
  Wire& put(const T& v) {
    return raw(&v, sizeof v);
  }
  Wire& attribute(std::uint16_t type, const void* data, std::size_t n) {
    put(nlattr{static_cast<std::uint16_t>(4 + n), type}).raw(data, n);
    bytes.resize((bytes.size() + 3) & ~std::size_t{3});
    return *this;
  }
  template <class T>
  Wire& value(std::uint16_t type, const T& v) {
    return attribute(type, &v, sizeof v);
  }
  Wire& nest(std::uint16_t type, const Wire& inner) {
    return attribute(type | NLA_F_NESTED, inner.bytes.data(), inner.bytes.size());
  }
};

Wire prefix(std::uint16_t family, std::vector<std::uint8_t> address, std::uint8_t length) {
  Wire w;
  w.value(WGALLOWEDIP_A_FAMILY, family).attribute(WGALLOWEDIP_A_IPADDR, address.data(), address.size());
  w.value(WGALLOWEDIP_A_CIDR_MASK, length);
  return w;
}
const std::vector<std::uint8_t> kPods6{0xfd, 0, 2, 0x44, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};

Part part_of(const Wire& attributes) {
  Wire w;
  w.put(genlmsghdr{WG_CMD_GET_DEVICE, WG_GENL_VERSION, 0});
  w.raw(attributes.bytes.data(), attributes.bytes.size());
  return Part{28, 0, w.bytes};
}

Wire peer_of(const WireguardKey& key, const std::vector<Wire>& prefixes, bool continued = false) {
  Wire w;
  w.value(WGPEER_A_PUBLIC_KEY, key.octets);
  if (!continued) {
    w.value(WGPEER_A_PRESHARED_KEY, key_of(0).octets).value(WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, std::uint16_t{0});
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_port = htons(6785);
    const std::uint8_t address[] = {192, 168, 77, 2};
    std::memcpy(&at.sin_addr, address, sizeof address);
    w.value(WGPEER_A_ENDPOINT, at);
  }
  Wire list;
  for (const auto& p : prefixes) list.nest(0, p);
  return w.nest(WGPEER_A_ALLOWEDIPS, list);
}

TEST(Wireguard, ADeviceIsReadAndAPeerThatIsCutInTwoIsOne) {
  Wire first, peers, more;
  first.value(WGDEVICE_A_IFINDEX, std::uint32_t{9}).value(WGDEVICE_A_PRIVATE_KEY, key_of(7).octets);
  first.value(WGDEVICE_A_PUBLIC_KEY, key_of(8).octets).value(WGDEVICE_A_LISTEN_PORT, std::uint16_t{6785});
  first.value(WGDEVICE_A_FWMARK, std::uint32_t{3});
  peers.nest(0, peer_of(key_of(1), {prefix(AF_INET6, kPods6, 64)}));
  first.nest(WGDEVICE_A_PEERS, peers);
  Wire second;
  more.nest(0, peer_of(key_of(1), {prefix(AF_INET, {10, 244, 2, 0}, 24)}, true));
  more.nest(0, peer_of(key_of(2), {}));
  second.nest(WGDEVICE_A_PEERS, more);

  auto seen = decode_wireguard({part_of(first), part_of(second)});
  ASSERT_TRUE(seen) << seen.error().to_string();
  EXPECT_EQ(seen->private_key, key_of(7));
  EXPECT_EQ(seen->public_key, key_of(8));
  EXPECT_EQ(seen->port, 6785);
  EXPECT_EQ(seen->mark, 3u);
  ASSERT_EQ(seen->peers.size(), 2u);
  EXPECT_THAT(seen->peers[0].allowed,
              ElementsAre(*base::Cidr::parse("10.244.2.0/24"), *base::Cidr::parse("fd00:244:2::/64")));
  EXPECT_EQ(seen->peers[0].endpoint->to_string(), "192.168.77.2:6785");
  EXPECT_FALSE(seen->peers[0].preshared);
  EXPECT_THAT(seen->peers[1].allowed, IsEmpty());
}

TEST(Wireguard, WhatCannotBeIsRefused) {
  for (auto bad : {peer_of(key_of(0), {}), peer_of(key_of(1), {prefix(AF_INET, {10, 244, 2, 0}, 33)}),
                   peer_of(key_of(1), {prefix(AF_INET, {10, 244, 2}, 24)})}) {
    Wire device, peers;
    peers.nest(0, bad);
    device.nest(WGDEVICE_A_PEERS, peers);
    EXPECT_FALSE(decode_wireguard({part_of(device)}));
  }
  EXPECT_FALSE(decode_wireguard({}));
}

// The walk of the request's own bytes, with the kernel's numbers.
std::map<std::uint16_t, Bytes> walk(Bytes attributes) {
  std::map<std::uint16_t, Bytes> out;
  EXPECT_TRUE(for_each_attribute(attributes, [&](const Attribute& a) { out[a.type] = a.payload; }));
  return out;
}
template <class T>
T as(Bytes bytes) {
  T out{};
  EXPECT_EQ(bytes.size(), sizeof out);
  std::memcpy(&out, bytes.data(), std::min(bytes.size(), sizeof out));
  return out;
}

TEST(Wireguard, APeerIsPutWholeWithItsPrefixesReplaced) {
  WireguardPeer peer{
      key_of(1), base::IpPort{*base::Ip::parse("fd00::2"), 7000}, {*base::Cidr::parse("10.244.2.0/24")}, true, 0};
  auto request = put_wireguard_peer(28, base::IfIndex{9}, peer);
  auto message = request.finish(1, NLM_F_ACK);
  auto head = as<nlmsghdr>(message.first(sizeof(nlmsghdr)));
  EXPECT_EQ(head.nlmsg_type, 28);
  auto payload = message.subspan(NLMSG_HDRLEN);
  EXPECT_EQ(as<genlmsghdr>(payload.first(GENL_HDRLEN)).cmd, WG_CMD_SET_DEVICE);
  auto device = walk(payload.subspan(GENL_HDRLEN));
  EXPECT_EQ(as<std::uint32_t>(device[WGDEVICE_A_IFINDEX]), 9u);
  EXPECT_FALSE(device.contains(WGDEVICE_A_PRIVATE_KEY));
  EXPECT_FALSE(device.contains(WGDEVICE_A_FLAGS)) << "other peers stay";
  auto item = walk(walk(device[WGDEVICE_A_PEERS])[0]);
  EXPECT_EQ((as<std::array<std::uint8_t, 32>>(item[WGPEER_A_PUBLIC_KEY])), peer.key.octets);
  EXPECT_EQ((as<std::array<std::uint8_t, 32>>(item[WGPEER_A_PRESHARED_KEY])), key_of(0).octets);
  EXPECT_EQ(as<std::uint32_t>(item[WGPEER_A_FLAGS]), WGPEER_F_REPLACE_ALLOWEDIPS);
  auto at = as<sockaddr_in6>(item[WGPEER_A_ENDPOINT]);
  EXPECT_EQ(at.sin6_family, AF_INET6);
  EXPECT_EQ(ntohs(at.sin6_port), 7000);
  auto allowed = walk(walk(item[WGPEER_A_ALLOWEDIPS])[0]);
  EXPECT_EQ(as<std::uint16_t>(allowed[WGALLOWEDIP_A_FAMILY]), AF_INET);
  EXPECT_EQ((as<std::array<std::uint8_t, 4>>(allowed[WGALLOWEDIP_A_IPADDR])),
            (std::array<std::uint8_t, 4>{10, 244, 2, 0}));
  EXPECT_EQ(as<std::uint8_t>(allowed[WGALLOWEDIP_A_CIDR_MASK]), 24);
}

TEST(Wireguard, NothingOfAKeyStaysInARequestThatIsWiped) {
  auto request = set_wireguard(28, base::IfIndex{9}, key_of(0x5a), 6785);
  auto count = [&] {
    auto bytes = request.finish(1, 0);
    return std::count(bytes.begin(), bytes.end(), std::byte{0x5a});
  };
  EXPECT_GE(count(), 32);
  request.wipe();
  EXPECT_LT(count(), 4);
}

TEST(WireguardKey, HasOneTextAndNoOtherIsTaken) {
  auto key = WireguardKey::random();
  EXPECT_EQ(key.octets[0] & 7, 0);
  EXPECT_EQ(key.octets[31] & 0xc0, 0x40);
  EXPECT_NE(key, WireguardKey::random());
  auto text = key.to_string();
  EXPECT_EQ(text.size(), 44u);
  EXPECT_EQ(WireguardKey::parse(text), key);
  EXPECT_EQ(key_of(0xff).to_string(), "//////////////////////////////////////////8=");
  for (std::string bad : {std::string(), text.substr(1), text + "=", " " + text.substr(1), text.substr(0, 43) + "A",
                          std::string("//////////////////////////////////////////9="), key_of(0).to_string()})
    EXPECT_FALSE(WireguardKey::parse(bad)) << bad;
}

}  // namespace
}  // namespace trama::netlink
