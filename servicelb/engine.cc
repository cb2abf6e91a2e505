// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/engine.h"

#include <fmt/format.h>

namespace trama::servicelb {
namespace {

constexpr int kRation = 4;  // reading takes at most one part in so many and one of the time
constexpr auto kConntrackRetry = std::chrono::seconds(1);

bool outcome_unknown(const Error& e) { return e.is(std::errc::no_buffer_space) || e.is(std::errc::timed_out); }
bool not_supported(const Error& e) {
  return e.is(std::errc::operation_not_supported) || e.is(std::errc::not_supported) ||
         e.is(std::errc::address_family_not_supported) || e.is(std::errc::protocol_not_supported);
}
}  // namespace

void Engine::note_plan(PassOutcome& out, const nft::Batch& batch) {
  out.operations += batch.operations();
  if (batch.empty() || out.plan.size() >= kPlanLines) return;
  auto lines = batch.text(kPlanLines - out.plan.size());
  for (auto& line : lines) {
    log_->debug("{}", line);
    out.plan.push_back(std::move(line));
  }
  out.plan.push_back("commit");
}

Result<> Engine::commit(PassOutcome& out, nft::Batch& batch) {
  if (batch.empty()) return {};
  auto done = kernel_.commit(batch);
  if (done) note_plan(out, batch);
  return done;
}
Result<> Engine::commit(PassOutcome& out, Step& step, int& reached) {
  reached = 0;
  for (auto& batch : step.batches) {
    if (&batch == &step.third() && step.moves && !batch.empty()) kernel_.wait_for_packets();
    if (auto done = commit(out, batch); !done) return done;
    ++reached;
  }
  return {};
}

Result<> Engine::rebuild(PassOutcome& out, Family family, const std::string& why) {
  std::vector<nft::Batch> batches;
  if (!started_ && planner_.elements(family) > options_.build_at_once && why.starts_with("table") &&
      why.ends_with("is missing"))
    batches = planner_.build(family, options_.build_at_once);
  else
    batches.push_back(planner_.rebuild(family));
  std::size_t elements = 0;
  for (auto& batch : batches) {
    auto done = kernel_.commit(batch);
    if (!done) return std::move(done).error().in(fmt::format("rebuild table {}", table_of(family).to_string()));
    out.operations += batch.operations();
    elements += batch.elements();
  }
  std::string line = fmt::format("rebuild table {} ({} elements): {}", table_of(family).to_string(), elements, why);
  log_->info("{}", line);
  out.plan.push_back(std::move(line));
  return {};
}

Result<FamilyContents> Engine::read(Family family, Home first) {
  FamilyContents seen;
  for (auto h = static_cast<std::size_t>(first); h < kHomes; ++h) {
    if (!is_planned(static_cast<Home>(h))) continue;
    auto elements = kernel_.elements(table_of(family), set_of(family, static_cast<Home>(h)));
    if (!elements) return std::move(elements).error();
    auto& contents = seen[h];
    contents.reserve(elements->size());
    for (auto& e : *elements) {
      auto key = e.key;
      contents.emplace(key, std::move(e));
    }
  }
  return seen;
}

Result<> Engine::compare(PassOutcome& out, Family family, FamilyContents& seen) {
  Step step = planner_.repair(family, seen);
  if (step.empty()) return {};
  std::size_t before = out.operations;
  int reached = 0;
  if (auto done = commit(out, step, reached); !done) {
    // Whatever stands in the way of single elements, a new table has not.
    log_->warn("{}; making the table anew", done.error().to_string());
    out.healed = started_;
    return rebuild(out, family, done.error().to_string());
  }
  if (started_) log_->info("repaired {} elements of table {}", out.operations - before, table_of(family).to_string());
  out.healed = started_;
  return {};
}

Result<> Engine::verify_family(PassOutcome& out, Family family, Depth depth, Clock::time_point now) {
  std::map<std::string, std::size_t> counts;
  auto why = kernel_.damage(blueprint(family, planner_.shape(family)), counts);
  if (!why) return std::move(why).error();
  if (!why->empty()) {
    out.healed = started_;
    return rebuild(out, family, *why);
  }
  std::size_t want = planner_.elements(family), have = 0;
  for (const auto& [set, n] : counts)
    if (set != set_of(family, Home::affinity).name) have += n;
  bool counted = !counts.empty() && counts_trusted_;
  bool missing = counted && have != want;
  if (want > options_.read_limit) {
    // Too many to read. Where the kernel counts, equal numbers must do; where not, the table is written anew.
    if (missing || (!counted && depth == Depth::elements)) {
      out.healed = started_;
      return rebuild(out, family,
                     missing ? fmt::format("{} elements instead of {}", have, want) : "its elements may have changed");
    }
    return {};
  }
  if (!missing && depth == Depth::structure) return {};
  auto started = Clock::now();
  auto seen = read(family);
  if (!seen) return std::move(seen).error();
  auto took = Clock::now() - started;
  elements_not_before_ = std::max(elements_not_before_, now + took * (kRation + 1));
  std::size_t before = out.operations;
  auto done = compare(out, family, *seen);
  // A kernel that counts differently (overlapping ranges, say) must not make us read for ever.
  if (done && missing && out.operations == before) counts_trusted_ = false;
  return done;
}

bool Engine::verify(PassOutcome& out, Clock::time_point now, bool force) {
  auto epoch = kernel_.epoch();
  if (!epoch) {
    out.failures.push_back(epoch.error().to_string());
    out.retry = true;
    return false;
  }
  force |= must_verify_;
  if (!force && *epoch == verified_epoch_) return true;
  bool elements = force || now >= elements_not_before_;
  if (!elements && *epoch == structure_epoch_) return true;  // the rest waits for its ration
  bool ok = true;
  auto before = out.operations;
  for (Family f : kFamilies) {
    if (!planner_.enabled(f)) continue;
    auto done = verify_family(out, f, elements ? Depth::elements : Depth::structure, now);
    if (done) continue;
    ok = false;
    out.retry = true;
    // Others may commit faster than a dump takes: that is no failure, the next look will do.
    if (!done.error().is(std::errc::resource_unavailable_try_again)) out.failures.push_back(done.error().to_string());
  }
  if (started_ && out.operations != before) planner_.rules_were_missing();
  if (!ok) return false;
  structure_epoch_ = *epoch;
  if (elements) verified_epoch_ = *epoch;
  must_verify_ = false;
  return true;
}

void Engine::start(PassOutcome& out, Clock::time_point now) {
  auto epoch = kernel_.epoch();
  if (!epoch) {
    out.failures.push_back(epoch.error().to_string());
    out.retry = true;
    return;
  }
  bool large = planner_.endpoints_wanted() > options_.read_limit;
  std::array<FamilyContents, 2> seen;
  for (Family f : kFamilies) {
    auto contents = read(f, large ? Home::affinity : Home::slots);
    if (contents) {
      seen[index_of(f)] = std::move(*contents);
    } else if (!not_supported(contents.error())) {  // creating the table will say so
      out.failures.push_back(contents.error().to_string());
      out.retry = true;
      return;
    }
    planner_.adopt(f, seen[index_of(f)], now);
  }
  planner_.settle(now);
  planner_.all_flows_stale(now);
  bool ok = true;
  for (Family f : kFamilies) {
    std::map<std::string, std::size_t> counts;
    auto why = kernel_.damage(blueprint(f, planner_.shape(f)), counts);
    Result<> done;
    if (!why)
      done = std::move(why).error();
    else if (!why->empty() || planner_.elements(f) > options_.read_limit || large)
      done = rebuild(out, f, why->empty() ? "too large to compare" : *why);
    else
      done = compare(out, f, seen[index_of(f)]);
    if (done) continue;
    if (not_supported(done.error())) {
      unusable_[index_of(f)] =
          fmt::format("{}: services of this family do not work on this node", done.error().to_string());
      log_->warn("{}", unusable_[index_of(f)]);
      planner_.disable(f);
      planner_.settle(now);
      continue;
    }
    if (!outcome_unknown(done.error())) {
      start_without_services(out, done.error(), now);
      return;
    }
    out.failures.push_back(done.error().to_string());
    ok = false;
  }
  started_ = true;
  structure_epoch_ = *epoch;
  verified_epoch_ = *epoch;
  must_verify_ = !ok;
  out.retry |= !ok;
}

// The kernel refuses something of the whole, and one bad service must not keep out the others: the tables are made with
// nothing in them, then the services come as changes do. New connections find nobody for as long as that takes.
void Engine::start_without_services(PassOutcome& out, const Error& why, Clock::time_point now) {
  log_->warn("{}; loading the services one by one", why.to_string());
  planner_.unplace(now);
  for (Family f : kFamilies) {
    if (!planner_.enabled(f)) continue;
    auto done = rebuild(out, f, why.to_string());
    if (done) continue;
    out.failures.push_back(done.error().to_string());
    out.retry = true;
    return;  // not started: the next pass begins again
  }
  auto epoch = kernel_.epoch();
  structure_epoch_ = verified_epoch_ = epoch ? *epoch : 0;
  started_ = true;
  apply(out, now);
}

void Engine::apply(PassOutcome& out, Clock::time_point now) {
  if (!planner_.dirty()) return;
  // Refused services wait for their next try; they hold up nobody else.
  Step step;
  if (refused_.empty()) {
    step = planner_.plan(now);
  } else if (now >= refused_not_before_) {
    refused_not_before_ = now + retry_.delay();
    apply_one_by_one(out, now);
    return;
  } else {
    std::vector<ServiceKey> others;
    for (auto& key : planner_.dirty_services())
      if (!refused_.contains(key)) others.push_back(std::move(key));
    if (others.empty()) return;
    step = planner_.plan(now, others);
  }
  int reached = 0;
  auto done = commit(out, step, reached);
  if (done || outcome_unknown(done.error())) {
    // Unknown: take the new state as wanted and let the comparison find out.
    for (const auto& [key, placement] : step.targets) refused_.erase(key);
    planner_.accept(std::move(step), now);
    if (done) return;
    log_->warn("{}; comparing with the kernel", done.error().to_string());
    must_verify_ = true;
    verify(out, now, true);
    return;
  }
  log_->warn("{}; trying the {} changed services one by one", done.error().to_string(), step.targets.size());
  must_verify_ = true;  // the first half may be in the kernel, or the kernel is not what we thought
  if (!verify(out, now, true)) return;
  apply_one_by_one(out, now);
}

void Engine::apply_one_by_one(PassOutcome& out, Clock::time_point now) {
  auto keys = planner_.dirty_services();
  auto one = [&](Step step) -> Result<> {
    int reached = 0;
    auto done = commit(out, step, reached);
    if (done || outcome_unknown(done.error())) {
      planner_.accept(std::move(step), now);
      if (!done) must_verify_ = true;
      return {};
    }
    if (reached > 0) must_verify_ = true;
    return done;
  };
  for (const auto& key : keys) {
    auto done = one(planner_.plan(now, {key}));
    if (done) {
      refused_.erase(key);
      continue;
    }
    refused_[key] = fmt::format("{}: the kernel refused it: {}", key.to_string(), done.error().to_string());
    out.retry = true;
  }
  if (auto node = one(planner_.plan_node()); !node) {
    out.failures.push_back(std::move(node).error().in("addresses of this node").to_string());
    out.retry = true;
  }
  if (refused_.empty())
    retry_.succeeded();
  else
    retry_.failed();
  refused_not_before_ = now + retry_.delay();
  if (must_verify_) verify(out, now, true);
}

bool Engine::settle_flows(PassOutcome& out, Clock::time_point now) {
  auto started = Clock::now();
  if (started < flows_not_before_ || !planner_.flows().due(now)) return true;
  auto stale = planner_.flows().stale(now);
  auto deleted = kernel_.forget_flows(stale);
  auto took = Clock::now() - started;
  if (!deleted) {
    conntrack_failure_ = std::move(deleted).error().in("flows of removed endpoints; retrying").to_string();
    flows_not_before_ = started + kConntrackRetry;
    return false;
  }
  conntrack_failure_.clear();
  // Walking a full conntrack table takes a while; a removed endpoint may get datagrams for half a second more.
  flows_not_before_ = started + std::min<Clock::duration>(took * (kRation + 1), std::chrono::milliseconds(500));
  planner_.flows().done(stale, now);
  if (*deleted > 0) out.plan.push_back(fmt::format("forget {} flows", *deleted));
  return true;
}

PassOutcome Engine::pass(PassInput input, Clock::time_point now) {
  PassOutcome out;
  auto began = Clock::now();
  if (input.node) planner_.set_node(std::move(*input.node));
  for (auto& change : input.changes) {
    refused_.erase(change.key);
    planner_.put(std::move(change));
  }
  planner_.tick(now);
  if (!started_) {
    start(out, now);
  } else if (verify(out, now, input.look)) {
    apply(out, now);
    auto idle = planner_.collect(now);
    if (auto done = commit(out, idle); !done) {
      log_->warn("{}", done.error().to_string());
      must_verify_ = true;
    }
  }
  if (started_ && (!settle_flows(out, now) || planner_.flows().due(now))) out.retry = true;
  out.committed = started_ && !must_verify_;
  out.unsettled = out.retry || !out.committed || planner_.dirty() || verified_epoch_ != structure_epoch_;
  return finish(std::move(out), began);
}

PassOutcome Engine::finish(PassOutcome out, Clock::time_point began) {
  for (const auto& [key, lines] : planner_.failures())
    for (const auto& line : lines) out.troubled.emplace_back(key, line);
  for (const auto& [key, line] : refused_) out.troubled.emplace_back(key, line);
  for (const auto& [key, line] : out.troubled) out.failures.push_back(line);
  for (const auto& line : unusable_)
    if (!line.empty()) out.failures.push_back(line);
  if (!conntrack_failure_.empty()) out.failures.push_back(conntrack_failure_);
  for (Family f : kFamilies)
    if (planner_.enabled(f)) out.elements += planner_.elements(f);
  out.took = Clock::now() - began;
  return out;
}

Result<> Engine::uninstall() {
  for (Family f : kFamilies) {
    nft::Batch batch;
    nft::Table bare = table_of(f);
    bare.comment.clear();
    batch.put_table(bare);  // deleting what is absent would be refused
    batch.delete_table(bare);
    if (auto done = kernel_.commit(batch); !done && !not_supported(done.error())) return done;
  }
  return {};
}

}  // namespace trama::servicelb
