// SPDX-License-Identifier: GPL-2.0-or-later
// The mesh of agents on a thread of its own, so that nothing the brain does delays a heartbeat.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "agent/identity.h"
#include "base/async/worker.h"
#include "overlay/mesh/mesh.h"

namespace trama::agent {

using overlay::mesh::MeshStatus;

// All called on the brain, and calls back there.
class PeerMesh {
 public:
  struct Options {
    std::string node_name;
    std::uint16_t port = 6783;  // 0 = no conversation with peers
    std::string members_file;   // "" = nothing is kept
    bool tunnel = false;        // carries packets too
    bool relay = true;          // over a third node, and for others
  };
  using OnChange = std::function<void(const MeshStatus&)>;
  PeerMesh(async::asio::any_io_executor brain, async::asio::any_io_executor files, Options options, OnChange on_change);
  ~PeerMesh();

  // In the network namespace of the calling thread. Reads the members that were kept.
  void start();
  awaitable<void> stop();
  void set_world(overlay::peers::World world);
  void set_identity(const Identity& identity, bool is_node);
  // The newest there is.
  awaitable<MeshStatus> look();
  // As of the last change.
  const std::optional<MeshStatus>& last() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// For which node a certificate speaks; an error says what it is instead.
base::Result<overlay::mesh::Certified> node_of_certificate(x509_st* certificate);

}  // namespace trama::agent
