// SPDX-License-Identifier: GPL-2.0-or-later
// Simulated nodes as values: what their objects say. Pure.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include <boost/json.hpp>

#include "base/ip.h"
#include "base/result.h"
#include "control/api/simulated.h"

namespace trama::cli {

namespace json = boost::json;

using api::is_simulated;
using api::kSimulated;
// An annotation of a simulated Node: with "true" it falls silent, as a machine does that lost power.
constexpr const char* kSilent = "trama.dev/simulated-silent";

struct SimOptions {
  unsigned nodes = 1;
  std::string prefix = "sim";                 // nodes are called <prefix>-0001 …
  unsigned pods_per_node = 110;               // capacity
  unsigned cpus = 32;                         // capacity
  unsigned memory_gib = 256;                  // capacity
  std::map<std::string, std::string> labels;  // besides ours
  bool taint = true;
  std::chrono::milliseconds lease_period{10'000};
  std::size_t parallel = 128;  // requests at a time
};

constexpr unsigned kMostSimulated = 100'000;

// Says what is wrong with a number or a prefix; a name must be a DNS label.
base::Result<> check(const SimOptions& options);

// "sim-0042" for 42.
std::string sim_name(const SimOptions& options, unsigned number);
// Out of 198.18.0.0/15, which RFC 2544 sets aside for benchmarks: no packet can mean it.
base::Ip sim_address(unsigned number);

// What is registered: labels, taint, and a status that is not ready before the node has its pod CIDR.
json::object sim_node(const SimOptions& options, unsigned number, const std::string& now);
// The status that goes with what the Node says now: Ready once it has a pod CIDR.
json::object sim_node_status(const SimOptions& options, unsigned number, const api::Object& node,
                             const std::string& now);
// The node's lease; the Node owns it, so that it goes with it.
json::object sim_lease(const SimOptions& options, const api::Object& node, const std::string& now);

// What becomes of a pod on a simulated node. All containers run and are ready at once; a Job's pod, which would not
// end by itself, has succeeded as soon as it has been seen running. `addresses`: the pod's.
json::object sim_pod_status(const api::Object& pod, const std::vector<base::Ip>& addresses, const base::Ip& node,
                            const std::string& now);

bool is_silent(const api::Object& node);
bool is_deleting(const api::Object& object);
bool has_ended(const api::Object& pod);  // Succeeded or Failed
bool on_host_network(const api::Object& pod);
std::vector<base::Cidr> pod_cidrs_of(const api::Object& node);
std::vector<base::Ip> addresses_of(const api::Object& pod);

}  // namespace trama::cli
