// SPDX-License-Identifier: GPL-2.0-or-later
// Who leads: a Lease in kube-system, as upstream's components have it. Of several controllers one holds it; the others
// wait until it was not renewed for its duration, by their own clocks.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "base/async/event.h"
#include "base/log.h"
#include "control/store/store.h"

namespace trama::control {

using async::awaitable;
using std::chrono::milliseconds;

struct ElectionTimers {
  milliseconds lease{15'000};  // without renewal for that long it is free; whole seconds
  milliseconds renew{10'000};  // a leader that could not renew for that long stops leading; less than `lease`
  milliseconds retry{2'000};   // between two attempts
};

// What one controller knows of the lease. Pure: times are told.
class LeaseView {
 public:
  using Clock = std::chrono::steady_clock;
  LeaseView(std::string identity, milliseconds duration) : identity_(std::move(identity)), duration_(duration) {}
  // What is there now; null = nothing.
  void saw(const api::Object* lease, Clock::time_point now);
  // Inside a transaction: the lease as it shall be, or why it can not be had. `wall` goes into it for people to read.
  api::Answer<api::json::object> claim(const api::Object* lease, Clock::time_point now,
                                       std::chrono::system_clock::time_point wall) const;

 private:
  bool expired(const api::Object& lease, Clock::time_point now) const;
  std::string identity_;
  milliseconds duration_;
  std::uint64_t revision_ = 0;  // of the version that was seen last
  Clock::time_point since_{};   // when it was first seen
};

class Election {
 public:
  struct Callbacks {
    std::function<awaitable<void>()> begin;  // leads from now on
    std::function<awaitable<void>()> end;    // leads no more: on return nothing of it runs
  };
  Election(store::Store& store, std::string identity, ElectionTimers timers);

  // Until it is cancelled. Calls begin and end in turn; end is not called on cancellation.
  awaitable<void> run(Callbacks callbacks);
  // Gives the lease back, so that nobody has to wait for its end. After run() has been cancelled.
  awaitable<void> release();

  bool leads() const { return leads_; }
  // As the lease says; "" = nobody.
  std::string leader() const;
  const std::string& identity() const { return identity_; }
  // For FencedStore: refuses unless the lease is held in this very transaction.
  std::optional<api::Status> fence(const store::Transaction& tx) const;
  static api::Key key();

 private:
  awaitable<base::Result<bool>> try_hold();
  store::Store& store_;
  std::string identity_;
  ElectionTimers timers_;
  LeaseView view_;
  std::shared_ptr<spdlog::logger> log_;
  base::Streak streak_;
  bool leads_ = false;
};

}  // namespace trama::control
