// SPDX-License-Identifier: GPL-2.0-or-later
// Waiting until a lab does what its objects say, by the public API alone.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/api.h"

namespace trama::cli {

struct Progress {
  std::size_t done = 0, wanted = 0;
  std::string names;  // of those that are done
};
using OnProgress = std::function<void(const Progress&)>;
using Deadline = std::chrono::steady_clock::time_point;

// The nodes of these names are Ready.
base::Result<> wait_nodes(Api& api, const std::vector<std::string>& names, const OnProgress& tell, Deadline deadline);
// Every Deployment and ReplicaSet has its replicas, every DaemonSet its pod on each of its nodes; every pod is Ready or
// has succeeded. Jobs need not have come to their end.
// On ETIMEDOUT the error names what is missing and why.
base::Result<> wait_pods(Api& api, const OnProgress& tell, Deadline deadline);
// Every Service's endpoints are the ready pods that it selects, and every node has that in its kernel
// (the agent's status says up to which revision Services and EndpointSlices are programmed).
base::Result<> wait_services(Api& api, const std::vector<std::string>& nodes, const OnProgress& tell,
                             Deadline deadline);

// Pure, for wait_services: whether the slices of each Service hold exactly the addresses of the ready pods it selects.
bool endpoints_settled(const std::vector<json::object>& services, const std::vector<json::object>& pods,
                       const std::vector<json::object>& slices);

}  // namespace trama::cli
