// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/etcd_store.h"

#include <random>

#include "base/digest.h"
#include "control/store/etcd_mirror.h"

namespace trama::store {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using base::Result;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

namespace {

constexpr std::size_t kInFlight = 32;
constexpr milliseconds kFirstWatch{60'000};  // which reads history again

Status may_have_happened(const std::string& why) {
  Status s;
  s.code = 504;
  s.reason = "Timeout";
  s.message = "the write may have happened, or may not: " + why + ". Look before you repeat it";
  return s;
}

Status status_of(const etcd::Reply& reply) {
  if (reply.failure.code == etcd::Code::exhausted && reply.failure.message.find("space") != std::string::npos)
    return Status::insufficient_storage("etcd: " + reply.failure.message +
                                        ": compact and defragment it, then disarm its alarm (etcdctl alarm disarm)");
  bool big = reply.failure.message.find("larger than max") != std::string::npos;
  if (reply.failure.code == etcd::Code::invalid || big) {
    Status s;
    s.code = 413;
    s.reason = "RequestEntityTooLarge";
    s.message = "etcd: " + reply.failure.message;
    return s;
  }
  return Status::unavailable("etcd: " + reply.failure.message);
}

class EtcdStore final : public Store {
 public:
  EtcdStore(async::asio::any_io_executor ex, EtcdOptions options, StoreOptions store,
            std::unique_ptr<etcd::Gateway> gateway)
      : options_(std::move(options)),
        session_(base::random_hex(8)),
        gateway_(std::move(gateway)),
        mirror_(ex, *gateway_, options_, store, session_),
        tasks_(ex),
        landed_(ex) {}

  awaitable<Result<>> start() {
    auto body = etcd::put_json(mirror_.layout().session(session_), "0");
    auto reply = co_await gateway_->call_again("/v3/kv/put", body);
    if (!reply.ok()) co_return reply.error();
    auto begun = etcd::parse_revision(reply.text);
    if (!begun) co_return std::move(begun).error();
    auto loaded = co_await mirror_.load();
    if (!loaded) co_return loaded;
    mirror_.start(tasks_);
    if (!co_await mirror_.caught_up(*begun, std::max(options_.patience, kFirstWatch)))
      co_return base::Error::text("etcd's watch shows nothing", std::errc::timed_out);
    if (const auto& what = mirror_.not_understood(); !what.empty())
      co_return base::Error::text(what, std::errc::bad_message);
    co_return Result<>();
  }

  ObjectPtr get(const Key& key) const override { return mirror_.cache().get(key); }
  std::vector<ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    return mirror_.cache().list(resource, ns);
  }
  std::uint64_t revision() const override { return mirror_.cache().revision(); }
  Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after) override {
    return mirror_.cache().watch(resource, after);
  }
  void observe(const std::string& resource, Observer seen) override {
    mirror_.cache().observe(resource, std::move(seen));
  }

  awaitable<Answer<std::uint64_t>> current() override {
    if (closing_) co_return Status::unavailable("the controller is shutting down");
    auto until = Clock::now() + options_.patience;
    auto there = co_await mirror_.newest(options_.patience);
    if (!there) co_return Status::unavailable("the newest state can not be read: " + there.error().to_string());
    if (!co_await mirror_.caught_up(*there, left(until)))
      co_return Status::unavailable("the newest state can not be read: etcd's watch is behind");
    co_return revision();
  }

  awaitable<bool> reached(std::uint64_t wanted, milliseconds limit) override {
    auto until = Clock::now() + limit;
    while (revision() < wanted) {
      if (Clock::now() >= until) co_return false;
      co_await mirror_.moved().wait_for(left(until) + milliseconds(1));
    }
    co_return true;
  }

