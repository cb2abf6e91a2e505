// SPDX-License-Identifier: GPL-2.0-or-later
// The node agent as one call: what the API server says becomes sandboxes, peers and service rules on this node.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"

namespace trama::agent {

using std::chrono::milliseconds;

// Every port can be changed, so that several agents live in one network namespace; 0 turns the listener off.
struct AgentPorts {
  std::uint16_t api = 10250;      // mutual TLS, on the node's addresses only
  std::uint16_t health = 10256;   // plain HTTP: /healthz, /livez
  std::uint16_t metrics = 10249;  // 127.0.0.1, plain HTTP: /metrics
  // TCP and UDP on the node's address, agents among themselves; the same on every node. 0: no conversation with peers.
  std::uint16_t peer = 6783;
  std::uint16_t wireguard = 6785;       // UDP, where encryption is required and the kernel has WireGuard
  std::uint16_t overlay_status = 6784;  // 127.0.0.1 (TCP), plain HTTP: what is known of peers and paths
};

struct AgentOptions {
  std::string node_name;  // "" = the host's name, in lower case
  // Several of the first one's family are the node's uplinks. Empty = the source address of the default route.
  std::vector<std::string> node_ips;
  std::string server;  // "https://10.0.0.1:6443"; remembered in data_dir once joined
  std::string join;    // what `trama token create` printed; only needed the first time
  // Instead of joining: server and identity from this file, of any Kubernetes cluster. Then only Services and the
  // overlay are this agent's; pods, the Node and its lease are a kubelet's. It reads Services, EndpointSlices and Nodes
  // and writes Events: docs/kubernetes.md. The file is read again while the agent runs.
  std::string kubeconfig;
  bool network_only() const { return !kubeconfig.empty(); }
  std::map<std::string, std::string> labels;  // of the Node object, besides kubernetes.io/hostname and the like

  std::string data_dir = "/var/lib/trama";  // identity (0600) and the last view of the cluster; survives a reboot
  std::string run_dir = "/run/trama";       // registry of sandboxes, process state, logs
  std::string netns_dir = "/run/netns";
  std::string netns_prefix;  // put before "<namespace>.<pod>": "hello.n1." in a lab
  std::string etc_netns_dir = "/etc/netns";
  // Names the resolvers of the world outside the cluster; in a lab, which reaches none, it names nobody.
  std::string resolv_conf = "/etc/resolv.conf";
  std::string cgroup_root = "trama.slice";  // below each controller's mount; in a lab "trama.slice/hello.n1"

  // Fallbacks for the time before the first Node was read. The overlay keeps traffic for `cluster_cidrs` off the
  // uplink; addresses in `service_cidrs` that no Service owns are dropped.
  std::vector<std::string> cluster_cidrs = {"10.244.0.0/16"};
  std::vector<std::string> service_cidrs = {"10.96.0.0/16"};
  std::string cluster_id = "trama";  // seeds the overlay's deterministic MACs: the same on every node
  std::string cluster_domain = "cluster.local";
  // Where this node answers its pods' DNS questions: "auto" = the tenth address of each range in `service_cidrs`, as
  // kubeadm has it; "none"; or addresses with commas. "auto" means none beside the kubelets of another cluster.
  std::string cluster_dns = "auto";
  bool masquerade = true;  // pods reach what lies beyond the cluster as their node
  // Between nodes: "off" (VXLAN, and the tunnel where that does not pass) or "required" (WireGuard or the tunnel, and
  // nothing in the clear). One side that requires it is enough.
  std::string encryption = "off";
  // Parts of the underlay that are as good as encrypted: an exception from "required" between two nodes that both say
  // so of each other's address.
  std::vector<std::string> trusted_subnets;
  bool direct_routing = false;  // pods' packets as they are to nodes on the same link that have it too; never encrypted
  bool relay = true;   // over a third node where nothing else passes, and as the third node of others; needs the tunnel
  bool tunnel = true;  // whether there is one; needs the conversation with peers
  // Where encryption is required: "auto" (the kernel's, with peers that have it too, else the tunnel) or "off".
  std::string wireguard = "auto";

  // Services, as kube-proxy has them.
  bool allow_external_ips = false;  // honour spec.externalIPs: whoever writes Services takes any address
  std::vector<std::string>
      nodeport_addresses;            // "10.0.0.0/8" or "primary" (the --node-ip ones); none = all but loopback
  bool masquerade_all = false;       // whoever uses a ClusterIP seems to be this node
  bool localhost_nodeports = false;  // a proxy on 127.0.0.1 and ::1 for each node port, TCP and UDP
  bool conntrack_sysctls = true;     // see conntrack_sysctls.h
  // "true", "false", or "auto": unless this machine's nft would list it wrongly. See servicelb/translation_hold.h.
  std::string hold_translation = "auto";

  unsigned max_pods = 110;  // told as the node's capacity
  AgentPorts ports;
  milliseconds lease_period{10'000};  // the controller's node_grace must be at least three times that
  milliseconds resync{30'000};        // drift check of each reconciler even if the kernel reports nothing

  bool uninstall = false;  // take everything of ours out of the kernel, wait until it is gone, return
  bool dry_run = false;    // read the view, print each room's plan to stdout, change nothing, return

  int ready_fd = -1;                  // gets "READY\n" after the first complete pass of all rooms; then closed
  bool handle_signals = true;         // SIGTERM and SIGINT end run_agent cleanly
  std::atomic<bool>* stop = nullptr;  // for tests: polled every 20 ms; true ends run_agent cleanly
};

// Runs until SIGTERM/SIGINT; the value is the exit status. On a clean end nothing is removed from the kernel:
// pods keep running, packets keep flowing, and the next agent adopts what it finds.
// Fails at once (no retry) when the options contradict each other or the controller refuses this node by name;
// a controller that is merely away is waited for.
base::Result<int> run_agent(AgentOptions options);

}  // namespace trama::agent
