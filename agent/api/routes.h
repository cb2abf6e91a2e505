// SPDX-License-Identifier: GPL-2.0-or-later
// Paths of the agent's API -> what is asked. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "agent/api/http.h"
#include "base/result.h"
#include "servicelb/model.h"

namespace trama::agent {

struct PodContainer {
  std::string ns, pod, container;
};

struct AskHealth {};
struct AskPods {};
struct AskStatus {};
struct AskDesired {};
struct AskPlan {};
struct AskLogs {
  PodContainer where;
  std::optional<std::uint64_t> tail_lines, since_seconds, limit_bytes;
  std::string since_time;  // RFC 3339
  bool follow = false, timestamps = false, previous = false;
};
struct AskExec {
  PodContainer where;
  std::vector<std::string> command;
  bool stdin_open = false, terminal = false;
};

struct AskService {
  servicelb::ServiceKey key;
  bool as_nft = false;
};

struct AskOverlay {
  std::string page;  // "status", "connections", "peers", "paths", "report"
};

using Ask = std::variant<AskHealth, AskPods, AskStatus, AskDesired, AskPlan, AskService, AskOverlay, AskLogs, AskExec>;

// GET /healthz, /pods, /status, /overlay/{page}, /debug/desired, /debug/plan, /debug/service?namespace=&name=,
// /debug/nft?svc=ns/name,
// /containerLogs/{ns}/{pod}/{container}, and GET or POST /exec/{ns}/{pod}/{container}, with kubelet's parameter names.
// Errors: ENOENT no such page, EINVAL a parameter is
// wrong.
base::Result<Ask> parse_route(const HttpRequest& request);

// The kubelet's words for how an exec ended, for channel 3: a Status object; a non-zero exit carries its code as a
// cause.
std::string exec_status(int exit_code);
std::string exec_failure(const std::string& message);

}  // namespace trama::agent