  awaitable<Answer<ObjectPtr>> write(Decision decide) override {
    auto until = Clock::now() + options_.patience;
    auto turn = ++turns_;
    bool fresh = false;  // the cache shows everything that was acknowledged before the call
    for (unsigned conflicts = 0;;) {
      if (closing_) co_return Status::unavailable("the controller is shutting down");
      if (Clock::now() >= until)
        co_return Status::unavailable("others keep writing what this write rests on; nothing happened, try again");
      EtcdAttempt attempt(mirror_.cache(), mirror_.position());
      auto answer = run(decide, attempt);
      // What this controller is just writing there is waited for.
      if (writing_.size() >= kInFlight || collides(attempt)) {
        co_await landed_.wait_for(left(until) + milliseconds(1), turn);
        continue;
      }
      if (!answer || !attempt.writes()) {
        if (fresh) co_return answer;
        auto now = co_await current();
        if (!now) co_return now.error();
        fresh = true;
        continue;
      }
      auto outcome = co_await commit(attempt, until);
      if (!outcome) co_return outcome.error();
      if (*outcome > 0) {
        auto made = attempt.committed(*answer, *outcome);
        auto shown = made ? get(made->key) : nullptr;  // the same version need not be held twice
        co_return shown && shown->revision == made->revision ? shown : made;
      }
      ++conflicts_;
      // Two controllers that write the same would otherwise meet again and again.
      if (++conflicts > 2) co_await async::sleep_for(milliseconds(random_() % (4u << std::min(conflicts, 6u))));
    }
  }

  awaitable<void> maintain() override {
    for (;;) {
      auto keep = mirror_.position().applied;
      co_await async::sleep_for(options_.compact_every);
      auto done = co_await gateway_->call_again("/v3/kv/compaction", etcd::compaction_json(keep));
      // Somebody else may have compacted further.
      if (!done.ok() && done.failure.code != etcd::Code::out_of_range)
        base::logger("store")->warn("compact etcd: {}", done.error().to_string());
    }
  }

  std::string metrics() const override {
    return fmt::format(
        "# HELP trama_store_commits_total Transactions that etcd took from this controller.\n"
        "# TYPE trama_store_commits_total counter\ntrama_store_commits_total {}\n"
        "# HELP trama_store_conflicts_total Transactions decided again because somebody else was first.\n"
        "# TYPE trama_store_conflicts_total counter\ntrama_store_conflicts_total {}\n"
        "# HELP trama_store_uncertain_total Transactions whose answer was lost.\n"
        "# TYPE trama_store_uncertain_total counter\ntrama_store_uncertain_total {}\n"
        "# HELP trama_store_watches_total Watches of etcd that were begun.\n"
        "# TYPE trama_store_watches_total counter\ntrama_store_watches_total {}\n"
        "# HELP trama_store_loads_total How often everything was read from etcd.\n"
        "# TYPE trama_store_loads_total counter\ntrama_store_loads_total {}\n",
        commits_, conflicts_, uncertain_, mirror_.watches(), mirror_.loads());
  }

  awaitable<void> close() override {
    closing_ = true;
    // With the session goes whatever may still be on its way.
    auto reply = co_await gateway_->call("/v3/kv/deleterange", etcd::erase_json(mirror_.layout().session(session_)));
    if (!reply.ok()) base::logger("store")->info("closing: {}", reply.error().to_string());
    co_await tasks_.stop();
  }

 private:
  static milliseconds left(Clock::time_point until) {
    return std::max(milliseconds(0), std::chrono::duration_cast<milliseconds>(until - Clock::now()));
  }

  static Answer<ObjectPtr> run(const Decision& decide, EtcdAttempt& attempt) {
    try {
      return decide(attempt);
    } catch (const std::exception& x) {  // a bug in one decision must not take the store down
      base::logger("store")->critical("a write decision threw: {}", x.what());
      return Status::internal(x.what());
    }
  }

  bool collides(const EtcdAttempt& attempt) const {
    for (const auto* keys : writing_)
      if (attempt.looks_at(*keys, mirror_.layout())) return true;
    return false;
  }

