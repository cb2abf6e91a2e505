// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/election.h"

#include <random>

#include "base/async/deadline.h"
#include "control/loops/loop.h"
#include "control/loops/meta.h"

namespace trama::control {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using base::Result;
namespace json = api::json;

namespace {

std::string holder_of(const api::Object& lease) { return api::text_at(lease.body, "spec.holderIdentity"); }

}  // namespace

void LeaseView::saw(const api::Object* lease, Clock::time_point now) {
  auto revision = lease == nullptr ? 0 : lease->revision;
  if (revision == revision_ && since_ != Clock::time_point()) return;
  revision_ = revision;
  since_ = now;
}

bool LeaseView::expired(const api::Object& lease, Clock::time_point now) const {
  // What changed since it was seen last has been renewed just now.
  if (lease.revision != revision_) return false;
  auto seconds = api::int_at(lease.body, "spec.leaseDurationSeconds");
  auto duration = seconds > 0 ? std::chrono::seconds(seconds) : std::chrono::ceil<std::chrono::seconds>(duration_);
  return now - since_ > duration;
}

Answer<json::object> LeaseView::claim(const api::Object* lease, Clock::time_point now,
                                      std::chrono::system_clock::time_point wall) const {
  auto key = Election::key();
  auto stamp = base::format_micros(wall);
  json::object body;
  std::int64_t transitions = 0;
  std::string since = stamp;
  if (lease == nullptr) {
    body = new_object("coordination.k8s.io/v1", "Lease", key, wall);
  } else {
    body = lease->body;
    transitions = api::int_at(body, "spec.leaseTransitions");
    auto holder = holder_of(*lease);
    if (holder == identity_) {
      since = api::text_at(body, "spec.acquireTime", stamp);
    } else if (!holder.empty() && !expired(*lease, now)) {
      return Status::conflict(key, "it is held by " + holder);
    } else {
      ++transitions;
    }
  }
  auto& spec = api::make_object_at(body, "spec");
  spec["holderIdentity"] = identity_;
  spec["leaseDurationSeconds"] = std::chrono::ceil<std::chrono::seconds>(duration_).count();
  spec["acquireTime"] = since;
  spec["renewTime"] = stamp;
  spec["leaseTransitions"] = transitions;
  return body;
}

Election::Election(store::Store& store, std::string identity, ElectionTimers timers)
    : store_(store),
      identity_(identity),
      timers_(timers),
      view_(std::move(identity), timers.lease),
      log_(base::logger("election")) {}

Key Election::key() { return {"leases", "kube-system", "trama-controller"}; }

std::string Election::leader() const {
  auto lease = store_.get(key());
  return lease ? holder_of(*lease) : "";
}

std::optional<Status> Election::fence(const store::Transaction& tx) const {
  auto lease = tx.get(key());
  if (lease && holder_of(*lease) == identity_) return std::nullopt;
  return Status::unavailable(
      fmt::format("this controller ({}) does not lead any more: nothing was written", identity_));
}

// True when the lease is held after it, false when somebody else has it.
awaitable<Result<bool>> Election::try_hold() {
  auto have = store_.get(key());
  view_.saw(have.get(), LeaseView::Clock::now());
  store::Decision decide = [this](store::Transaction& tx) -> Answer<ObjectPtr> {
    auto lease = tx.get(key());
    auto body = view_.claim(lease.get(), LeaseView::Clock::now(), std::chrono::system_clock::now());
    if (!body) return body.error();
    return tx.put(key(), std::move(*body));
  };
  auto done = co_await store_.write(std::move(decide));
  if (done) co_return true;
  if (done.error().code == 409) co_return false;
  co_return to_error(done.error());
}

awaitable<void> Election::run(Callbacks callbacks) {
  auto renewed = LeaseView::Clock::now();
  std::string known;
  std::mt19937 random(std::random_device{}());
  for (;;) {
    auto asked = LeaseView::Clock::now();
    // A leader must know in time that it could not renew; who waits has all the time there is.
    auto patience = leads_ ? std::chrono::duration_cast<milliseconds>(renewed + timers_.renew - asked) : timers_.renew;
    auto attempt = try_hold();
    auto held = co_await async::with_deadline(std::move(attempt), std::max(patience, milliseconds(1)),
                                              "renew the lease " + key().to_string());
    if (!held)
      streak_.failed([this](const std::string& line) { log_->warn("{}; trying again", line); }, held.error());
    else
      streak_.recovered([this](const std::string& line) { log_->info("{}", line); });
    if (held && *held) {
      renewed = asked;
      if (!leads_) {
        log_->info("{} leads now", identity_);
        leads_ = true;
        co_await callbacks.begin();
      }
    } else if (leads_ && (held || LeaseView::Clock::now() - renewed >= timers_.renew)) {
      log_->warn("{} does not lead any more{}", identity_, held ? ": " + leader() + " does" : "");
      leads_ = false;
      co_await callbacks.end();
    }
    if (auto now = leader(); now != known) {
      known = now;
      if (!leads_) log_->info("{} leads", known.empty() ? "nobody" : known);
    }
    // Those that wait do not all try at once.
    auto pause = timers_.retry;
    if (!leads_) pause += milliseconds(random() % static_cast<unsigned>(timers_.retry.count() / 5 + 1));
    co_await async::sleep_for(pause);
  }
}

awaitable<void> Election::release() {
  if (!leads_) co_return;
  leads_ = false;
  store::Decision decide = [this](store::Transaction& tx) -> Answer<ObjectPtr> {
    auto lease = tx.get(key());
    if (!lease || holder_of(*lease) != identity_) return Status::conflict(key(), "somebody else has it");
    auto body = lease->body;
    api::make_object_at(body, "spec")["holderIdentity"] = "";
    return tx.put(key(), std::move(body));
  };
  auto done = co_await store_.write(std::move(decide));
  if (!done) log_->info("the lease was not given back: {}", done.error().message);
}

}  // namespace trama::control
