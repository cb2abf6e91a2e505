// SPDX-License-Identifier: GPL-2.0-or-later
// The overlay as values: this node, its peers, and what the kernel should hold for them. No I/O, no clock.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/strong.h"
#include "base/wireguard_key.h"

namespace trama::overlay {

using base::Cidr;
using base::Family;
using base::Ip;
using base::Mac;
using base::Vni;

constexpr std::uint16_t kDataPort = 6784;  // UDP, VXLAN
constexpr std::uint16_t kControlPort = 6783;
constexpr std::uint16_t kWireguardPort = 6785;  // UDP
constexpr std::uint16_t kDnsPort = 53;
constexpr std::uint8_t kRouteProtocol = 116;  // "trama" in rt_protos.d
constexpr const char* kDevice = "trama0";
constexpr const char* kTunnelDevice = "trama1";
constexpr const char* kWireguardDevice = "trama2";
constexpr const char* kAlias = "trama overlay";
constexpr const char* kGuardTable = "trama-overlay";  // nft, family inet

// The path that packets to a peer take. keep: whichever the kernel has; VXLAN where it has none. direct: as they are,
// over the link that both share. wireguard: sealed by the kernel, through trama2.
enum class Path : std::uint8_t { vxlan, tunnel, keep, direct, wireguard };

// Addresses of one node's uplinks that are used; the first one is what the node is known by.
constexpr std::size_t kMostUplinks = 4;

// Between which of our addresses and which of a peer's packets travel.
struct Way {
  Ip from, to;
  friend bool operator==(const Way&, const Way&) = default;
};

struct Peer {
  std::string node;
  Ip underlay;                  // where its VXLAN listens, and what it sends from
  std::vector<Cidr> pod_cidrs;  // at most one per family
  Path path = Path::vxlan;
  unsigned mtu = 0;    // what is known to pass there; 0 = all that the device takes
  bool clear = false;  // where encryption is required: both ends agree that this peer is an exception
  // Both ends agree on plain routes: from that address of its uplink its pods' packets are taken as they are.
  std::optional<Mac> direct{};
  bool told = true;  // false: it has not said yet whether it does, since this agent began; what the kernel has, stays
  Path beside = Path::vxlan;  // with Path::direct: for the family that has no such route
  unsigned beside_mtu = 0;
  std::vector<Ip> further{};  // its other uplinks' addresses, of the same family
  std::optional<Way> way{};   // nothing: the one that the kernel has, else between the first addresses
  // Both ends have it, and this is what the peer has named in its conversation with us, as its certificate vouches.
  std::optional<base::WireguardEnd> wireguard{};
  friend bool operator==(const Peer&, const Peer&) = default;
};

struct Desired {
  std::string node;                   // ours; empty = the overlay is to be removed from this machine (see absent)
  std::string cluster_id;             // seeds the deterministic MACs, with the node's name
  Ip underlay;                        // our address that peers send to; outer packets leave with it as their source
  std::vector<Cidr> pod_cidrs;        // ours, at most one per family; the first address of each is the device's own
  std::vector<Cidr> cluster_cidrs;    // all pods: traffic to a removed peer must not leak out of the uplink
  std::vector<Ip> dns;                // addresses of the cluster's DNS: every node has them, and answers itself
  std::map<std::string, Peer> peers;  // by node name, without ourselves
  Vni vni{116};
  std::uint16_t port = kDataPort;
  unsigned underlay_mtu = 0;  // 0 = taken from the link that carries `underlay`
  bool masquerade = true;     // pods reach what lies beyond the cluster through their node
  bool tunnel = false;        // trama1 stands beside trama0, and peers can be reached through it
  bool direct = false;        // plain routes to peers on our link, where both ends want them; never with `encrypt`
  bool encrypt = false;       // VXLAN to and from peers is dropped, but for those that are `clear`
  std::vector<Ip> further{};  // our other uplinks' addresses, of the same family; not used without nexthop objects
  bool wireguard = false;     // trama2 stands beside trama1, where the kernel can; never without `tunnel`
  std::uint16_t wireguard_port = kWireguardPort;

  // A default-constructed Desired: publishing it removes everything of ours.
  bool absent() const { return node.empty(); }
  friend bool operator==(const Desired&, const Desired&) = default;
};

// Deterministic: every node computes every other node's, so that no MAC has to be exchanged.
Mac vtep_mac(const std::string& cluster_id, const std::string& node);
// Where there is a tunnel: the gateway of a peer's nexthop, the same on both devices. Instead of an IPv6 VTEP address,
// a link-local one made of its MAC: the kernel takes no global gateway that it has a route to over the other device.
Ip tunnel_gateway(const Ip& gateway, const Mac& mac);
// The device's own address: the network address of the pod prefix (pods never get it).
Ip vtep_ip(const Cidr& pod_cidr);
// Bytes that VXLAN adds on an IPv4 / IPv6 underlay: 50 / 70.
unsigned overhead(Family underlay);
// What pods and trama0 get: the underlay's MTU minus the overhead, never below what the inner families need
// (IPv4 576, IPv6 1280). underlay_mtu 0 counts as 1500.
unsigned overlay_mtu(const Desired& desired, unsigned underlay_mtu);

// The same for packets in the tunnel, which adds 64 / 84 bytes: outer IP, UDP, header, frame, tag.
unsigned tunnel_overhead(Family underlay);
unsigned tunnel_mtu(const Desired& desired, unsigned underlay_mtu);
// The same for packets through WireGuard, which adds 60 / 80 bytes: outer IP, UDP, header, tag.
unsigned wireguard_overhead(Family underlay);
unsigned wireguard_mtu(const Desired& desired, unsigned underlay_mtu);

// Whether packets of that family can go over the link as they are: IPv4 and IPv6 both have a gateway on an IPv6
// underlay (RFC 5549), on an IPv4 underlay only IPv4 has one.
constexpr bool goes_direct(Family underlay, Family pods) { return underlay == Family::v6 || pods == Family::v4; }

// All underlay addresses of a node, the first one first; at most kMostUplinks.
std::vector<Ip> uplinks_of(const Ip& first, const std::vector<Ip>& further);
inline std::vector<Ip> uplinks_of(const Desired& node) { return uplinks_of(node.underlay, node.further); }
inline std::vector<Ip> uplinks_of(const Peer& node) { return uplinks_of(node.underlay, node.further); }

// The prefix of that family, or nothing.
const Cidr* cidr_of(const std::vector<Cidr>& cidrs, Family family);

// The peers that can be programmed, and one sentence for each that cannot: a peer that contradicts us or an earlier
// peer (by name) is left out, the others are not affected.
struct Admission {
  std::vector<const Peer*> peers;  // into the Desired given
  std::vector<std::string> refused;
};
Admission admit(const Desired& desired);

}  // namespace trama::overlay
