// SPDX-License-Identifier: GPL-2.0-or-later
// One pass at a time: changes in, transactions out, repairs included. Synchronous; lives on the worker thread.
#pragma once

#include "base/backoff.h"
#include "base/log.h"
#include "servicelb/inspect.h"
#include "servicelb/kernel.h"

namespace trama::servicelb {

struct PassInput {
  std::vector<Change> changes;
  std::optional<NodeFacts> node;
  bool look = false;  // verify even if nobody seems to have touched anything
};

struct PassOutcome {
  bool committed = false;  // every change told so far is in the kernel, or named in `failures`
  std::vector<std::string> failures;
  std::size_t operations = 0;                                // elements, rules and chains written
  bool healed = false;                                       // damage done by somebody else was repaired
  std::vector<std::string> plan;                             // what was written, in nft's words; cut after kPlanLines
  bool retry = false;                                        // something must be tried again soon
  bool unsettled = false;                                    // the next pass has something to do even if nobody calls
  std::vector<std::pair<ServiceKey, std::string>> troubled;  // those of `failures` that are one service's
  std::size_t elements = 0;                                  // in the kernel, of both families
  std::chrono::nanoseconds took{0};
};
constexpr std::size_t kPlanLines = 200;

class Engine {
 public:
  struct Options {
    // With more elements than this a table is written anew rather than read back: dumps are quadratic.
    std::size_t read_limit = 100'000;
    // Elements of a first load in one transaction.
    std::size_t build_at_once = 20'000;
  };
  // The kernel outlives the engine.
  explicit Engine(Kernel& kernel) : Engine(kernel, Options()) {}
  Engine(Kernel& kernel, Options options) : kernel_(kernel), options_(options), log_(base::logger("servicelb")) {}

  // The first call starts: it takes over what an earlier agent left in the kernel and must therefore come after the
  // first full list of services, which may be part of its input.
  PassOutcome pass(PassInput input, Clock::time_point now);
  // What is in the kernel for one service; nothing when it was never told of. Reads counters where there are any.
  Result<std::optional<ServiceView>> describe(const ServiceKey& key);
  // Of all services that count; walks them.
  Result<std::vector<ConnectionCount>> connections();
  // Deletes our tables: plans towards nothing at all.
  Result<> uninstall();
  const Planner& planner() const { return planner_; }

 private:
  void start(PassOutcome& out, Clock::time_point now);
  void start_without_services(PassOutcome& out, const Error& why, Clock::time_point now);
  bool verify(PassOutcome& out, Clock::time_point now, bool force);
  enum class Depth { structure, elements };
  Result<> verify_family(PassOutcome& out, Family family, Depth depth, Clock::time_point now);
  // The elements of this home and those behind it.
  Result<FamilyContents> read(Family family, Home first = Home::slots);
  Result<> compare(PassOutcome& out, Family family, FamilyContents& seen);
  void apply(PassOutcome& out, Clock::time_point now);
  void apply_one_by_one(PassOutcome& out, Clock::time_point now);
  bool settle_flows(PassOutcome& out, Clock::time_point now);
  PassOutcome finish(PassOutcome out, Clock::time_point began);
  Result<> commit(PassOutcome& out, nft::Batch& batch);
  // All transactions of a step. `reached` tells how many are in the kernel.
  Result<> commit(PassOutcome& out, Step& step, int& reached);
  Result<> rebuild(PassOutcome& out, Family family, const std::string& why);
  void note_plan(PassOutcome& out, const nft::Batch& batch);

  Kernel& kernel_;
  Options options_;
  std::shared_ptr<spdlog::logger> log_;
  Planner planner_;
  bool started_ = false;
  std::array<std::string, 2> unusable_;      // why a family is left alone; "" = it is served
  bool counts_trusted_ = true;               // the kernel counts elements as we do
  std::uint64_t verified_epoch_ = 0;         // structure and elements were right at this one
  std::uint64_t structure_epoch_ = 0;        // structure was
  bool must_verify_ = false;                 // a commit went wrong: the kernel may hold anything
  Clock::time_point elements_not_before_{};  // reading many elements is rationed
  Clock::time_point flows_not_before_{};
  std::map<ServiceKey, std::string> refused_;  // services whose transaction the kernel refused
  base::Backoff retry_{std::chrono::milliseconds(100), std::chrono::milliseconds(5000)};  // of refused services
  Clock::time_point refused_not_before_{};
  std::string conntrack_failure_;
};

}  // namespace trama::servicelb
