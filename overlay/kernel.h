// SPDX-License-Identifier: GPL-2.0-or-later
// The port between the overlay and the kernel. Blocking: called on a worker thread only.
#pragma once

#include "base/result.h"
#include "overlay/plan.h"

namespace trama::overlay {

class Kernel {
 public:
  virtual ~Kernel() = default;
  // The full truth, or an error; never a partial list.
  virtual base::Result<Observed> observe() = 0;
  // One step of a plan made from the last observe(). Idempotent. A step that cannot work because an earlier one of
  // the same plan failed answers ECANCELED.
  virtual base::Result<> apply(const Op& op) = 0;
  // Whether the packet filter may differ from the last observe(): somebody has touched it, or it was written since.
  // Cheap, asked many times a second.
  virtual bool guards_touched() = 0;
  // The same of trama2's keys and peers, about which the kernel tells nobody. Costs what there are peers.
  virtual bool wireguard_touched() = 0;
};

}  // namespace trama::overlay