  // The mod_revision of the commit, or 0: somebody else was first, and the cache shows it by now.
  awaitable<Answer<std::uint64_t>> commit(const EtcdAttempt& attempt, Clock::time_point until) {
    struct InFlight {
      InFlight(EtcdStore& s, std::set<std::string> k) : store(s), keys(std::move(k)) { store.writing_.insert(&keys); }
      ~InFlight() {
        store.writing_.erase(&keys);
        store.landed_.notify();
      }
      InFlight(const InFlight&) = delete;
      InFlight& operator=(const InFlight&) = delete;
      EtcdStore& store;
      std::set<std::string> keys;
    };
    struct Expected {
      EtcdMirror& mirror;
      std::uint64_t marker;
      ~Expected() { mirror.forget(marker); }
    };
    InFlight in_flight(*this, attempt.written(mirror_.layout()));
    auto marker = ++markers_;
    auto txn = attempt.transaction(mirror_.layout(), session_, std::to_string(marker));
    if (!txn) co_return txn.error();
    mirror_.expect(marker);
    Expected expected{mirror_, marker};
    auto loads = mirror_.loads();
    auto reply = co_await gateway_->call("/v3/kv/txn", txn->to_json());
    if (reply.maybe) co_return co_await settle(marker, loads, reply.error().to_string(), until);
    if (!reply.ok()) co_return status_of(reply);
    auto answer = etcd::parse_txn(reply.text);
    if (!answer) co_return co_await settle(marker, loads, answer.error().to_string(), until);
    if (answer->succeeded) {
      ++commits_;
      if (!co_await mirror_.caught_up(answer->revision, left(until)))
        co_return may_have_happened("etcd has taken it, but this controller does not see it");
      co_return answer->revision;
    }
    auto head = answer->read.empty() ? 0 : answer->read.front().mod_revision;
    // The session is not in the head: it may be what has changed.
    if (head <= mirror_.position().applied) co_await mirror_.moved().wait_for(milliseconds(20));
    if (!co_await mirror_.caught_up(head, left(until)))
      co_return Status::unavailable("etcd's watch is behind; nothing happened");
    co_return std::uint64_t{0};
  }

  // Finds out what became of a transaction whose answer was lost; 0 = it has not happened and never will.
  awaitable<Answer<std::uint64_t>> settle(std::uint64_t marker, std::uint64_t loads, std::string why,
                                          Clock::time_point until) {
    ++uncertain_;
    until = std::max(until, Clock::now() + options_.patience / 2);
    while (Clock::now() < until) {
      auto body = etcd::put_json(mirror_.layout().session(session_), std::to_string(marker));
      auto reply = co_await gateway_->call_again("/v3/kv/put", body);
      auto fenced = reply.ok() ? etcd::parse_revision(reply.text) : Result<std::uint64_t>(reply.error());
      if (!fenced) {
        co_await async::sleep_for(milliseconds(50));
        continue;
      }
      if (!co_await mirror_.caught_up(*fenced, left(until))) break;
      if (auto mod = mirror_.seen(marker); mod > 0) co_return mod;
      if (mirror_.loads() != loads) break;
      co_return std::uint64_t{0};
    }
    co_return may_have_happened(why);
  }

  EtcdOptions options_;
  std::string session_;
  std::unique_ptr<etcd::Gateway> gateway_;
  EtcdMirror mirror_;
  async::TaskGroup tasks_;
  async::Signal landed_;
  std::set<const std::set<std::string>*> writing_;  // what transactions in flight write
  std::mt19937 random_{std::random_device{}()};
  std::uint64_t turns_ = 0, markers_ = 0, commits_ = 0, conflicts_ = 0, uncertain_ = 0;
  bool closing_ = false;
};

}  // namespace

awaitable<Result<std::unique_ptr<Store>>> open_etcd_store(EtcdOptions options, StoreOptions store) {
  auto ex = co_await async::asio::this_coro::executor;
  auto gateway = etcd::Gateway::make(ex, options.gateway);
  if (!gateway) co_return std::move(gateway).error();
  auto made = std::make_unique<EtcdStore>(ex, std::move(options), store, std::move(*gateway));
  auto started = co_await made->start();
  if (!started) {
    co_await made->close();
    co_return std::move(started).error();
  }
  co_return std::unique_ptr<Store>(std::move(made));
}

}  // namespace trama::store
