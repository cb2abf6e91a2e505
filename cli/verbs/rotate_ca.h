// SPDX-License-Identifier: GPL-2.0-or-later
// `trama controller rotate-ca start|switch|finish|status`: on a controller's machine, while it runs. docs/ca.md.
#pragma once

#include <string>

#include "control/controller.h"

namespace trama::cli {

struct RotateCaOptions {
  std::string step;  // "start", "switch", "finish", "status"
  bool force = false;
};
int controller_rotate_ca(const control::ControllerOptions& controller, const RotateCaOptions& options);

}  // namespace trama::cli
