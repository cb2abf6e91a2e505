// SPDX-License-Identifier: GPL-2.0-or-later
// The three kernel rooms of a node, with the one thread on which their kernels are called.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/sandbox_port.h"
#include "base/async/latest.h"
#include "base/async/reconcile.h"
#include "base/async/task_group.h"
#include "base/nft/decode.h"
#include "netns/process.h"
#include "overlay/reconciler.h"
#include "servicelb/reconciler.h"

namespace trama::agent {

using async::awaitable;

struct RoomsOptions {
  netns::Paths paths;
  std::chrono::milliseconds resync{30'000};
  bool wireguard = false;  // wanted, if the kernel has it
};

// All called on the brain.
struct RoomsEvents {
  SandboxPort::OnObserved observed;
  SandboxPort::OnOutcome outcome;
  std::function<void(const async::PassReport&)> sandboxes;
  std::function<void(const overlay::Status&)> overlay;
  std::function<void(const servicelb::Reconciler::Report&)> services;
};

class Rooms {
 public:
  // Opens the sockets in the network namespace of the calling thread. Blocking, some milliseconds.
  static base::Result<std::unique_ptr<Rooms>> open(async::asio::any_io_executor brain, RoomsOptions options,
                                                   RoomsEvents events);
  ~Rooms();

  // Reconcilers, monitors and the poll of the packet filter, until stop(). Nothing is removed from the kernel.
  void start();
  awaitable<void> stop();

  async::Latest<netns::Desired>& sandboxes();
  async::Latest<overlay::Desired>& overlay();
  servicelb::Reconciler& services();
  void wake_sandboxes();

  // What the kernel has now; needs no start().
  awaitable<base::Result<netns::Observed>> look_at_sandboxes();
  awaitable<base::Result<overlay::Observed>> look_at_overlay();
  // The base chains of all tables, ours and others'.
  struct BaseChains {
    std::uint64_t epoch = 0;                            // of the ruleset: somebody else's commits change it
    std::optional<std::vector<nft::ChainSeen>> chains;  // nothing while the epoch is the one known
  };
  awaitable<base::Result<BaseChains>> look_at_base_chains(std::uint64_t known_epoch);
  // Until the rooms are gone; once is enough. See servicelb/translation_hold.h.
  awaitable<base::Result<>> hold_translation();
  // Deletes the tables of servicelb. Only after stop(), or without start().
  awaitable<base::Result<>> remove_services();

  std::uint64_t sandbox_passes() const;
  std::uint64_t sandbox_generation() const;  // reconciled
  std::uint64_t overlay_passes() const;
  std::uint64_t overlay_generation() const;
  std::vector<std::string> last_plans() const;  // of all rooms, a line each, with the room's name in front

 private:
  struct Impl;
  explicit Rooms(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace trama::agent
