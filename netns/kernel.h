// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

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

// What the machine can say about when to look again. Apart from the port, so that something may stand in front of that.
class Hints {
 public:
  virtual ~Hints() = default;
  // Any thread: something changed in the namespace with this id here; nothing = somewhere. The next observe() looks
  // into it; namespaces that were well before are not entered without such a hint. False: it is no sandbox of ours.
  virtual bool inside_changed(std::optional<std::int32_t> nsid) = 0;
  // Any thread: this link of the node belongs to a sandbox, as of the last observe().
  virtual bool is_ours(std::uint32_t link) = 0;
  // Kernel thread: somebody else has changed the packet filter since the guard was last verified.
  virtual base::Result<bool> guard_touched() = 0;
  // `changed` is called from any thread when background work of the port has ended; nullptr ends that for good.
  virtual void on_change(std::function<void()> changed) = 0;
  // Readable when a pod's init has ended, -1 = never; drain() from any thread after each wake.
  virtual int ended_fd() const = 0;
  virtual void drain() = 0;
};

}  // namespace trama::netns
