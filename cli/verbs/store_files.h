// SPDX-License-Identifier: GPL-2.0-or-later
// `trama controller backup`, `restore`, `export` and `import`: they work on stores, not on the API. Each returns the
// exit code.
#pragma once

#include <string>

#include "control/controller.h"

namespace trama::cli {

struct StoreFileOptions {
  std::string file;
  bool salvage = false;  // backup only
};
int controller_backup(const control::ControllerOptions& controller, const StoreFileOptions& options);
int controller_restore(const control::ControllerOptions& controller, const StoreFileOptions& options);

int controller_export(const control::ControllerOptions& controller, const StoreFileOptions& options);
int controller_import(const control::ControllerOptions& controller, const StoreFileOptions& options);

}  // namespace trama::cli
