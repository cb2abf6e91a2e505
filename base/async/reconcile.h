// SPDX-License-Identifier: GPL-2.0-or-later
// The reconcile loop, written once for every subsystem that recomputes its whole desired state.
#pragma once

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/async/latest.h"
#include "base/async/run_on.h"
#include "base/backoff.h"
#include "base/log.h"

namespace trama::async {

// What a finished pass says about itself.
struct PassReport {
  std::uint64_t generation = 0;       // of the desired state that is now in the kernel
  std::vector<std::string> failures;  // one readable line per operation that failed; empty = in sync
  std::size_t operations = 0;         // how many operations the pass applied
};

// Level-triggered: events and timers only wake the loop; what it does follows from observe + plan.
//
// Kernel must offer, all blocking, called on `worker` only:
//   base::Result<Observed> observe();                 // the full truth, or an error; never a partial list
//   base::Result<> apply(const Op&);                  // idempotent
// plan(desired, observed) -> std::vector<Op> and to_text(Op) are found by argument lookup and are pure.
//
// Every pass observes, so a pass over an unchanged world plans nothing. Nothing at all is done before the first
// publish.
template <class Desired, class Kernel>
class Reconciler {
 public:
  using OnReport = std::function<void(const PassReport&)>;

  struct Options {
    std::string name;                           // "netns", "overlay": the logger's name
    std::chrono::milliseconds refresh{30'000};  // drift check even if nobody wakes us
    // Pause after a wake, so that bursts become one pass; longer, but never much, where passes take long.
    std::chrono::milliseconds settle{0};
  };

  Reconciler(Latest<Desired>& want, Kernel& kernel, asio::any_io_executor worker, Options options, OnReport report)
      : want_(want),
        kernel_(kernel),
        worker_(std::move(worker)),
        options_(std::move(options)),
        report_(std::move(report)),
        log_(base::logger(options_.name)) {}

  // Something outside changed (a kernel event): look again soon.
  void wake() { want_.wake().set(); }
  // Generation of the last desired state that is fully in the kernel. Tests and status wait on this, never on time.
  std::uint64_t reconciled_generation() const { return done_; }
  std::uint64_t passes() const { return passes_; }
  const std::vector<std::string>& last_plan() const { return last_plan_; }

  awaitable<void> run() {
    auto settle = options_.settle;
    for (;;) {
      auto pause = backoff_.delay() > backoff_.delay().zero() ? backoff_.delay() : options_.refresh;
      bool woken = co_await want_.wake().wait_for(pause);
      if (woken && options_.settle.count() > 0) co_await sleep_for(settle);
      if (!want_.get()) continue;
      auto begun = std::chrono::steady_clock::now();
      bool ok = co_await pass();
      auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begun);
      settle = std::clamp(took * 2, options_.settle, std::max(options_.settle, kLongestSettle));
      if (ok)
        backoff_.succeeded();
      else
        backoff_.failed();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kLongestSettle{200};

  awaitable<bool> pass() {
    auto generation = want_.generation();  // before reading: a later publish stays dirty
    auto desired = want_.get();
    auto look = [this] { return kernel_.observe(); };
    auto seen = co_await run_on(worker_, look);
    ++passes_;
    PassReport report;
    report.generation = generation;
    if (!seen) {
      log_failure(seen.error());
      report.failures.push_back(seen.error().to_string());
      report_(report);
      co_return false;
    }
    auto steps = plan(*desired, *seen);
    if (!steps.empty()) {
      last_plan_.clear();
      for (const auto& op : steps) last_plan_.push_back(to_text(op));
      for (const auto& line : last_plan_) log_->debug("{}", line);
      auto run_all = [this, &steps] {
        std::vector<base::Result<>> results;
        results.reserve(steps.size());
        for (const auto& op : steps) results.push_back(kernel_.apply(op));
        return results;
      };
      auto results = co_await run_on(worker_, run_all);
      report.operations = steps.size();
      for (std::size_t i = 0; i < results.size(); ++i) {
        if (results[i]) continue;  // independent operations: one that fails stops no other
        log_failure(results[i].error());
        report.failures.push_back(last_plan_[i] + ": " + results[i].error().to_string());
      }
    }
    if (report.failures.empty()) {
      done_ = generation;
      streak_.recovered([this](const std::string& line) { log_->info("{}", line); });
    }
    report_(report);
    co_return report.failures.empty();
  }

  void log_failure(const base::Error& e) {
    streak_.failed([this](const std::string& line) { log_->warn("{}; retrying", line); }, e);
  }

  Latest<Desired>& want_;
  Kernel& kernel_;
  asio::any_io_executor worker_;
  Options options_;
  OnReport report_;
  std::shared_ptr<spdlog::logger> log_;
  base::Backoff backoff_{std::chrono::milliseconds(20), std::chrono::milliseconds(2000)};
  base::Streak streak_;
  std::vector<std::string> last_plan_;
  std::uint64_t done_ = 0;
  std::uint64_t passes_ = 0;
};

}  // namespace trama::async
