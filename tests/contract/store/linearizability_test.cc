// SPDX-License-Identifier: GPL-2.0-or-later
// Many clients on few objects at once, with a log that fails now and then: every answer fits one order of things.
#include <random>

#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/log.h"
#include "tests/contract/store/linearizable.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/store_rig.h"
#include "tests/support/cable.h"
#include "tests/support/etcd_cluster.h"

namespace trama::store {
namespace {

using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using test::not_linearizable;
using test::Operation;
using Kind = Operation::Kind;
using Histories = std::map<std::string, std::vector<Operation>>;

// A log on which one commit in eight fails.
class FlakyLog final : public Log {
 public:
  FlakyLog(std::unique_ptr<Log> real, unsigned seed) : real_(std::move(real)), random_(seed) {}
  base::Result<Loaded> load() override { return real_->load(); }
  base::Result<> commit(const std::vector<Change>& changes, std::uint64_t reserved) override {
    if (random_() % 8 == 0) return base::Error::text("made to fail", std::errc::io_error);
    return real_->commit(changes, reserved);
  }
  base::Result<> finish(std::uint64_t revision) override { return real_->finish(revision); }

 private:
  std::unique_ptr<Log> real_;
  std::mt19937 random_;
};

class Clients {
 public:
  Clients(std::vector<Store*> stores, unsigned seed) : stores_(std::move(stores)), random_(seed) {}

  async::awaitable<void> client(int operations) {
    for (int i = 0; i < operations; ++i) {
      Key key{"pods", "default", "k" + std::to_string(random_() % 4)};
      Store& store = *stores_[random_() % stores_.size()];
      Operation o;
      o.kind = static_cast<Kind>(random_() % 5);
      o.called = ++clock_;
      if (o.kind == Kind::get) {
        if (!co_await store.current()) continue;  // a read that was not answered
        if (auto have = store.get(key)) o.revision = have->revision, o.value = value_of(*have);
      } else {
        o.value = ++values_;
        // A revision that was current when it was looked at, and often is not any more.
        if (auto have = store.get(key)) o.expected = have->revision;
        if (random_() % 3 == 0) co_await async::sleep_for(std::chrono::milliseconds(0));
        auto failed = co_await write(store, key, o);
        if (failed) continue;  // it has never happened, and what is read later must agree
      }
      o.answered = ++clock_;
      histories[key.name].push_back(o);
      if (random_() % 4 == 0) co_await async::sleep_for(std::chrono::milliseconds(0));
    }
  }
  Histories histories;
  int failures = 0;
  int unknown = 0;  // may have happened: such a history can not be judged

 private:
  static std::uint64_t value_of(const api::Object& o) { return std::stoull(api::text_at(o.body, "data")); }

  // True when the store could not write.
  async::awaitable<bool> write(Store& store, Key key, Operation& o) {
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      auto have = tx.get(key);
      if (o.kind == Kind::create && have) return Status::already_exists(key);
      if (o.kind == Kind::replace && (!have || have->revision != o.expected)) return Status::conflict(key, "changed");
      if (o.kind == Kind::erase) {
        if (!have) return Status::not_found(key);
        tx.erase(key);
        // The revision of a deletion is one less than that of what follows it.
        return tx.put({"services", "default", "after"}, test::StoreRig::body("after", "x"));
      }
      return tx.put(key, test::StoreRig::body(key.name, std::to_string(o.value)));
    };
    auto got = co_await store.write(std::move(decide));
    o.done = static_cast<bool>(got);
    if (o.done) o.revision = (*got)->revision - (o.kind == Kind::erase ? 1 : 0);
    if (!o.done && got.error().code == 504) ++unknown;
    if (!o.done && got.error().code == 503) {
      ++failures;
      co_return true;
    }
    co_return false;
  }

