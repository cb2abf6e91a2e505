// SPDX-License-Identifier: GPL-2.0-or-later
// Nodes that only exist in the API (`trama sim nodes`): nobody listens behind their addresses.
#pragma once

#include "control/api/object.h"

namespace trama::api {

// A label, and the key of the taint that goes with it.
constexpr const char* kSimulated = "trama.dev/simulated";

inline bool is_simulated(const Object& node) {
  auto it = node.labels.find(kSimulated);
  return it != node.labels.end() && it->second == "true";
}

}  // namespace trama::api
