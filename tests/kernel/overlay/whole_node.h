// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes of a lab as an agent runs them: what the mesh chooses, the reconciler programs.
#pragma once

#include "tests/kernel/overlay/running_mesh.h"
#include "tests/kernel/overlay/running_node.h"

namespace trama::overlay::test {

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

// The CA of all nodes of one test program.
const TestAuthority& authority();

struct Demands {
  bool encrypt = false;
  bool direct = false;              // plain routes over eth0
  std::set<std::string> trusted;    // nodes whose address lies in a trusted subnet
  mesh::MeshOptions mesh;           // without the node's name
  std::chrono::seconds life{3600};  // of the certificate that it begins with
};

// A third of the real times, where those are not what is proved.
Demands hasty(bool encrypt = false);

class WholeNode {
 public:
  WholeNode(Node& node, const TestAuthority& authority, const Demands& demands);
  ~WholeNode();
  RunningMesh& mesh() { return *mesh_; }
  MeshStatus status() { return mesh_->status(); }
  // Packets to that peer take it, and the kernel knows.
  bool takes(const std::string& peer, peers::Use use, int milliseconds = 5000);
  // What the kernel has.
  bool programmed(const std::string& peer, peers::Use use);
  // From now on the mesh is not asked.
  void force(Path path);

 private:
  void chosen(const MeshStatus& status);
  Node& node_;
  std::mutex mutex_;
  Desired desired_;
  bool forced_ = false;
  std::unique_ptr<RunningNode> reconciler_;
  std::unique_ptr<RunningMesh> mesh_;
};

// Pings from one pod to another at a fixed pace, each counted.
class Pinger {
 public:
  Pinger(const PrivateNetns& from, const PrivateNetns& to, const Ip& address, std::chrono::microseconds pace,
         std::size_t size = 64);
  ~Pinger();
  struct Result {
    unsigned sent = 0, lost = 0;
    std::chrono::milliseconds longest_gap{0};  // between two answers
  };
  Result stop();

 private:
  std::atomic<bool> stop_{false}, echo_stop_{false};
  Result result_;
  Socket server_, client_;
  std::thread echo_, thread_;
};

}  // namespace trama::overlay::test
