// SPDX-License-Identifier: GPL-2.0-or-later
// The pods of this node -> the sandboxes it should have. Pure.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/compute/environment.h"
#include "agent/compute/names.h"
#include "agent/compute/sources.h"
#include "netns/model.h"

namespace trama::agent {

// Why a pod does not run, in the words of its status and its event.
struct PodTrouble {
  std::string reason;  // "UnsupportedField", "AddressExhausted", "SandboxCreateFailed"
  std::string message;
  bool final = false;  // true: waiting will not help, the pod itself has to change
  friend bool operator==(const PodTrouble&, const PodTrouble&) = default;
};

// What a pod that could run is waiting for.
struct PodWait {
  std::map<std::string, std::string> containers;  // CreateContainerConfigError: by container, in upstream's words
  std::map<std::string, std::string> volumes;     // why a volume cannot be mounted
  friend bool operator==(const PodWait&, const PodWait&) = default;
};

struct SandboxContext {
  std::string node_name;
  std::string netns_prefix;  // "" or "hello.n1."
  std::vector<base::Ip> host_ips;
  unsigned mtu = 1450;
  std::string node_resolv_conf;  // content of the node's own file
  ClusterDns dns;
  // Sandboxes that are there, or were asked for by this process: a pod that has ended, or is being deleted, is started
  // by nobody, but kept as it is until it is gone from the API.
  std::set<netns::Uid> existing;
  Sources sources;
  std::string api_host;  // the Service default/kubernetes; "" = not known
  std::uint16_t api_port = 0;
  std::int64_t node_cpu_milli = 0, node_memory_bytes = 0;  // allocatable
};

// The pod's addresses, or why it has none.
using AddressSource = std::function<base::Result<std::vector<base::Ip>>(const api::Object& pod)>;

struct SandboxOutcome {
  netns::Desired desired;
  std::map<netns::Uid, PodTrouble> troubles;  // pods left out, or kept without their current spec
  std::map<netns::Uid, PodWait> waits;        // their network is made, their processes are not all started
  std::set<netns::Uid> nothing_to_stop;       // being deleted, and no sandbox was ever made
};

// One bad pod costs only itself. Addresses are asked for in the order of creation, so that the older pod wins.
SandboxOutcome compute_sandboxes(const ClusterView::Objects& pods, const ServiceNames& services,
                                 const SandboxContext& context, const AddressSource& addresses);

// Below /run/netns: "default.web-1"; with a prefix "hello.n1.web-1" for the namespace default, else
// "hello.n1.ns.web-1".
std::string netns_name(const std::string& prefix, const std::string& ns, const std::string& pod);

// The first field that would have to be ignored to run this pod, as a sentence; "" = it can be run as written.
std::string unsupported(const api::Object& pod);

// Succeeded or Failed: the pod has ended for good.
bool is_terminal(const api::Object& pod);
bool is_being_deleted(const api::Object& pod);

}  // namespace trama::agent
