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

// `mtu` is the overlay's, 0 until it stands.
overlay::peers::World compute_mesh_world(const ClusterView::Objects& nodes, const overlay::Desired& overlay,
                                         unsigned mtu, bool controller_heard);

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
