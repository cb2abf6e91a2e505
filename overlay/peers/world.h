// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "overlay/peers/members.h"

namespace trama::overlay::peers {

// What the agent knows of the cluster. Cheap to replace: only differences have consequences.
struct World {
  Ip underlay;  // our address
  // Our and their addresses in the overlay, of one family for each pair.
  std::vector<Ip> overlay;
  struct Peer {
    Ip underlay;
    std::optional<Ip> overlay;
    friend bool operator==(const Peer&, const Peer&) = default;
  };
  std::map<std::string, Peer> peers;  // those that the overlay is programmed for
  std::vector<Member> members;        // all Nodes but ourselves
  bool controller_heard = false;      // that list is the controller's, and of now
  unsigned mtu = 0;                   // of the overlay; 0 = it does not stand yet, nothing is sent into it
  friend bool operator==(const World&, const World&) = default;
};

}  // namespace trama::overlay::peers
