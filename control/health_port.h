// SPDX-License-Identifier: GPL-2.0-or-later
// /healthz, /livez, /readyz and /metrics over plain HTTP, on loopback.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/async/task_group.h"
#include "base/unique_fd.h"

namespace trama::control {

struct HealthPort {
  std::function<std::string()> unhealthy;  // "" = all is well, else the reason
  std::function<std::string()> metrics;    // Prometheus text
};

// The answer to one request head. Pure.
std::string health_answer(const std::string& head, const HealthPort& port);
// Serves on a listening socket until the group is stopped. One request a connection, 5 s each, at most 64 at a time.
async::awaitable<void> serve_health(async::TaskGroup& group, base::UniqueFd socket, HealthPort port);

}  // namespace trama::control
