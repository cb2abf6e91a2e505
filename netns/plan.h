// SPDX-License-Identifier: GPL-2.0-or-later
// What to do to get from what there is to what there should be. Pure: same input, same plan, same text.
#pragma once

#include <chrono>
#include <string>
#include <variant>
#include <vector>

#include "netns/model.h"

namespace trama::netns {

// Every operation is idempotent and stands by itself: one that fails is planned again by the next pass.

struct EnableForwarding {};  // the node's ip_forward and IPv6 forwarding
struct MakeGuard {};         // table trama-pods, anew, in one transaction, with the entries of all known sandboxes
struct RemoveGuard {};

// Out of rotation at once: host routes, neighbours, guard entries. What the pod still sends is dropped from here on.
struct Withdraw {
  Uid uid;
  std::string pod;
};
// Begins to end the processes; the network stays. Returns at once, observe() tells when they are gone.
struct StopProcesses {
  Uid uid;
  std::string pod;
  std::chrono::seconds grace{0};
  bool start_over = false;  // what is recorded of them goes too (logs as well), so that they are started again
};
// The veth goes to the reaper, the namespace is unpinned, its files in /etc/netns are removed.
struct DestroyNetwork {
  Uid uid;
  std::string pod;
};
// Kills what is left, removes cgroups, directory and registry entry. With processes it only begins that.
struct Forget {
  Uid uid;
  std::string pod;
};

// The whole network in one go: namespace, guard entry, veth, inside, outside; and its files. Takes up what a killed
// predecessor left half-made: a namespace that is alive is kept, with whoever lives in it.
struct CreateNetwork {
  Sandbox sandbox;
};
struct RepairPin {  // the namespace's name
  Sandbox sandbox;
};
struct RepairGuard {
  Sandbox sandbox;
};
struct RepairLink {  // flags, MTU, MAC, alias and switches of the host veth
  Sandbox sandbox;
};
struct RepairInside {
  Sandbox sandbox;
};
struct RepairRoutes {
  Sandbox sandbox;
};
struct RepairNeighbours {
  Sandbox sandbox;
};
struct WriteFiles {  // hosts and resolv.conf, in place
  Sandbox sandbox;
};
struct SetLimits {
  Sandbox sandbox;
};
struct WriteVolumes {  // those whose content differs, while the pod runs
  Sandbox sandbox;
  std::vector<std::string> volumes;
};
struct ReleaseContainers {  // those that were held when the pod was started, and are not any more
  Sandbox sandbox;
  std::vector<std::string> containers;
};
struct StartProcesses {
  Sandbox sandbox;
};

using Op = std::variant<EnableForwarding, MakeGuard, RemoveGuard, Withdraw, StopProcesses, DestroyNetwork, Forget,
                        CreateNetwork, RepairPin, RepairGuard, RepairLink, RepairInside, RepairRoutes, RepairNeighbours,
                        WriteFiles, SetLimits, WriteVolumes, ReleaseContainers, StartProcesses>;

// "create network default/web-1: netns default.web-1, 10.244.1.7, mtu 1450, link tr7f3a1b2c3d4"
std::string to_text(const Op& op);

// Removals come first, so that names and addresses are free again; then repairs and creations, each sandbox from the
// guard outwards; a sandbox's processes start after its network. A sandbox that is not valid is left out: validate()
// says why, and the caller reports it.
std::vector<Op> plan(const Desired& want, const Observed& have);

}  // namespace trama::netns
