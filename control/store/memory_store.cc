// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/store/memory_store.h"

#include <algorithm>
#include <deque>
#include <set>

#include "base/async/task_group.h"
#include "base/async/worker.h"
#include "base/log.h"

namespace trama::store {
namespace {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;

constexpr std::uint64_t kReserve = 10'000;  // revisions reserved ahead of use, see Log::commit

using Objects = std::map<Key, ObjectPtr>;

// The newest version of every object while a batch is being decided: committed state, earlier decisions, own writes.
class Draft final : public Transaction {
 public:
  Draft(const Objects& committed, std::uint64_t& counter) : committed_(committed), counter_(counter) {}

  ObjectPtr get(const Key& key) const override {
    if (auto it = own_.find(key); it != own_.end()) return it->second;
    if (auto it = batch_.find(key); it != batch_.end()) return it->second;
    auto it = committed_.find(key);
    return it == committed_.end() ? nullptr : it->second;
  }

  std::vector<ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    Objects merged;
    auto take = [&](const Objects& from) {
      for (auto it = from.lower_bound(Key{resource, ns, ""}); it != from.end(); ++it) {
        if (it->first.resource != resource || (!ns.empty() && it->first.ns != ns)) break;
        merged[it->first] = it->second;
      }
    };
    take(committed_), take(batch_), take(own_);
    std::vector<ObjectPtr> out;
    for (auto& [key, object] : merged)
      if (object) out.push_back(std::move(object));
    return out;
  }

  ObjectPtr put(const Key& key, api::json::object body) override {
    auto object = api::make_object(key, std::move(body), ++counter_);
    changes_.push_back(Change{key, object->revision, object});
    own_[key] = object;
    return object;
  }

  void erase(const Key& key) override {
    changes_.push_back(Change{key, ++counter_, nullptr});
    own_[key] = nullptr;
  }

  // A decision succeeded: what it wrote is seen by the next ones.
  void keep() {
    for (auto& [key, object] : own_) batch_[key] = std::move(object);
    own_.clear();
    kept_.insert(kept_.end(), changes_.begin(), changes_.end());
    changes_.clear();
  }
  void drop() {
    own_.clear();
    changes_.clear();
  }
  const std::vector<Change>& kept() const { return kept_; }

 private:
  const Objects& committed_;
  std::uint64_t& counter_;
  Objects batch_, own_;
  std::vector<Change> changes_, kept_;
};

struct Pending {
  Pending(async::asio::any_io_executor ex, Decision d) : decide(std::move(d)), done(std::move(ex)) {}
  Decision decide;
  std::optional<Answer<ObjectPtr>> answer;
  async::Event done;
};

class MemoryStore;

class MemoryWatch final : public Watch {
 public:
  MemoryWatch(MemoryStore& store, std::string resource);
  ~MemoryWatch() override;
  awaitable<Answer<std::vector<Event>>> next(std::chrono::milliseconds limit) override;
  void offer(const Event& e, std::size_t backlog) {
    if (cut_off_) return;
    if (queue_.size() >= backlog) {
      cut_off_ = true;
      queue_.clear();
    } else {
      queue_.push_back(e);
    }
    wake_.set();
  }
  const std::string& resource() const { return resource_; }

 private:
  MemoryStore& store_;
  std::string resource_;
  std::deque<Event> queue_;
  async::Event wake_;
  bool cut_off_ = false;
};

class MemoryStore final : public Store {
 public:
  MemoryStore(std::unique_ptr<Log> log, async::asio::any_io_executor ex, StoreOptions options)
      : ex_(ex), options_(options), log_(std::move(log)), worker_("store"), tasks_(ex), wake_(ex), idle_(ex) {}

  base::Result<> start() {
    auto loaded = log_->load();
    if (!loaded) return std::move(loaded).error();
    for (auto& object : loaded->objects) objects_[object->key] = object;
    counter_ = visible_ = reserved_ = start_revision_ = loaded->revision;
    tasks_.spawn("store writer", write_loop());
    return {};
  }

  ObjectPtr get(const Key& key) const override {
    auto it = objects_.find(key);
    return it == objects_.end() ? nullptr : it->second;
  }

  std::vector<ObjectPtr> list(const std::string& resource, const std::string& ns) const override {
    std::vector<ObjectPtr> out;
    for (auto it = objects_.lower_bound(Key{resource, ns, ""}); it != objects_.end(); ++it) {
      if (it->first.resource != resource || (!ns.empty() && it->first.ns != ns)) break;
      out.push_back(it->second);
    }
    return out;
  }

  std::uint64_t revision() const override { return visible_; }

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
    auto& history = history_[resource];
    std::uint64_t floor = history.dropped ? history.dropped : start_revision_;
    if (after < floor) return Status::expired(fmt::format("too old resource version: {} ({})", after, floor));
    auto made = std::make_unique<MemoryWatch>(*this, resource);
    for (const auto& e : history.events)
      if (e.revision > after) made->offer(e, SIZE_MAX);
    return std::unique_ptr<Watch>(std::move(made));
  }

  awaitable<void> close() override {
    closing_ = true;
    wake_.set();
    while (!stopped_) co_await idle_.wait();
    co_await tasks_.stop();
  }

  void enlist(MemoryWatch* w) { watchers_[w->resource()].insert(w); }
  void forget(MemoryWatch* w) { watchers_[w->resource()].erase(w); }
  async::asio::any_io_executor executor() const { return ex_; }

