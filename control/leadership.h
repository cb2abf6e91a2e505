// SPDX-License-Identifier: GPL-2.0-or-later
// Which of several controllers runs the loops, and the loops while this one does. With SQLite there is only one
// controller: it leads at once.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "control/controllers/api_servers.h"
#include "control/loop_set.h"
#include "control/loops/election.h"
#include "control/loops/fenced_store.h"

namespace trama::control {

class Leadership {
 public:
  // `self` is where this controller can be reached.
  Leadership(async::asio::any_io_executor ex, store::Store& store, const CheckedOptions& options,
             const pki::Authority& authority, ApiServer self);
  // Begins to lead, or to wait for it.
  async::awaitable<void> start();
  // Ends the loops whole and gives the lease back.
  async::awaitable<void> stop();

  bool leads() const { return loops_ != nullptr; }
  // One line for people: "this controller (host_1a2b)", "host_3c4d", "nobody".
  std::string leader() const;
  // Prometheus text; `scheduler` chooses between the two ports of old. Without leading there is only trama_leader.
  std::string metrics(bool scheduler) const;

 private:
  async::awaitable<void> begin();
  async::awaitable<void> end();

  async::asio::any_io_executor ex_;
  store::Store& store_;
  const CheckedOptions& options_;
  const pki::Authority& authority_;
  ApiServer self_;
  std::optional<Election> election_;
  std::optional<FencedStore> fenced_;
  async::TaskGroup tasks_;  // the election, and saying that we are here
  // Of one term. Made anew each time: whatever a loop remembers is of no use to the next term.
  std::unique_ptr<LoopSet> loops_;
  std::unique_ptr<async::TaskGroup> term_;
};

}  // namespace trama::control
