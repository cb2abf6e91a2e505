// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>

#include "base/result.h"
#include "netns/plan.h"

namespace trama::netns {

// The port between the planner and the machine. Blocking; called on one thread, always the same one.
class Kernel {
 public:
  virtual ~Kernel() = default;
  // The full truth about everything of ours, or an error; never a partial list.
  virtual base::Result<Observed> observe() = 0;
  // Idempotent. A failure leaves things so that the next observe() and plan() find the way.
  virtual base::Result<> apply(const Op& op) = 0;
};

}  // namespace trama::netns