  std::vector<Store*> stores_;
  std::mt19937 random_;
  std::uint64_t clock_ = 0, values_ = 0;
};

// Runs twelve clients against a store and gives back what they saw, by key.
Histories record(unsigned seed, int& failures) {
  test::ScratchDirectory directory;
  async::asio::io_context context;
  auto log = open_sqlite_log(directory.path + "/store.db");
  EXPECT_TRUE(log);
  auto store = open_store(std::make_unique<FlakyLog>(std::move(*log), seed), context.get_executor());
  EXPECT_TRUE(store);
  Clients clients({store->get()}, seed);
  auto all = [&]() -> async::awaitable<int> {
    async::TaskGroup group(co_await async::asio::this_coro::executor);
    for (int i = 0; i < 12; ++i) group.spawn("client", clients.client(60));
    while (group.live() > 0) co_await async::sleep_for(std::chrono::milliseconds(1));
    co_await group.stop();
    co_await (*store)->close();
    co_return 0;
  };
  test::run_coroutine(context, all());
  failures += clients.failures;
  return clients.histories;
}

// Twelve clients of two controllers on one etcd; of one controller's transactions a third loses its request or its
// answer.
Histories record_on_etcd(unsigned seed, unsigned& lost) {
  async::asio::io_context context;
  auto url = test::EtcdCluster::shared().urls().front();
  test::Cable cable(context.get_executor(), static_cast<std::uint16_t>(std::stoul(url.substr(url.rfind(':') + 1))));
  EtcdOptions direct, lossy;
  direct.prefix = lossy.prefix = fmt::format("/linear-{}", seed);
  direct.gateway.urls = {url};
  lossy.gateway.urls = {fmt::format("http://127.0.0.1:{}", cable.port())};
  auto all = [&]() -> async::awaitable<Histories> {
    auto ex = co_await async::asio::this_coro::executor;
    auto a = co_await open_etcd_store(direct, StoreOptions());
    auto b = co_await open_etcd_store(lossy, StoreOptions());
    EXPECT_TRUE(a && b);
    cable.lose("/v3/kv/txn", 10, 20);
    Clients clients({a->get(), b->get()}, seed);
    async::TaskGroup group(ex);
    for (int i = 0; i < 12; ++i) group.spawn("client", clients.client(30));
    while (group.live() > 0) co_await async::sleep_for(std::chrono::milliseconds(1));
    co_await group.stop();
    cable.lose("", 0, 0);
    co_await (*a)->close();
    co_await (*b)->close();
    co_await cable.stop();
    EXPECT_EQ(clients.unknown, 0);
    co_return clients.histories;
  };
  auto histories = test::run_coroutine(context, all(), std::chrono::seconds(120));
  lost += cable.lost_answers() + cable.lost_requests();
  return histories;
}

TEST(Linearizability, EveryAnswerOfTwoControllersFitsOneOrder) {
  ASSERT_TRUE(base::configure_logging("error"));
  unsigned lost = 0;
  std::size_t operations = 0;
  auto seeds = static_cast<unsigned>(test::times(5, 40));
  for (unsigned seed = 1; seed <= seeds; ++seed)
    for (const auto& [key, history] : record_on_etcd(seed, lost)) {
      EXPECT_EQ(not_linearizable(history), "") << "seed " << seed << " " << key;
      operations += history.size();
    }
  EXPECT_GT(operations, 200u * seeds);
  EXPECT_GT(lost, 6u * seeds);
}

TEST(Linearizability, EveryAnswerFitsOneOrder) {
  int failures = 0, overlapping = 0;
  std::size_t operations = 0;
  for (unsigned seed = 1; seed <= 10; ++seed)
    for (const auto& [key, history] : record(seed, failures)) {
      EXPECT_EQ(not_linearizable(history), "") << "seed " << seed << " " << key;
      operations += history.size();
      for (std::size_t i = 1; i < history.size(); ++i) overlapping += history[i].called < history[i - 1].answered;
    }
  EXPECT_GT(operations, 4000u);
  EXPECT_GT(overlapping, 1000) << "one after the other proves nothing";
  EXPECT_GT(failures, 100);
}

// The check must be able to fail: good histories with one lie in them each.
TEST(Linearizability, LiesAreFound) {
  int failures = 0, stale = 0, lost = 0, twice = 0, back = 0;
  for (unsigned seed = 1; seed <= 3; ++seed)
    for (const auto& [key, good] : record(seed, failures)) {
      ASSERT_EQ(not_linearizable(good), "");
      // A read that shows what had been replaced before it was called.
      for (std::size_t i = good.size(); i-- > 0;) {
        if (good[i].kind != Kind::get || good[i].revision == 0) continue;
        auto old = std::find_if(good.begin(), good.end(), [&](const Operation& o) {
          return o.kind == Kind::put && o.done && o.answered < good[i].called && o.revision < good[i].revision;
        });
        if (old == good.end()) continue;
        auto bad = good;
        bad[i].revision = old->revision, bad[i].value = old->value;
        stale += !not_linearizable(bad).empty();
        break;
      }
      // A write that somebody read was never made.
      for (std::size_t i = 0; i < good.size(); ++i) {
        bool read = std::any_of(good.begin(), good.end(), [&](const Operation& o) {
          return o.kind == Kind::get && o.revision == good[i].revision;
        });
        if (good[i].kind != Kind::put || !read) continue;
        auto bad = good;
        bad.erase(bad.begin() + static_cast<std::ptrdiff_t>(i));
        lost += !not_linearizable(bad).empty();
        break;
      }
      // Two that replaced the same revision.
      for (std::size_t i = 0; i < good.size(); ++i) {
        if (good[i].kind != Kind::replace || !good[i].done) continue;
        auto bad = good;
        bad.push_back(good[i]);
        bad.back().revision = good[i].revision + 1;
        twice += !not_linearizable(bad).empty();
        break;
      }
      // A revision that goes back.
      for (std::size_t i = good.size(); i-- > 0;) {
        if (good[i].kind != Kind::put) continue;
        auto bad = good;
        bad[i].revision = 1;
        back += !not_linearizable(bad).empty();
        break;
      }
    }
  EXPECT_EQ(stale, 12);
  EXPECT_EQ(lost, 12);
  EXPECT_EQ(twice, 12);
  EXPECT_EQ(back, 12);
}

}  // namespace
}  // namespace trama::store
