// SPDX-License-Identifier: GPL-2.0-or-later
// PATH.lock: one controller to a store. It says, too, whether there has ever been a store at that path.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace trama::store {

class StoreLock {
 public:
  // Held until destruction, or until the process ends in whatever way. device_or_resource_busy: somebody has it.
  static base::Result<StoreLock> take(const std::string& store_path);
  bool was_used() const { return used_; }
  void mark_used();

 private:
  base::UniqueFd fd_;
  bool used_ = false;
};

}  // namespace trama::store
