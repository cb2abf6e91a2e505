// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes, pods and clusters for tests of the scheduler, in few words.
#pragma once

#include "control/scheduler/cluster.h"
#include "tests/unit/control/world.h"

namespace trama::control::test {

inline NodeState node(const std::string& name, const std::string& spec = "{}", const std::string& labels = "{}",
                      const std::string& ready = "True",
                      const std::string& size = R"({"cpu":"2","memory":"4Gi","pods":"10"})") {
  return state_of(*stored("nodes", R"({"metadata":{"name":")" + name + R"(","labels":)" + labels + R"(},"spec":)" +
                                       spec + R"(,"status":{"allocatable":)" + size +
                                       R"(,"conditions":[{"type":"Ready","status":")" + ready + R"("}]}})"));
}
// A node with a host name, and a zone unless it is "".
inline NodeState host(const std::string& name, const std::string& zone = "") {
  return node(name, "{}",
              fmt::format(R"({{"kubernetes.io/hostname":"{}"{}}})", name,
                          zone.empty() ? "" : R"(,"topology.kubernetes.io/zone":")" + zone + "\""));
}

inline PodNeeds pod(const std::string& spec = "{}", const std::string& name = "p",
                    const std::string& labels = R"({"app":"web"})", const std::string& ns = "d") {
  return needs_of(*stored("pods", R"({"metadata":{"namespace":")" + ns + R"(","name":")" + name + R"(","labels":)" +
                                      labels + R"(},"spec":)" + spec + "}"));
}
inline PodNeeds asking(const std::string& cpu, const std::string& memory = "1Mi") {
  return pod(R"({"containers":[{"name":"c","resources":{"requests":{"cpu":")" + cpu + R"(","memory":")" + memory +
             R"("}}}]})");
}

struct ClusterOf {
  explicit ClusterOf(std::vector<NodeState> nodes) {
    for (auto& n : nodes) cluster.put_node(std::move(n));
  }
  Cluster cluster;
};

}  // namespace trama::control::test