 private:
  struct History {
    std::deque<Event> events;
    std::uint64_t dropped = 0;  // newest revision that is no longer in `events`
  };

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
    auto batch = std::exchange(pending_, {});
    std::erase_if(batch, [](const std::shared_ptr<Pending>& p) { return !p->decide; });
    Draft draft(objects_, counter_);
    for (auto& p : batch) {
      try {
        p->answer = p->decide(draft);
      } catch (const std::exception& x) {  // a bug in one decision must not take the store down
        base::logger("store")->critical("a write decision threw: {}", x.what());
        p->answer = Status::internal(x.what());
      }
      if (*p->answer)
        draft.keep();
      else
        draft.drop();
    }
    auto now = std::chrono::steady_clock::now();
    std::vector<Change> durable;
    bool must_commit = counter_ > reserved_;
    for (const auto& c : draft.kept()) {
      if (is_write_behind(c.key)) continue;
      durable.push_back(c);
      must_commit = true;
    }
    // What is behind goes along with any commit, and on its own when it has aged.
    if (!behind_.empty() && (now - last_commit_ > options_.write_behind || closing_)) must_commit = true;
    if (must_commit) {
      std::uint64_t reserve = counter_ + kReserve;
      auto all = std::make_shared<std::vector<Change>>(std::move(durable));
      for (auto& [key, change] : behind_) all->push_back(change);
      for (const auto& c : draft.kept())
        if (is_write_behind(c.key)) all->push_back(c);
      for (const auto& c : *all)
        if (c.object) (void)c.object->text();  // serialised here, so that the writer thread only reads
      auto job = [this, all, reserve] { return log_->commit(*all, reserve); };
      auto r = co_await async::run_on(worker_.executor(), job);
      if (!r) {
        base::logger("store")->error("commit failed, {} writes refused: {}", batch.size(), r.error().to_string());
        // The counter stays: a revision is never given out twice. Refusals are taken back too: they may rest on what
        // an earlier decision of this batch wrote, and that has never happened.
        for (auto& p : batch) {
          p->answer = Status::unavailable("the store could not write: " + r.error().to_string());
          p->done.set();
        }
        co_return;
      }
      reserved_ = reserve;
      last_commit_ = now;
      behind_.clear();
    } else {
      for (const auto& c : draft.kept()) behind_[c.key] = c;
    }
    for (const auto& c : draft.kept()) publish(c);
    if (!draft.kept().empty()) visible_ = draft.kept().back().revision;
    for (auto& p : batch) p->done.set();
  }

  void publish(const Change& c) {
    Event e;
    e.revision = c.revision;
    auto it = objects_.find(c.key);
    e.previous = it == objects_.end() ? nullptr : it->second;
    if (c.object) {
      e.type = e.previous ? Event::Type::modified : Event::Type::added;
      e.object = c.object;
      objects_[c.key] = c.object;
    } else {
      if (!e.previous) return;
      e.type = Event::Type::deleted;
      e.object = api::make_object(c.key, e.previous->body, c.revision);
      objects_.erase(it);
    }
    auto& history = history_[c.key.resource];
    history.events.push_back(e);
    if (history.events.size() > options_.history) {
      history.dropped = history.events.front().revision;
      history.events.pop_front();
    }
    for (auto* w : watchers_[c.key.resource]) w->offer(e, options_.watch_backlog);
  }

  async::asio::any_io_executor ex_;
  StoreOptions options_;
  std::unique_ptr<Log> log_;
  async::Worker worker_;
  async::TaskGroup tasks_;
  async::Event wake_, idle_;
  Objects objects_;
  std::map<std::string, History> history_;
  std::map<std::string, std::set<MemoryWatch*>> watchers_;
  std::vector<std::shared_ptr<Pending>> pending_;
  std::map<Key, Change> behind_;
  std::chrono::steady_clock::time_point last_commit_ = std::chrono::steady_clock::now();
  std::uint64_t counter_ = 0, visible_ = 0, reserved_ = 0, start_revision_ = 0;
  bool closing_ = false, stopped_ = false;
};

MemoryWatch::MemoryWatch(MemoryStore& store, std::string resource)
    : store_(store), resource_(std::move(resource)), wake_(store.executor()) {
  store_.enlist(this);
}
MemoryWatch::~MemoryWatch() { store_.forget(this); }

awaitable<Answer<std::vector<Event>>> MemoryWatch::next(std::chrono::milliseconds limit) {
  if (queue_.empty() && !cut_off_) co_await wake_.wait_for(limit);
  if (cut_off_) co_return Status::expired("the watcher fell too far behind; list again");
  std::vector<Event> out(queue_.begin(), queue_.end());
  queue_.clear();
  co_return out;
}

}  // namespace

bool is_write_behind(const Key& key) {
  return key.resource == "events" || (key.resource == "leases" && key.ns == "kube-node-lease");
}

base::Result<std::unique_ptr<Store>> open_store(std::unique_ptr<Log> log, async::asio::any_io_executor ex,
                                                StoreOptions options) {
  auto store = std::make_unique<MemoryStore>(std::move(log), std::move(ex), options);
  if (auto r = store->start(); !r) return std::move(r).error();
  return std::unique_ptr<Store>(std::move(store));
}

base::Result<std::unique_ptr<Store>> open_sqlite_store(const std::string& path, async::asio::any_io_executor ex,
                                                       StoreOptions options) {
  auto log = open_sqlite_log(path);
  if (!log) return std::move(log).error();
  return open_store(std::move(*log), std::move(ex), options);
}

}  // namespace trama::store
