// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/async/event.h"
#include "netns/kernel.h"

namespace trama::agent {

// Stands in front of the sandboxes' kernel and tells the brain what was seen and what became of every operation, in
// order, and before the reconciler goes on. Called on the kernel worker; the callbacks run on the brain.
class SandboxPort final : public netns::Kernel {
 public:
  struct Outcome {
    netns::Uid uid;         // "" = not about one pod
    std::string operation;  // the plan's text
    std::string step;       // "CreateNetwork", "StartProcesses", "other"
    std::string error;      // "" = it worked
  };
  using OnObserved = std::function<void(std::shared_ptr<const netns::Observed>)>;
  using OnOutcome = std::function<void(const Outcome&)>;

  SandboxPort(netns::Kernel& kernel, async::asio::any_io_executor brain, OnObserved on_observed, OnOutcome on_outcome);
  base::Result<netns::Observed> observe() override;
  base::Result<> apply(const netns::Op& op) override;

 private:
  netns::Kernel& kernel_;
  async::asio::any_io_executor brain_;
  OnObserved on_observed_;
  OnOutcome on_outcome_;
};

}  // namespace trama::agent
