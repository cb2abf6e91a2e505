// SPDX-License-Identifier: GPL-2.0-or-later
// Keeps the machine's sandboxes equal to what was last published, whoever changes them.
#pragma once

#include <functional>
#include <memory>

#include "base/async/reconcile.h"
#include "netns/kernel.h"

namespace trama::netns {

// Runs on one executor (the agent's brain); blocking work goes to `worker`. Both threads must be in the namespace that
// the kernel port was opened in. Looks again when rtnetlink reports something about a sandbox, inside or outside, when
// its files or pins are touched, when the packet filter was changed by others, when a pod's init or a background
// removal has ended; and every `refresh` all the same.
class Reconciler {
 public:
  using OnReport = std::function<void(const async::PassReport&)>;
  struct Options {
    Paths paths;  // whose files and pins are watched
    std::chrono::milliseconds refresh{30'000};
    std::chrono::milliseconds gather{20};      // from an event to the look: bursts become one
    std::chrono::milliseconds pause{80};       // between two looks caused by events
    std::chrono::milliseconds guard_poll{50};  // how often foreign changes of the packet filter are asked for
  };
  // `kernel` may be something that stands in front of the one that `hints` speaks for. All outlive this object.
  Reconciler(async::Latest<Desired>& want, Kernel& kernel, Hints& hints, async::asio::any_io_executor worker,
             Options options, OnReport on_report);
  ~Reconciler();

  // Until cancelled. Stopping removes nothing: to remove all sandboxes, publish an empty Desired first and wait for its
  // generation.
  async::awaitable<void> run();
  void wake();
  // The packet filter's generation has moved: ask now whose doing it was, not only at the next guard_poll.
  void filter_moved();
  std::uint64_t reconciled_generation() const;
  std::uint64_t passes() const;
  const std::vector<std::string>& last_plan() const;

 private:
  struct Core;
  std::unique_ptr<Core> core_;
};

}  // namespace trama::netns
