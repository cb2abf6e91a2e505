// SPDX-License-Identifier: GPL-2.0-or-later
// `trama sim nodes N`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/globals.h"
#include "cli/sim/model.h"

namespace trama::cli {

struct SimNodesOptions {
  SimOptions nodes;
  std::vector<std::string> labels;            // KEY=VALUE
  std::chrono::milliseconds lease_period{0};  // 0: 1 s for a lab, else 10 s
  bool keep = false;
};
// Until Ctrl-C.
int sim_nodes(const Globals& globals, const SimNodesOptions& options);

}  // namespace trama::cli
