// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes and the programmed overlay -> what the mesh of agents should know; what the mesh sees -> conditions and events.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "overlay/model.h"
#include "overlay/peers/status.h"
#include "overlay/peers/world.h"

namespace trama::agent {

using overlay::peers::MeshStatus;

struct MeshContext {
  unsigned mtu = 0, tunnel_mtu = 0;  // of packets through VXLAN and through the tunnel; 0 until they stand
  bool controller_heard = false;
  std::vector<base::Cidr> trusted;                              // underlay addresses that need not be encrypted to
  std::optional<overlay::peers::World::Plain> plain{};          // our link, if pods' packets may go over it as they are
  std::vector<overlay::peers::World::Uplink> uplinks{};         // as far as the overlay has found them
  std::optional<overlay::peers::World::Wireguard> wireguard{};  // our device, if it can carry packets
  std::string no_wireguard{};                                   // why there is none; "" = none is needed
};
overlay::peers::World compute_mesh_world(const ClusterView::Objects& nodes, const overlay::Desired& overlay,
                                         const MeshContext& context);

// The paths that the mesh has chosen, and whom it may speak to in the clear. Who it has not decided about keeps what
// the kernel has.
void use_paths(overlay::Desired& overlay, const MeshStatus& status);

// For the node condition OverlayReady; nothing while it is too early to say.
struct PathVerdict {
  bool holds = false;
  std::string reason, message;  // AllPeersReachable, PeersUnreachable, Isolated, NoPeers
  friend bool operator==(const PathVerdict&, const PathVerdict&) = default;
};
std::optional<PathVerdict> judge_paths(const MeshStatus& status);

// What a person should be told has changed. Names the peers when they are few.
struct PathEvent {
  bool warning = false;
  std::string reason, message;
};
std::vector<PathEvent> path_events(const MeshStatus& before, const MeshStatus& after);

}  // namespace trama::agent
