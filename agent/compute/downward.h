// SPDX-License-Identifier: GPL-2.0-or-later
// The downward API: what a container is told about its own pod. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "control/api/object.h"

namespace trama::agent {

namespace json = boost::json;

// What is known besides the pod's own text.
struct PodFacts {
  std::string node_name;
  std::vector<base::Ip> pod_ips;
  std::vector<base::Ip> host_ips;
  std::int64_t node_cpu_milli = 0;  // allocatable: what a container without a limit may have
  std::int64_t node_memory_bytes = 0;
};

// metadata.{name,namespace,uid,labels['x'],annotations['x']}, spec.{nodeName,serviceAccountName},
// status.{podIP,podIPs,hostIP,hostIPs}; nothing for any other path.
std::optional<std::string> field_value(const api::Object& pod, const std::string& path, const PodFacts& facts);
// As files have it: also metadata.labels and metadata.annotations whole, a line `key="value"` each, sorted, without
// the node's and the pod's addresses.
std::optional<std::string> field_file(const api::Object& pod, const std::string& path, const PodFacts& facts);
// Of a resourceFieldRef: limits or requests of cpu or memory in units of its divisor, rounded up. `container` is meant
// where the reference names none.
base::Result<std::string> resource_value(const api::Object& pod, const json::object& reference,
                                         const std::string& container, const PodFacts& facts);

}  // namespace trama::agent
