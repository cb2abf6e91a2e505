// SPDX-License-Identifier: GPL-2.0-or-later
// What is known of peers and of the ways to them, as values; and what follows from them. Pure.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "overlay/peers/liveness.h"
#include "overlay/peers/tunnel_port.h"
#include "overlay/peers/wire.h"
#include "overlay/peers/wireguard.h"

namespace trama::overlay::peers {

const char* to_string(PathKind kind);  // "vxlan", "control", "tunnel", "relay", "direct", "wireguard"

// The path that packets to a peer take. Undecided: too early to say; what the kernel has, stays.
enum class Use : std::uint8_t { undecided, vxlan, tunnel, relay, direct, wireguard };
const char* to_string(Use use);
constexpr PathKind path_of(Use use) {
  switch (use) {
    case Use::tunnel: return PathKind::tunnel;
    case Use::relay: return PathKind::relay;
    case Use::direct: return PathKind::direct;
    case Use::wireguard: return PathKind::wireguard;
    default: return PathKind::overlay;
  }
}
// Sealed, over 6783/udp.
constexpr bool is_sealed(Use use) { return use == Use::tunnel || use == Use::relay; }
constexpr bool is_encrypted(Use use) { return is_sealed(use) || use == Use::wireguard; }

struct PathStatus {
  PathState state = PathState::unknown;
  std::string reason;       // why it is down or degraded; of a control path also why nothing is sent
  Millis age{0};            // of the state
  unsigned loss = 0;        // percent of our probes without an answer
  unsigned loss_in = 0;     // percent of the peer's probes that did not come
  unsigned loss_out = 0;    // percent of ours that did not arrive there, as it says
  Micros round_trip{0};     // 0 = none measured
  unsigned mtu = 0;         // packets of that size are known, or not yet doubted, to pass; 0 = not looked for
  std::uint64_t downs = 0;  // how often it went down
};

// One of the ways to a peer, where one of the two has several uplinks.
struct WayStatus {
  Ip here, there;
  bool used = false;
  PathState state = PathState::unknown;
  Millis age{0};
  unsigned loss = 0;
  Micros round_trip{0};
  std::uint64_t downs = 0;
};

// "10.0.0.1 -> 10.0.0.2"
std::string way_text(const Ip& here, const Ip& there);

// Of the conversation on 6783/tcp.
enum class Connection : std::uint8_t { none, waiting, connecting, established, unneeded };
const char* to_string(Connection connection);

struct PeerStatus {
  std::string node;
  Ip underlay;
  std::string overlay;  // its address in the overlay; "" when it is no peer of the overlay
  bool hearsay = false;
  Connection connection = Connection::none;
  bool outbound = false;  // we dialed
  std::string remote;     // "10.0.0.2:6783" while established
  std::string trouble;    // why the last attempt failed or the last conversation ended
  unsigned version = 0;
  std::vector<std::string> capabilities;
  std::array<PathStatus, kPaths> paths;
  Use use = Use::undecided;
  Use beside = Use::undecided;      // with Use::direct: for the family that has no plain route
  bool told = false;                // it has been spoken with since this agent began
  std::optional<base::Mac> direct;  // both agree on plain routes: where its pods' packets come from
  std::string why;                  // why not the best that there could be
  std::uint64_t switches = 0;       // how often the path in use has changed
  bool must_encrypt = false;        // nothing may go to it in the clear
  std::string found_at;         // where its datagrams come from, if not from where it announces to be; "1.2.3.4:40123"
  bool translated = false;      // because it is behind NAT
  std::string sees_us;          // where it sees ours come from, if not from where they leave: we are behind NAT
  std::string cipher;           // of its tunnel; "" = there are no keys for one
  std::uint64_t keys = 0;       // how often keys were agreed on with it
  std::vector<WayStatus> ways;  // best first; empty = there is one alone
  bool way_known = false;       // something has come back on the one in use
  std::string way_why;          // why not the first one
  std::uint64_t way_switches = 0;
  std::optional<WireguardEnd> wireguard;  // both ends have it: its end
  std::string via;                        // the third node that the relay path leads over; "" = none is looked at
  const PathStatus& path(PathKind k) const { return paths[static_cast<std::size_t>(k)]; }
  PathStatus& path(PathKind k) { return paths[static_cast<std::size_t>(k)]; }
  // The one that its packets take.
  const PathStatus& used() const { return path(path_of(use)); }
};

struct MeshStatus {
  std::string node;
  Ip underlay;
  std::uint16_t port = 0;
  std::string protocol_off;    // why there is no conversation with peers; "" = there is
  std::string listening;       // why we do not listen; "" = we do
  unsigned mtu = 0;            // of the probes through the overlay
  bool encrypt = false;        // this node requires it
  unsigned tunnel_mtu = 0;     // 0 = there is no tunnel
  unsigned direct_mtu = 0;     // 0 = there are no plain routes
  unsigned wireguard_mtu = 0;  // 0 = it does not stand
  std::uint16_t wireguard_port = 0;
  std::string wireguard_key;  // public, as wg(8) prints it
  std::string wireguard_off;  // why packets do not take it from here; "" = they may, or encryption is not required
  std::string tunnel_off;     // why this node has none, or why it carries nothing; "" = it does
  TunnelTraffic tunnel;
  bool isolated = false;
  Millis uptime{0}, slept{0};
  std::vector<PeerStatus> peers;  // by name
  std::uint64_t handshakes_failed = 0, refused = 0, strangers = 0, foreign = 0;
  std::uint64_t datagrams = 0, forged = 0;
  std::string relay_off;  // why this node carries nothing for others and asks nobody; "" = it does
  std::uint64_t splices = 0, splices_refused = 0;  // conversations of others that it has passed on, or not
};

// Several peers have answered before, and now nobody does on any path: the fault is rather ours than everybody's.
bool is_isolated(const std::vector<PeerStatus>& peers);

// Why a path is not well, from all that is known on both sides.
struct Evidence {
  std::string self, peer;
  PathKind kind = PathKind::overlay;
  std::string via;         // of a relay path
  std::uint16_t port = 0;  // of WireGuard
  bool other_path_works = false;
  bool heard_lately = false;     // its probes arrive here
  std::optional<bool> hears_us;  // ours arrive there, as it said lately
  std::string send_error;        // of our last probe; "" = it left
  std::string translation;       // "n1 is behind NAT, seen as 1.2.3.4:40123"; "" = nobody is
  bool ever_up = false;
};
std::string explain_down(const Evidence& e);
// Which way the losses are, when that is known.
std::string explain_loss(const Evidence& e, unsigned loss, unsigned in, std::optional<unsigned> out);

struct Summary {
  std::size_t peers = 0, up = 0, degraded = 0, down = 0, pending = 0;  // of the paths in use
  std::size_t tunnelled = 0;                                           // peers whose packets take the tunnel
  std::size_t relayed = 0;                                             // or a third node
  std::size_t wireguarded = 0;                                         // or WireGuard
  std::size_t established = 0;
};
Summary summarize(const MeshStatus& status);

}  // namespace trama::overlay::peers
