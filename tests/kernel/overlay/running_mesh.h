// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "control/pki/authority.h"
#include "overlay/mesh/mesh.h"
#include "overlay/tunnel/tunnel.h"
#include "tests/kernel/overlay/lab.h"

namespace trama::overlay::test {

using mesh::Mesh;
using mesh::MeshStatus;
using peers::PathKind;
using peers::PathState;

// A certificate as the controller gives it to nodes, by a CA of the test's own.
class TestAuthority {
 public:
  TestAuthority();
  struct How {
    std::string common_name, organization = "system:nodes";
    std::chrono::seconds life{3600};
  };
  mesh::Credentials issue(const How& how) const;
  mesh::Credentials node(const std::string& name) const;

 private:
  pki::Authority authority_;
};
// As the agent reads a certificate.
base::Result<mesh::Certified> who_is(x509_st* certificate);

// What a lab's node should know of the others.
peers::World world_of(Node& node, unsigned mtu = 1450);

// A mesh with its thread in a namespace, and a tunnel if it is to have one.
class RunningMesh {
 public:
  RunningMesh(const PrivateNetns& netns, mesh::MeshOptions options, mesh::Credentials credentials, bool tunnel = false);
  ~RunningMesh();
  void set_world(peers::World world);
  void set_credentials(mesh::Credentials credentials, const std::string& why_not = "");
  void remember(const std::vector<peers::Member>& members);
  MeshStatus status();
  std::vector<peers::Member> members();  // as last told to be kept
  // Waits until the status is as asked; the last one seen either way.
  bool wait(const std::function<bool(const MeshStatus&)>& condition, int milliseconds = 5000);
  // States that any path to any peer has gone through since the start: "n2 vxlan down".
  std::vector<std::string> history();
  // Called on the mesh's thread at each change.
  void on_change(std::function<void(const MeshStatus&)> then);
  // The thread stops for so long, as if the agent had been stopped.
  void stall(std::chrono::milliseconds time);

 private:
  struct Loop;
  void body();
  template <class F>
  void on_loop(F job);
  void note(const MeshStatus& status);

  mesh::MeshOptions options_;
  mesh::Credentials credentials_;
  std::unique_ptr<tunnel::Tunnel> tunnel_;  // made and destroyed on the thread
  bool with_tunnel_;
  std::function<void(const MeshStatus&)> then_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> history_;
  std::map<std::string, std::string> last_;
  std::vector<peers::Member> members_;
  Loop* loop_ = nullptr;
  std::thread thread_;
};

const peers::PeerStatus* peer_in(const MeshStatus& status, const std::string& node);
bool path_is(const MeshStatus& status, const std::string& node, PathKind kind, PathState state);
std::string describe(const MeshStatus& status);

}  // namespace trama::overlay::test
