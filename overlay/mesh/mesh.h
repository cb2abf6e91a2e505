// SPDX-License-Identifier: GPL-2.0-or-later
// A node's side of everything between agents: conversations on 6783/tcp, probes on 6783/udp, echoes through the
// overlay. What it decides stands in overlay/peers; here are the sockets, the timers and the wires between them.
//
// It looks and tells; it changes nothing in the kernel.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/async/event.h"
#include "overlay/mesh/tls.h"
#include "overlay/peers/mtu_search.h"
#include "overlay/peers/neighbours.h"
#include "overlay/peers/status.h"
#include "overlay/peers/tunnel_port.h"
#include "overlay/peers/world.h"

namespace trama::overlay::mesh {

using async::awaitable;
using base::Ip;
using peers::MeshStatus;
using peers::Millis;
using peers::World;

struct MeshOptions {
  std::string node;
  std::uint16_t port = 6783;  // TCP and UDP, the same on every node; 0 = no conversation, only echoes
  peers::LivenessTimers timers;
  peers::MtuTimers mtu;
  std::size_t full_mesh = peers::kFullMesh;
  Millis other_side_first{2'000};  // the node with the lower name dials; the other one only if that did not help
  Millis redial{1'000};            // after a failure; then longer, up to a minute
  // Carries packets over our UDP port; null = nobody does. Outlives the mesh.
  peers::TunnelPort* tunnel = nullptr;
  // Keys of a tunnel that is in use are renewed after that time, or so many packets, by a new conversation.
  Millis renew_after{600'000};
  std::uint64_t renew_packets = std::uint64_t{1} << 26;
  // Over a third node to peers that nothing else reaches, and for others as their third node.
  bool relay = true;
};

// Everything on one executor, in the network namespace of the thread that calls run(). Blocks nowhere.
class Mesh {
 public:
  struct Events {
    std::function<void(MeshStatus)> changed;                  // a state, a reason or a connection
    std::function<void(std::vector<peers::Member>)> members;  // all that are known now: worth keeping
  };
  Mesh(async::asio::any_io_executor ex, MeshOptions options, Events events);
  ~Mesh();

  void set_world(World world);
  // Of members that were known before this agent started.
  void remember(const std::vector<peers::Member>& members);
  // For connections made from now on. Without credentials there is no conversation; `why_not` says why.
  void set_credentials(Credentials credentials, WhoIs who_is, std::string why_not);
  MeshStatus status() const;

  // Until cancelled.
  awaitable<void> run();
  // Takes leave of the peers and closes everything; after run() has ended.
  awaitable<void> stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace trama::overlay::mesh
