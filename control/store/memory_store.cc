// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/memory_store.h"

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "base/log.h"
#include "control/store/cache.h"
#include "control/store/draft.h"

namespace trama::store {
namespace {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;

constexpr std::uint64_t kReserve = 10'000;  // revisions reserved ahead of use, see Log::commit

struct Pending {
  Pending(async::asio::any_io_executor ex, Decision d) : decide(std::move(d)), done(std::move(ex)) {}
  Decision decide;
  std::optional<Answer<ObjectPtr>> answer;
  async::Event done;
};

class MemoryStore final : public Store {
 public:
  MemoryStore(std::unique_ptr<Log> log, async::asio::any_io_executor ex, StoreOptions options)
      : ex_(ex),
        options_(options),
        log_(std::move(log)),
        worker_("store"),
        cache_(ex, options),
        tasks_(ex),
        wake_(ex),
        idle_(ex) {}

  base::Result<> start() {
    auto loaded = log_->load();
    if (!loaded) return std::move(loaded).error();
    Objects objects;
    for (auto& object : loaded->objects) objects.emplace_hint(objects.end(), object->key, object);  // in order
    counter_ = reserved_ = loaded->revision;
    cache_.begin(std::move(objects), loaded->revision, std::move(loaded->history), loaded->history_floor);
    if (!loaded->room) enter_full();
    tasks_.spawn("store writer", write_loop());
    return {};
  }

  ObjectPtr get(const Key& key) const override { return cache_.get(key); }
  std::vector<ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    return cache_.list(resource, ns);
  }
  std::uint64_t revision() const override { return cache_.revision(); }
  // Nobody else writes, so what is read here is all there is.
  awaitable<Answer<std::uint64_t>> current() override { co_return cache_.revision(); }
  awaitable<bool> reached(std::uint64_t revision, std::chrono::milliseconds) override {
    co_return cache_.revision() >= revision;
  }
  void observe(const std::string& resource, Observer seen) override { cache_.observe(resource, std::move(seen)); }
  awaitable<void> maintain() override {
    for (;;) co_await async::sleep_for(std::chrono::hours(24));
  }
  std::string metrics() const override { return ""; }

  awaitable<Answer<ObjectPtr>> write(Decision decide) override {
    if (closing_) co_return Status::unavailable("the controller is shutting down");
    auto mine = std::make_shared<Pending>(ex_, std::move(decide));
    // A caller that is cancelled takes its decision along: what it refers to is gone.
    struct Leave {
      std::shared_ptr<Pending> pending;
      ~Leave() { pending->decide = nullptr; }
    };
    Leave leave{mine};
    pending_.push_back(mine);
    wake_.set();
    while (!mine->answer) co_await mine->done.wait();
    co_return std::move(*mine->answer);
  }

  Answer<std::unique_ptr<Watch>> watch(const std::string& resource, std::uint64_t after) override {
    return cache_.watch(resource, after);
  }

  awaitable<void> close() override {
    closing_ = true;
    wake_.set();
    while (!stopped_) co_await idle_.wait();
    co_await tasks_.stop();
  }

 private:
  awaitable<void> write_loop() {
    auto limit = options_.write_behind;
    for (;;) {
      if (pending_.empty() && !closing_) co_await wake_.wait_for(limit);
      bool last = closing_ && pending_.empty();
      if (!pending_.empty() || !behind_.empty() || last) co_await commit_batch();
      if (!last) continue;
      auto end = [this] { return log_->finish(counter_); };
      auto r = co_await async::run_on(worker_.executor(), end);
      if (!r) base::logger("store")->error("closing: {}", r.error().to_string());
      stopped_ = true;
      idle_.set();
      co_return;
    }
  }

  // Decides everything that waits, makes it durable in one commit, then lets it be seen.
  awaitable<void> commit_batch() {
    if (full_) co_await look_for_room();
    auto batch = std::exchange(pending_, {});
    std::erase_if(batch, [](const std::shared_ptr<Pending>& p) { return !p->decide; });
    Draft draft(cache_.objects(), counter_);
    for (auto& p : batch) decide(*p, draft);
    auto now = std::chrono::steady_clock::now();
    auto all = std::make_shared<std::vector<Change>>();
    for (const auto& c : draft.kept())
      if (!is_write_behind(c.key)) all->push_back(c);
    bool must_commit = !all->empty() || counter_ > reserved_;
    // What is behind goes along with any commit, and on its own when it has aged. A full disk keeps its last room for
    // what shrinks.
    bool take_behind = !full_ || closing_;
    bool aged = !behind_.empty() && (now - last_commit_ > options_.write_behind || closing_);
    if (must_commit || (aged && take_behind)) {
      if (take_behind) {
        for (auto& [key, change] : behind_) all->push_back(change);
        for (const auto& c : draft.kept())
          if (is_write_behind(c.key)) all->push_back(c);
      }
      std::uint64_t reserve = counter_ + kReserve;
      auto r = co_await commit(all, reserve);
      if (!r && r.error().is(std::errc::no_space_on_device) && !full_) {
        enter_full();
        auto give = [this]() -> base::Result<> {
          log_->release_reserve();
          return {};
        };
        (void)co_await async::run_on(worker_.executor(), give);
        if (draft.all_kept_shrink()) {
          std::erase_if(*all, [](const Change& c) { return is_write_behind(c.key); });
          take_behind = false;
          r = co_await commit(all, reserve);
        }
      }
      if (!r && must_commit) {
        refuse(batch, r.error());
        co_return;
      }
      last_commit_ = now;
      if (r) reserved_ = reserve;
      if (r && take_behind) behind_.clear();
      if (!r || !take_behind) put_behind(draft);
      if (!r) base::logger("store")->error("leases and events stay in memory: {}", r.error().to_string());
    } else {
      put_behind(draft);
    }
    cache_.next_commit();
    for (const auto& c : draft.kept()) cache_.apply(c.key, c.object, c.revision);
    if (!draft.kept().empty()) cache_.complete(draft.kept().back().revision);
    for (auto& p : batch) p->done.set();
  }

