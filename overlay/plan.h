// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel holds of the overlay, and the steps from there to what it should hold. Pure.
//
// Order: pointees first, pointers after. Guards, then the routes that keep stray traffic in, then the device, its
// addresses, neighbours (and FDB), nexthops, routes. Removal is the mirror image. The device is never up without
// the guards in front of it.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "base/netlink/rtnl.h"
#include "base/netlink/wireguard.h"
#include "overlay/guards.h"
#include "overlay/model.h"

namespace trama::overlay {

// How remote VTEPs are programmed.
//  nexthop: external VXLAN device; a nexthop object per peer carries VNI and outer addresses. A peer that moves costs
//           one nexthop replace, whatever the number of its routes. Linux 5.3.
//  fdb:     plain VXLAN device with a static forwarding entry per peer. For kernels without the former.
// Both speak RFC 7348 and mix in one cluster.
enum class Mode : std::uint8_t { nexthop, fdb };
std::string to_text(Mode mode);

// ---- objects, without interface indices: a plan may recreate the device -----------------------------------------

struct Device {
  base::IfIndex index;
  std::string kind = "vxlan";
  std::string alias = kAlias;
  netlink::Vxlan vxlan;
  Mac mac;
  unsigned mtu = 0;
  bool up = false;
};

struct TunnelDevice {
  base::IfIndex index;
  std::string kind = "tun";
  std::string alias = kAlias;
  unsigned mtu = 0;
  bool up = false;
  bool carrier = false;  // somebody holds it; without, the kernel takes no nexthop over it
};

struct WireguardDevice {
  base::IfIndex index;
  std::string kind = "wireguard";
  std::string alias = kAlias;
  unsigned mtu = 0;
  bool up = false;
  base::WireguardKey key;  // public
  bool own_key = false;    // the private one is that of this agent, or was there before it
  std::uint16_t port = 0;
  std::uint32_t mark = 0;
  std::map<base::WireguardKey, netlink::WireguardPeer> peers;
};

// What routes lead through.
enum class Through : std::uint8_t { vxlan, tunnel, link, wireguard };

struct Nexthop {
  std::uint32_t id = 0;
  Ip gateway;  // the peer's VTEP; its neighbour entry gives the inner MAC
  Vni vni;
  Ip from, to;             // outer addresses
  bool checksum = true;    // of the outer UDP header
  bool tunnel = false;     // through trama1; then there is no VNI and no outer address
  base::IfIndex link{};    // of a plain route over that link, to the peer's underlay address; neither there
  bool wireguard = false;  // through trama2, like `tunnel`
  bool direct() const { return link.value != 0; }
  Through through() const {
    return direct() ? Through::link : tunnel ? Through::tunnel : wireguard ? Through::wireguard : Through::vxlan;
  }
  friend bool operator==(const Nexthop&, const Nexthop&) = default;
};

// A peer's pods (through a nexthop object, or by `gateway` on the device), or an `unreachable` fence.
struct Route {
  Cidr to;
  std::uint32_t metric = 0;  // 0 = the family's default
  bool unreachable = false;
  std::uint32_t nexthop = 0;
  std::optional<Ip> gateway;
  std::optional<Ip> source;
  unsigned mtu = 0;
  friend bool operator==(const Route&, const Route&) = default;
};
using RouteKey = std::pair<Cidr, std::uint32_t>;  // prefix and metric
constexpr std::uint32_t kFenceMetric = 116'000'000;

// Nexthop ids 116000000-116999999: recognised at a glance, far from the small numbers that people and routing
// daemons use.
constexpr std::uint32_t kNexthopBase = 116'000'000, kNexthopRange = 1'000'000;

struct Uplink {
  base::IfIndex index;
  std::string name;
  unsigned mtu = 0;
  Mac mac{};
  unsigned prefix = 0;  // of the address: who else is on the link
  friend bool operator==(const Uplink&, const Uplink&) = default;
};

struct Observed {
  Mode mode = Mode::nexthop;  // what this kernel can do
  std::optional<Device> device;
  std::optional<TunnelDevice> tunnel;
  std::string no_tunnel;  // why this machine can have none; "" = it can
  std::optional<WireguardDevice> wireguard;
  std::string no_wireguard;                    // the same of WireGuard
  std::map<Ip, unsigned> wireguard_addresses;  // on trama2
  std::map<Ip, unsigned> addresses;            // on the device, with prefix length; without link-local ones
  std::map<Ip, unsigned> tunnel_addresses;     // on the tunnel's
  std::map<Ip, Mac> neighbours;                // permanent ones on the device
  std::map<Mac, std::set<Ip>> forwards;
  std::map<std::uint32_t, Nexthop> nexthops;   // ours: on either device, with our protocol
  std::set<std::uint32_t> foreign_nexthops;    // ids that others hold
  std::map<RouteKey, Route> routes;            // ours: our protocol, through the device or a fence
  std::map<Ip, Uplink> uplinks;                // every other address of the machine and the link that carries it
  std::map<std::string, std::string> sysctls;  // those of wanted_sysctls that exist, by path below /proc/sys
  std::optional<SeenGuards> guards;            // nothing = no such table
};

// ---- steps ------------------------------------------------------------------------------------------------------

struct LoadGuards {
  Guards guards;
};  // replaces the whole table in one transaction
struct ChangeGuards {
  GuardChange change;
};
struct RemoveGuards {};
struct SetSysctl {
  std::string key, value;
  bool optional = false;  // a kernel without the knob is as good
};
struct CreateDevice {
  netlink::Vxlan vxlan;
  Mac mac;
  unsigned mtu = 0;
};  // stays down
struct DeleteDevice {};
struct SetAlias {};
struct SetLocal {
  Ip local;
};  // outer source, FDB mode
struct SetMtu {
  unsigned mtu = 0;
};
struct SetUp {
  std::uint16_t port = 0;
};
struct CreateTunnel {};  // stays down
struct HoldTunnel {};    // gives it its carrier
struct DeleteTunnel {};
struct SetTunnelAlias {};
struct SetTunnelMtu {
  unsigned mtu = 0;
};
struct SetTunnelUp {};
struct CreateWireguard {
  unsigned mtu = 0;
  std::uint16_t port = 0;
};  // with the agent's key, and a new one where it has none; stays down
struct DeleteWireguard {};
struct SetWireguard {
  std::uint16_t port = 0;
};  // key and port
struct SetWireguardAlias {};
struct SetWireguardMtu {
  unsigned mtu = 0;
};
struct SetWireguardUp {
  std::uint16_t port = 0;
};
struct PutWireguardPeer {
  netlink::WireguardPeer peer;
  std::string node;
};
struct DeleteWireguardPeer {
  base::WireguardKey key;
};
struct PutAddress {
  Ip ip;
  bool never_source = false;  // this node answers there, but masquerading must not speak as it: scope host, deprecated
  Through on = Through::vxlan;
};  // as a host address
struct DeleteAddress {
  Ip ip;
  unsigned length = 0;
  Through on = Through::vxlan;
};
struct PutNeighbour {
  Ip ip;
  Mac mac;
  std::string node;
};
struct DeleteNeighbour {
  Ip ip;
};
struct PutForward {
  Mac mac;
  Ip to;
  std::string node;
};  // replaces all destinations of that MAC
struct DeleteForward {
  Mac mac;
  Ip to;
};
struct PutNexthop {
  Nexthop nexthop;
  std::string node;
};
struct DeleteNexthop {
  std::uint32_t id = 0;
};
struct AddRoute {
  Route route;
  std::string node;
};  // fails when somebody else has that prefix
struct ReplaceRoute {
  Route route;
  std::string node;
};
struct DeleteRoute {
  Route route;
};

using Op =
    std::variant<LoadGuards, ChangeGuards, RemoveGuards, SetSysctl, CreateDevice, DeleteDevice, SetAlias, SetLocal,
                 SetMtu, SetUp, CreateTunnel, HoldTunnel, DeleteTunnel, SetTunnelAlias, SetTunnelMtu, SetTunnelUp,
                 CreateWireguard, DeleteWireguard, SetWireguard, SetWireguardAlias, SetWireguardMtu, SetWireguardUp,
                 PutWireguardPeer, DeleteWireguardPeer, PutAddress, DeleteAddress, PutNeighbour, DeleteNeighbour,
                 PutForward, DeleteForward, PutNexthop, DeleteNexthop, AddRoute, ReplaceRoute, DeleteRoute>;
// One line: the log line, the golden test, the dry run.
std::string to_text(const Op& op);

std::vector<Op> plan(const Desired& desired, const Observed& observed);

// What a person should know beside the steps: peers left out, an underlay address that no link carries, an MTU that
// is too small. Empty when all is well.
std::vector<std::string> problems(const Desired& desired, const Observed& observed);

// Of the link that carries this address of ours; 0 = none does.
unsigned uplink_mtu(const Desired& desired, const Observed& observed, const Ip& address);

// The MTU that trama0 and the pods should have in that world: of the uplink that takes the largest packets.
unsigned wanted_mtu(const Desired& desired, const Observed& observed);

// The same for packets through the tunnel; 0 = there is none.
unsigned wanted_tunnel_mtu(const Desired& desired, const Observed& observed);
// The same for packets through WireGuard; 0 = it is not wanted, or this kernel has none.
unsigned wanted_wireguard_mtu(const Desired& desired, const Observed& observed);

// The peers that trama2 should have. A key is given to one peer only: who names one that somebody else has named, too,
// or ours, gets none. Who has not been spoken with since the agent began keeps what the kernel has for its pods.
struct WireguardWish {
  struct Entry {
    netlink::WireguardPeer peer;
    std::string node;
  };
  std::map<base::WireguardKey, Entry> peers;
  std::set<std::string> nodes;       // that have one
  std::vector<std::string> refused;  // one sentence each
};
WireguardWish wanted_wireguard(const Desired& desired, const Observed& observed);
// The same for packets by plain routes; 0 = there are none.
unsigned wanted_direct_mtu(const Desired& desired, const Observed& observed);
// What pods should have: the smallest that no path to any peer is below for good.
unsigned pod_mtu(const Desired& desired, const Observed& observed);

// Kernel settings, those of the device and those of the whole namespace, in the order in which they are written.
std::vector<SetSysctl> device_sysctls(const Desired& desired, const std::string& device);
std::vector<SetSysctl> global_sysctls(const Desired& desired);
// Every knob that observe() has to read, whatever is desired.
std::vector<std::string> watched_sysctls();
// The strictest of the two rp_filter settings that apply to the device: the kernel takes the maximum.
unsigned effective_rp_filter(const Observed& observed);

}  // namespace trama::overlay
