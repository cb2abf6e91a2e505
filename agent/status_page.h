// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent tells about itself: /status, /metrics, /healthz. Pure: facts in, text out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "agent/compute/obstacles.h"
#include "agent/dns/record.h"

namespace trama::agent {

struct RoomFacts {
  std::string name;              // "sandboxes", "overlay", "services"
  std::uint64_t generation = 0;  // newest desired state told
  std::uint64_t programmed = 0;  // newest one that is fully in the kernel
  bool in_sync = false;
  std::uint64_t passes = 0, operations = 0, heals = 0, failed_passes = 0;
  double last_pass_ms = 0;            // from the telling to the report of the last pass that changed something
  std::vector<std::string> failures;  // of the last pass
};

struct AgentFacts {
  std::string node;
  std::string server;
  bool connected = false;
  std::string connection_trouble;
  std::string started_at, now;
  bool ready = false;
  std::string reason, message;
  bool node_deleting = false;
  bool node_excluded = false;  // the cluster autoscaler is about to remove it: no load balancer should send here
  RoomFacts sandboxes, overlay, services;
  std::uint64_t service_revision = 0, slice_revision = 0;  // in the kernel
  std::uint64_t services_count = 0;
  std::uint64_t pods = 0, pods_ready = 0, sandboxes_count = 0, addresses = 0;
  std::uint64_t peers = 0;
  unsigned mtu = 0;
  std::string overlay_mode, uplink;
  std::vector<std::string> pod_cidrs;
  std::optional<std::vector<Obstacle>> obstacles;    // nothing = nobody has looked yet
  std::vector<std::string> troubles;                 // pods that do not run, refused endpoints, refused peers
  std::optional<boost::json::object> overlay_paths;  // overlay_brief; nothing = nobody has looked yet
  bool holding = false;
  std::optional<dns::Counters> dns;  // nothing = names are answered elsewhere
  std::uint64_t api_requests = 0, lease_renewals = 0;
  bool stale = false;               // a change of a Service that was told long ago is still not in the kernel
  std::string services_updated_at;  // when nothing was missing in the kernel for the last time
};

boost::json::object status_page(const AgentFacts& facts);
// Prometheus text exposition format 0.0.4.
std::string metrics_page(const AgentFacts& facts);
// kube-proxy's /healthz: 200 while what was told gets programmed and the node is not about to go; /livez ignores the
// node. "lastUpdated" is the present while all is well. `code` is the HTTP status.
std::string health_page(const AgentFacts& facts, bool with_node, int& code);

}  // namespace trama::agent
