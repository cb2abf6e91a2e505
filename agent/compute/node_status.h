// SPDX-License-Identifier: GPL-2.0-or-later
// The Node object of this machine: what the agent registers and keeps current. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/compute/obstacles.h"
#include "agent/compute/peers.h"

namespace trama::agent {

// Found out once at start.
struct MachineFacts {
  std::string kernel_version;  // uname -r
  std::string os_image;        // PRETTY_NAME of /etc/os-release
  std::string architecture;    // "amd64"
  std::string machine_id, boot_id;
  unsigned cpus = 1;
  std::uint64_t memory_bytes = 0;
};

struct NodeFindings {
  std::string node_name;
  std::vector<base::Ip> node_ips;
  std::map<std::string, std::string> labels;  // asked for by the operator
  MachineFacts machine;
  unsigned max_pods = 110;
  std::uint16_t api_port = 0;  // of the agent; 0 = none
  bool ready = false;
  std::string reason;   // "AgentReady", "OverlayNotProgrammed"
  std::string message;  // readable: what is programmed, or what is not and why
  bool network_ready = false;
  std::optional<std::vector<Obstacle>> obstacles;  // nothing = nobody has looked yet
  std::optional<PathVerdict> paths;                // nothing = too early to say
  std::string now;
};

// The object to create when the node is not known yet: name and labels (kubernetes.io/{hostname,os,arch} and the
// operator's), no status.
json::object new_node(const NodeFindings& findings);

// Labels that the present object lacks or has differently; empty = nothing to patch.
std::map<std::string, std::string> missing_labels(const api::Object& node, const NodeFindings& findings);

// Conditions of others (Unknown set by the controller included) are taken over, ours replaced; lastTransitionTime is
// kept while the condition's status stays.
json::object compute_node_status(const json::object& present_status, const NodeFindings& findings);
// Two node statuses that differ in nothing but what conditions say in words.
bool differ_in_words(const json::object& one, const json::object& other);

}  // namespace trama::agent
