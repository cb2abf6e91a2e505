// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/strong.h"
#include "overlay/peers/members.h"
#include "overlay/peers/wireguard.h"

namespace trama::overlay::peers {

// What the agent knows of the cluster. Cheap to replace: only differences have consequences.
struct World {
  Ip underlay;  // our address
  // Our and their addresses in the overlay, of one family for each pair.
  std::vector<Ip> overlay;
  struct Uplink {
    Ip address;
    std::optional<base::Cidr> subnet{};  // of the link that carries it
    unsigned mtu = 0, tunnel_mtu = 0;    // over it; 0 = as the world's
    friend bool operator==(const Uplink&, const Uplink&) = default;
  };
  std::vector<Uplink> uplinks;  // all our addresses, `underlay` first; empty = there is that one alone
  struct Peer {
    Ip underlay;
    std::vector<Ip> further;  // its other addresses
    std::optional<Ip> overlay;
    base::Mac mac;                 // of its VXLAN device
    std::vector<base::Cidr> pods;  // that it may speak for
    bool trusted = false;          // the way to it need not be encrypted, as far as we are concerned
    friend bool operator==(const Peer&, const Peer&) = default;
  };
  std::map<std::string, Peer> peers;  // those that the overlay is programmed for
  std::vector<Member> members;        // all Nodes but ourselves
  std::set<std::string> starting;     // those of them that say that their network does not stand yet
  bool controller_heard = false;      // that list is the controller's, and of now
  unsigned mtu = 0;                   // of the overlay; 0 = it does not stand yet, nothing is sent into it
  unsigned tunnel_mtu = 0;            // of packets in the tunnel; 0 = there is none
  bool encrypt = false;               // nothing goes between nodes in the clear
  // Our link, where pods' packets may go as they are to who is on it, too.
  struct Plain {
    base::IfIndex link;
    base::Mac mac;
    base::Cidr subnet;
    unsigned mtu = 0;
    friend bool operator==(const Plain&, const Plain&) = default;
  };
  std::optional<Plain> plain;
  // Our device, where encryption is required and it can carry packets.
  struct Wireguard {
    base::IfIndex link;
    WireguardEnd end;
    unsigned mtu = 0;
    friend bool operator==(const Wireguard&, const Wireguard&) = default;
  };
  std::optional<Wireguard> wireguard;
  std::string no_wireguard;  // why there is none; "" = it is there, or need not be
  // Of VXLAN, to look at that path while packets take another.
  base::Mac mac;
  base::Vni vni;
  std::uint16_t vxlan_port = 6784;
  friend bool operator==(const World&, const World&) = default;
};

inline std::vector<World::Uplink> uplinks_of(const World& world) {
  return world.uplinks.empty() ? std::vector<World::Uplink>{{world.underlay}} : world.uplinks;
}

}  // namespace trama::overlay::peers
