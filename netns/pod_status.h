// SPDX-License-Identifier: GPL-2.0-or-later
// What the pod's init reports: status.json in the pod's directory, replaced atomically after every change.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/result.h"
#include "netns/model.h"

namespace trama::netns {

struct ContainerStatus {
  ContainerState state;
  pid_t pid = 0;                       // of the running container in the host's pid namespace; 0 = not running
  std::uint64_t start_time = 0;        // of that pid, in clock ticks since boot: tells a recycled pid
  std::optional<ContainerState> last;  // how the previous run ended
  friend bool operator==(const ContainerStatus&, const ContainerStatus&) = default;
};

struct PodStatus {
  Uid uid;
  std::uint64_t sequence = 0;  // grows with every change
  bool finished = false;       // every container ended for good; the init has gone or is about to go
  std::vector<ContainerStatus> containers;
  friend bool operator==(const PodStatus&, const PodStatus&) = default;
};

std::string to_json(const PodStatus& status);
base::Result<PodStatus> parse_pod_status(std::string_view json);

}  // namespace trama::netns
