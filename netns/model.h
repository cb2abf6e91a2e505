// SPDX-License-Identifier: GPL-2.0-or-later
// Container sandboxes as values: what there should be and what there is. No I/O, no clock.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "netns/volume.h"

namespace trama::netns {

using base::Cidr;
using base::Ip;
using base::Mac;

using Uid = std::string;  // pod uid: the identity of a sandbox; a re-created pod of the same name has another

// The network half: one namespace, one point-to-point veth, no bridge.
struct Network {
  std::string netns_name;     // below /run/netns: "default.web-1", in a lab "hello.n1.web-1"
  std::vector<Ip> addresses;  // at most one per family; /32 and /128
  unsigned mtu = 1450;
  std::string hosts;                  // content of /etc/netns/<netns_name>/hosts
  std::string resolv_conf;            // content of /etc/netns/<netns_name>/resolv.conf
  unsigned connection_limit = 16384;  // conntrack entries that the pod may originate; 0 = no limit
  friend bool operator==(const Network&, const Network&) = default;
};

struct Limits {
  unsigned cpu_millis = 0;          // quota; 0 = none
  unsigned cpu_request_millis = 0;  // weight under contention
  std::uint64_t memory_bytes = 0;   // 0 = none
  unsigned pids = 0;                // 0 = the node's default
  friend bool operator==(const Limits&, const Limits&) = default;
};

struct Container {
  std::string name;
  std::string root = "host";         // "host" (the node's root, read-only) or "dir:/path"
  std::vector<std::string> command;  // never empty
  std::map<std::string, std::string> environment;
  std::string working_directory;  // "" = /
  std::vector<VolumeMount> mounts{};
  bool held = false;  // what it is made from is not all there: this one is not started, the others are
  friend bool operator==(const Container&, const Container&) = default;
};

enum class RestartPolicy { always, on_failure, never };

struct Sandbox {
  Uid uid;
  std::string ns, name;  // of the pod
  std::string hostname;
  Network network;
  Limits limits;
  std::vector<Container> containers;
  Volumes volumes;  // of a pod that runs, those of files are kept as they stand here; one that is absent is left alone
  RestartPolicy restart = RestartPolicy::always;
  bool hold_processes = false;  // what volumes are made from is not all there: nothing is started
  // Set: end the processes (SIGTERM, then SIGKILL after the grace time) but keep the network until they are gone.
  std::optional<std::chrono::seconds> stop_with_grace;
  friend bool operator==(const Sandbox&, const Sandbox&) = default;
};

// What the node should have. A sandbox that is absent is torn down: network first, at once.
struct Desired {
  std::map<Uid, Sandbox> sandboxes;
  friend bool operator==(const Desired&, const Desired&) = default;
};

// Where this agent keeps things; several agents share one machine in a lab.
struct Paths {
  std::string run_dir = "/run/trama";  // registry, process state, logs
  std::string netns_dir = "/run/netns";
  std::string etc_netns_dir = "/etc/netns";
  std::string cgroup_root = "trama.slice";  // below each controller's mount
};

enum class ContainerPhase { waiting, running, terminated };

struct ContainerState {
  std::string name;
  ContainerPhase phase = ContainerPhase::waiting;
  std::string reason;  // "Completed", "Error", "OOMKilled", "CrashLoopBackOff", "StartError", …
  std::string message;
  int exit_code = 0;
  int signal = 0;
  int restarts = 0;
  std::string started_at, finished_at;  // RFC 3339; "" = not yet
  friend bool operator==(const ContainerState&, const ContainerState&) = default;
};
// Of a container that waits for what it is made from (Container::held); upstream's word for it.
inline constexpr const char* kHeldReason = "CreateContainerConfigError";
inline bool is_held(const ContainerState& s) { return s.phase == ContainerPhase::waiting && s.reason == kHeldReason; }

enum class ProcessPhase { none, running, finished };  // finished: every container ended for good, or was stopped

// What is there of one sandbox. Fields that could not be found are empty or false.
struct ObservedSandbox {
  Uid uid;
  std::string ns, name;
  Network network;             // as recorded when it was made (hosts and resolv_conf: as the files are now)
  bool netns = false;          // pinned and alive
  bool unpinned = false;       // alive, but its name in /run/netns was taken away
  bool veth = false;           // host veth present, in whatever state, its other end in the namespace
  bool link = false;           // host veth present, up, with the right alias, MAC, MTU and switches
  bool inside = false;         // lo and eth0 up; addresses, routes and gateway neighbours of the pod in place
  bool guarded = false;        // anti-spoof entries present
  std::vector<Ip> routes;      // pod addresses with a host route to this veth
  std::vector<Ip> neighbours;  // pod addresses with a permanent neighbour entry
  std::string ifname;          // host veth
  Limits limits;
  ProcessPhase processes = ProcessPhase::none;
  std::vector<ContainerState> containers;
  std::map<std::string, std::string> volumes;  // of running processes: digest of what each volume of files holds
  bool stopping = false;                       // its processes are being ended: nothing to do but wait
  bool leaving = false;                        // its remains are being removed: nothing to do but wait
  friend bool operator==(const ObservedSandbox&, const ObservedSandbox&) = default;
};

enum class GuardTable { absent, damaged, intact };  // nftables table "inet trama-pods"

struct Observed {
  std::map<Uid, ObservedSandbox> sandboxes;  // only ours; foreign namespaces and links are not listed
  GuardTable guard = GuardTable::absent;     // damaged: rules differ from ours, or it holds entries of nobody
  bool forwarding = false;                   // the node forwards IPv4 and IPv6
  friend bool operator==(const Observed&, const Observed&) = default;
};

// Names derived from the identity; the marks by which a fresh agent finds its own (DESIGN: names and marks).
std::string veth_name(const Uid& uid);  // "tr" + 11 hex
std::string veth_alias(const std::string& ns, const std::string& name,
                       const Uid& uid);  // "trama pod=default/web-1 uid=…"
struct PodMark {
  std::string ns, name;  // shortened when the alias had no room
  Uid uid;
  friend bool operator==(const PodMark&, const PodMark&) = default;
};
std::optional<PodMark> parse_veth_alias(std::string_view alias);           // nothing: not one of ours
std::string veth_altname(const std::string& ns, const std::string& name);  // "pod-default-web-1"
Mac pod_mac(const Uid& uid);
Mac host_mac();                           // ee:ee:ee:ee:ee:ee
Ip gateway(base::Family family);          // 169.254.1.1, fe80::1
std::string cgroup_name(const Uid& uid);  // "pod-<uid>"

// Link groups of host veths: in use, and waiting for the reaper.
constexpr std::uint32_t kLiveGroup = 7200, kDyingGroup = 7201;
constexpr std::uint8_t kRouteProtocol = 116;

// A sentence naming the first thing that is wrong. Names become paths: anything but plain characters is refused.
base::Result<> validate(const Sandbox& sandbox);

}  // namespace trama::netns
