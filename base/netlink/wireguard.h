// SPDX-License-Identifier: GPL-2.0-or-later
// WireGuard devices as values, and the requests that configure them (generic netlink, linux/wireguard.h). The device
// itself is a link: see rtnl.h for the rest of it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/netlink/exchange.h"
#include "base/netlink/request.h"
#include "base/strong.h"
#include "base/wireguard_key.h"

namespace trama::netlink {

using base::WireguardKey;

struct WireguardPeer {
  WireguardKey key;  // public
  std::optional<base::IpPort> endpoint;
  std::vector<base::Cidr> allowed;  // sorted
  bool preshared = false;           // there is a second, symmetric key
  std::uint16_t keepalive = 0;      // seconds; 0 = none
  friend bool operator==(const WireguardPeer&, const WireguardPeer&) = default;
};

struct Wireguard {
  WireguardKey private_key;  // zero: none, or the caller may not see it
  WireguardKey public_key;
  std::uint16_t port = 0;
  std::uint32_t mark = 0;
  std::vector<WireguardPeer> peers;
};

Request create_wireguard(const std::string& name, unsigned mtu);

// ---- generic netlink: numbers of families are given out when their module is loaded ------------------------------

// ENOENT when the kernel has no such family.
Request find_family(const std::string& name);
Result<std::uint16_t> decode_family(const Part& part);

// ---- of a device, by the number of the family "wireguard" --------------------------------------------------------

Request dump_wireguard(std::uint16_t family, base::IfIndex link);
// A peer with many prefixes comes in several parts.
Result<Wireguard> decode_wireguard(const Reply& reply);
// Private key, port and mark 0; peers stay. wipe() the request once it is sent.
Request set_wireguard(std::uint16_t family, base::IfIndex link, const WireguardKey& private_key, std::uint16_t port);
// Adds the peer or makes it exactly that, without a preshared key. Prefixes that another peer has had move to this one.
Request put_wireguard_peer(std::uint16_t family, base::IfIndex link, const WireguardPeer& peer);
Request remove_wireguard_peer(std::uint16_t family, base::IfIndex link, const WireguardKey& key);

}  // namespace trama::netlink