  void decide(Pending& p, Draft& draft) {
    try {
      p.answer = p.decide(draft);
    } catch (const std::exception& x) {  // a bug in one decision must not take the store down
      base::logger("store")->critical("a write decision threw: {}", x.what());
      p.answer = Status::internal(x.what());
    }
    if (*p.answer && full_ && !draft.shrinks()) p.answer = no_room();
    if (*p.answer)
      draft.keep();
    else
      draft.drop();
  }

  awaitable<base::Result<>> commit(std::shared_ptr<std::vector<Change>> all, std::uint64_t reserve) {
    for (const auto& c : *all) {  // serialised here, so that the writer thread only reads
      if (c.object) (void)c.object->text();
      if (c.previous) (void)c.previous->text();
    }
    auto job = [this, all, reserve] { return log_->commit(*all, reserve); };
    co_return co_await async::run_on(worker_.executor(), job);
  }

  // The counter stays: a revision is never given out twice. Refusals are taken back too: they may rest on what an
  // earlier decision of this batch wrote, and that has never happened.
  void refuse(const std::vector<std::shared_ptr<Pending>>& batch, const base::Error& why) {
    base::logger("store")->error("commit failed, {} writes refused: {}", batch.size(), why.to_string());
    for (const auto& p : batch) {
      if (why.is(std::errc::no_space_on_device))
        p->answer = no_room();
      else
        p->answer = Status::unavailable("the store could not write: " + why.to_string());
      p->done.set();
    }
  }

  void put_behind(const Draft& draft) {
    for (const auto& c : draft.kept())
      if (is_write_behind(c.key)) behind_[c.key] = c;
  }

  static Status no_room() {
    return Status::insufficient_storage(
        "database space exceeded: the disk of the store is full; reads, watches and deletes work, everything else does "
        "again by itself when there is room");
  }

  void enter_full() {
    full_ = true;
    looked_ = std::chrono::steady_clock::now();
    base::logger("store")->error("the disk is full: only deletes are taken until there is room again");
  }

  awaitable<void> look_for_room() {
    auto now = std::chrono::steady_clock::now();
    if (now - looked_ < options_.look_for_room) co_return;
    auto look = [this]() -> base::Result<bool> { return log_->restore_reserve(); };
    auto room = co_await async::run_on(worker_.executor(), look);
    looked_ = std::chrono::steady_clock::now();
    if (!room || !*room) co_return;
    full_ = false;
    base::logger("store")->info("there is room on the disk again: writes are taken");
  }

  async::asio::any_io_executor ex_;
  StoreOptions options_;
  std::unique_ptr<Log> log_;
  async::Worker worker_;
  Cache cache_;
  async::TaskGroup tasks_;
  async::Event wake_, idle_;
  std::vector<std::shared_ptr<Pending>> pending_;
  std::map<Key, Change> behind_;
  std::chrono::steady_clock::time_point last_commit_ = std::chrono::steady_clock::now();
  std::uint64_t counter_ = 0, reserved_ = 0;
  bool closing_ = false, stopped_ = false;
  bool full_ = false;  // the disk: only what shrinks is taken
  std::chrono::steady_clock::time_point looked_{};
};

}  // namespace

base::Result<std::unique_ptr<Store>> open_store(std::unique_ptr<Log> log, async::asio::any_io_executor ex,
                                                StoreOptions options) {
  auto store = std::make_unique<MemoryStore>(std::move(log), std::move(ex), options);
  if (auto r = store->start(); !r) return std::move(r).error();
  return std::unique_ptr<Store>(std::move(store));
}

base::Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, async::asio::any_io_executor ex,
                                                       StoreOptions options, SqliteOptions sqlite) {
  auto log = open_sqlite_log(path, sqlite);
  if (!log) return std::move(log).error();
  return open_store(std::move(*log), std::move(ex), options);
}

}  // namespace trama::store
