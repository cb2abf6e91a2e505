// SPDX-License-Identifier: GPL-2.0-or-later
// What several controllers promise each other on one etcd: no lost update, no stale read, no write twice. With a real
// etcd, whose connections are cut and whose answers are lost.
#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/log.h"
#include "tests/contract/store/store_rig.h"
#include "tests/support/cable.h"
#include "tests/support/etcd_cluster.h"

namespace trama::store {
namespace {

using namespace std::chrono_literals;
using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using async::awaitable;
using test::EtcdCluster;
using test::StoreRig;

const Key kCounter{"pods", "default", "counter"};

std::uint64_t metric(const Store& store, const std::string& name) {
  auto text = store.metrics();
  auto at = text.find("\n" + name + " ");
  return at == std::string::npos ? 0 : std::stoull(text.substr(at + name.size() + 2));
}

class EtcdStores : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(base::configure_logging("error"));
    static int count = 0;
    options_.gateway.urls = EtcdCluster::shared().urls();
    options_.prefix = fmt::format("/several-{}", ++count);
  }
  void TearDown() override {
    for (auto& s : stores_) close(s);
    stores_.clear();
    for (auto& c : cables_) run(stopped(*c));
  }

  Store& open() {
    auto opened = run(open_etcd_store(options_, store_options_));
    if (!opened) throw std::runtime_error(opened.error().to_string());
    stores_.push_back(std::move(*opened));
    return *stores_.back();
  }
  // The same, with everything going through a cable.
  Store& open(test::Cable*& cable) {
    auto whole = options_.gateway.urls;
    auto port = static_cast<std::uint16_t>(std::stoul(whole[0].substr(whole[0].rfind(':') + 1)));
    cables_.push_back(std::make_unique<test::Cable>(context_.get_executor(), port));
    cable = cables_.back().get();
    options_.gateway.urls = {fmt::format("http://127.0.0.1:{}", cable->port())};
    auto& store = open();
    options_.gateway.urls = whole;
    return store;
  }
  void close(std::unique_ptr<Store>& store) {
    if (!store) return;
    auto task = [](Store& s) -> awaitable<int> {
      co_await s.close();
      co_return 0;
    };
    run(task(*store));
    store.reset();
  }
  static awaitable<int> stopped(test::Cable& cable) {
    co_await cable.stop();
    co_return 0;
  }
  template <class T>
  T run(awaitable<T> task) {
    return test::run_coroutine(context_, std::move(task), 60s);
  }
  // All at once, until the last has ended.
  void all(std::vector<awaitable<void>> tasks) {
    auto task = [](std::vector<awaitable<void>> many) -> awaitable<int> {
      async::TaskGroup group(co_await async::asio::this_coro::executor);
      for (auto& t : many) group.spawn("one", std::move(t));
      while (group.live() > 0) co_await async::sleep_for(1ms);
      co_await group.stop();
      co_return 0;
    };
    run(task(std::move(tasks)));
  }
  static std::uint64_t count(const ObjectPtr& o) { return o ? std::stoull(api::text_at(o->body, "data")) : 0; }

  awaitable<void> increment(Store& store, int times, bool look_inside) {
    for (int i = 0; i < times; ++i) {
      auto outside = count(store.get(kCounter));
      Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
        auto have = look_inside ? count(tx.get(kCounter)) : outside;
        return tx.put(kCounter, StoreRig::body("counter", std::to_string(have + 1)));
      };
      auto done = co_await store.write(std::move(decide));
      if (done)
        ++acknowledged_;
      else if (done.error().code == 504)
        ++unknown_;
      else
        ADD_FAILURE() << done.error().code << " " << done.error().message;
    }
  }

  async::asio::io_context context_;
  EtcdOptions options_;
  StoreOptions store_options_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::vector<std::unique_ptr<test::Cable>> cables_;
  std::uint64_t acknowledged_ = 0, unknown_ = 0;
};

TEST_F(EtcdStores, TwoThatCountTogetherLoseNothing) {
  auto &a = open(), &b = open();
  std::vector<awaitable<void>> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(increment(a, 40, true)), tasks.push_back(increment(b, 40, true));
  all(std::move(tasks));
  EXPECT_EQ(acknowledged_, 320u);
  ASSERT_TRUE(run(a.current()));
  EXPECT_EQ(count(a.get(kCounter)), 320u);
  EXPECT_GT(metric(a, "trama_store_conflicts_total") + metric(b, "trama_store_conflicts_total"), 10u)
      << "they never met";
}

// The same with a decision that rests on what was read outside of it: what the comparison is for.
TEST_F(EtcdStores, WhoLooksOutsideOfTheTransactionLosesUpdates) {
  auto &a = open(), &b = open();
  std::vector<awaitable<void>> tasks;
  for (int i = 0; i < 4; ++i) tasks.push_back(increment(a, 40, false)), tasks.push_back(increment(b, 40, false));
  all(std::move(tasks));
  ASSERT_TRUE(run(a.current()));
  EXPECT_LT(count(a.get(kCounter)), 320u);
}

// A rule over a list: at most ten. Each store sees the other's additions only by the comparison of the whole list.
TEST_F(EtcdStores, ARuleOverAListHolds) {
  auto &a = open(), &b = open();
  auto fill = [&](Store& store, std::string who, int times) -> awaitable<void> {
    for (int i = 0; i < times; ++i) {
      auto name = fmt::format("{}{}", who, i);
      Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
        if (tx.list("pods", "default").size() >= 10) return Status::conflict({"pods", "default", name}, "full");
        return tx.put({"pods", "default", name}, StoreRig::body(name, "x"));
      };
      (void)co_await store.write(std::move(decide));
    }
  };
  std::vector<awaitable<void>> tasks;
  for (int i = 0; i < 4; ++i)
    tasks.push_back(fill(a, fmt::format("a{}x", i), 10)), tasks.push_back(fill(b, fmt::format("b{}x", i), 10));
  all(std::move(tasks));
  ASSERT_TRUE(run(a.current()));
  EXPECT_EQ(a.list("pods").size(), 10u);
  // And the other way round: nobody takes the last three, by removals that no single key shows.
  auto drain = [&](Store& store, bool front) -> awaitable<void> {
    for (int i = 0; i < 10; ++i) {
      Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
        auto pods = tx.list("pods", "default");
        if (pods.size() <= 3) return Status::conflict(pods.front()->key, "few");
        auto victim = front ? pods.front() : pods.back();
        tx.erase(victim->key);
        return victim;
      };
      (void)co_await store.write(std::move(decide));
    }
  };
  std::vector<awaitable<void>> drains;
  for (int i = 0; i < 3; ++i) drains.push_back(drain(a, true)), drains.push_back(drain(b, false));
  all(std::move(drains));
  ASSERT_TRUE(run(b.current()));
  EXPECT_EQ(b.list("pods").size(), 3u);
}

TEST_F(EtcdStores, ARefusalRestsOnTheNewestState) {
  auto& a = open();
  test::Cable* cable = nullptr;
  auto& b = open(cable);
  for (int i = 0; i < 50; ++i) {
    Key key{"pods", "default", fmt::format("p{}", i)};
    auto make = [&](Transaction& tx) -> Answer<ObjectPtr> { return tx.put(key, StoreRig::body(key.name, "1")); };
    Decision decide = make;
    ASSERT_TRUE(run(a.write(std::move(decide))));
    // Acknowledged by one: the other must not say "not found", whatever its cache shows.
    Decision change = [&](Transaction& tx) -> Answer<ObjectPtr> {
      if (!tx.get(key)) return Status::not_found(key);
      return tx.put(key, StoreRig::body(key.name, "2"));
    };
    auto changed = run(b.write(std::move(change)));
    ASSERT_TRUE(changed) << changed.error().message;
    ASSERT_TRUE(run(a.current()));
    ASSERT_EQ(api::text_at(a.get(key)->body, "data"), "2");
  }
}

TEST_F(EtcdStores, AnswersThatAreLostAreFoundOutAndNothingHappensTwice) {
  auto& a = open();
  test::Cable* cable = nullptr;
  auto& b = open(cable);
  cable->lose("/v3/kv/txn", 15, 25);
  std::vector<awaitable<void>> tasks;
  for (int i = 0; i < 3; ++i) tasks.push_back(increment(a, 30, true)), tasks.push_back(increment(b, 30, true));
  all(std::move(tasks));
  cable->lose("", 0, 0);
  ASSERT_TRUE(run(a.current()));
  EXPECT_EQ(acknowledged_, 180u);
  EXPECT_EQ(unknown_, 0u);
  EXPECT_EQ(count(a.get(kCounter)), 180u);
  EXPECT_GT(cable->lost_requests(), 5u);
  EXPECT_GT(cable->lost_answers(), 5u);
  EXPECT_GE(metric(b, "trama_store_uncertain_total"), cable->lost_answers());
}

TEST_F(EtcdStores, WithoutEtcdNothingIsSaidToHaveFailedThatMayHaveHappened) {
  options_.patience = 1500ms;
  options_.gateway.request_timeout = 500ms;
  test::Cable* cable = nullptr;
  auto& b = open(cable);
  cable->lose("/v3/kv/txn", 0, 100);
  cable->cut_after_a_lost_answer();
  std::vector<awaitable<void>> tasks;
  tasks.push_back(increment(b, 1, true));
  all(std::move(tasks));
  EXPECT_EQ(unknown_, 1u) << "it has happened: anything but \"may have happened\" would be a lie";
  auto stale = run(b.current());
  ASSERT_FALSE(stale);
  EXPECT_EQ(stale.error().code, 503);
  cable->lose("", 0, 0);
  cable->mend();
  ASSERT_TRUE(run(b.current()));
  EXPECT_EQ(count(b.get(kCounter)), 1u);
}

TEST_F(EtcdStores, ACutWatchGoesOnWithoutGapsOrRepeats) {
  auto& a = open();
  test::Cable* cable = nullptr;
  auto& b = open(cable);
  auto watch = b.watch("pods", b.revision());
  ASSERT_TRUE(watch);
  std::vector<std::string> seen;
  for (int i = 0; i < 60; ++i) {
    if (i % 20 == 10) cable->cut();
    if (i % 20 == 15) {
      cable->mend();
      ASSERT_TRUE(run(b.current())) << "there is a watch again";
    }
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      return tx.put(kCounter, StoreRig::body("counter", std::to_string(i)));
    };
    ASSERT_TRUE(run(a.write(std::move(decide))));
  }
  auto end = std::chrono::steady_clock::now() + 20s;
  while (seen.size() < 60) {
    auto events = run((*watch)->next(5s));
    ASSERT_TRUE(events);
    ASSERT_LT(std::chrono::steady_clock::now(), end) << "only " << seen.size();
    for (const auto& e : *events) seen.push_back(api::text_at(e.object->body, "data"));
  }
  for (int i = 0; i < 60; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], std::to_string(i));
  EXPECT_GE(metric(b, "trama_store_watches_total"), 3u);
  EXPECT_EQ(metric(b, "trama_store_loads_total"), 1u);
}

TEST_F(EtcdStores, ACompactedWatchReadsEverythingAgainAndTellsClients410) {
  auto& a = open();
  test::Cable* cable = nullptr;
  auto& b = open(cable);
  auto write = [&](const std::string& data) {
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      return tx.put(kCounter, StoreRig::body("counter", data));
    };
    return run(a.write(std::move(decide)));
  };
  ASSERT_TRUE(write("before"));
  ASSERT_TRUE(run(b.current()));
  auto watch = b.watch("pods", b.revision());
  ASSERT_TRUE(watch);
  int observed = 0;
  b.observe("pods", [&](const Event&) { ++observed; });
  auto old = b.revision();
  cable->cut();
  ASSERT_TRUE(write("missed"));
  auto last = write("after");
  ASSERT_TRUE(last);
  EtcdCluster::shared().ctl(fmt::format("compaction {}", (*last)->revision / kRevisionsPerCommit));
  cable->mend();
  ASSERT_TRUE(run(b.current()));
  EXPECT_EQ(api::text_at(b.get(kCounter)->body, "data"), "after");
  auto told = run((*watch)->next(5s));
  ASSERT_FALSE(told);
  EXPECT_EQ(told.error().code, 410);
  auto resumed = b.watch("pods", old);
  ASSERT_FALSE(resumed) << "what was missed can not be shown";
  EXPECT_EQ(resumed.error().code, 410);
  EXPECT_EQ(metric(b, "trama_store_loads_total"), 2u);
  EXPECT_GE(observed, 1);
}

TEST_F(EtcdStores, AWatchGoesOnAtAnotherControllerAndAfterARestart) {
  auto &a = open(), &b = open();
  std::uint64_t middle = 0;
  for (int i = 0; i < 6; ++i) {
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      tx.put({"pods", "default", "p"}, StoreRig::body("p", std::to_string(i)));
      return tx.put({"pods", "default", "q"}, StoreRig::body("q", std::to_string(i)));
    };
    auto done = run(a.write(std::move(decide)));
    ASSERT_TRUE(done);
    if (i == 2) middle = (*done)->revision - 1;  // between the two writes of a transaction
  }
  auto& c = open();
  for (auto* store : {&b, &c}) {
    ASSERT_TRUE(run(store->reached(a.revision(), 5s)));
    auto watch = store->watch("pods", middle);
    ASSERT_TRUE(watch) << watch.error().message;
    auto events = run((*watch)->next(1s));
    ASSERT_TRUE(events);
    ASSERT_EQ(events->size(), 7u) << "the rest of that transaction, and three more";
    EXPECT_EQ((*events)[0].object->key.name, "q");
  }
  EXPECT_FALSE(run(b.reached(a.revision() + 1, 50ms)));
}

// What the leader does: history older than two periods is gone, what is there now is not.
TEST_F(EtcdStores, UpkeepLetsHistoryGo) {
  options_.compact_every = 150ms;
  auto& a = open();
  auto write = [&](const std::string& data) -> awaitable<std::uint64_t> {
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      return tx.put(kCounter, StoreRig::body("counter", data));
    };
    auto done = co_await a.write(std::move(decide));
    EXPECT_TRUE(done);
    co_return done ? (*done)->revision : 0;
  };
  auto live = [&]() -> awaitable<std::uint64_t> {
    auto first = co_await write("first");
    async::TaskGroup upkeep(co_await async::asio::this_coro::executor);
    upkeep.spawn("upkeep", a.maintain());
    for (int i = 0; i < 12; ++i) {
      (void)co_await write(std::to_string(i));
      co_await async::sleep_for(50ms);
    }
    co_await upkeep.stop();
    co_return first;
  };
  auto first = run(live());
  auto& b = open();
  EXPECT_EQ(api::text_at(b.get(kCounter)->body, "data"), "11");
  auto gone = b.watch("pods", first);
  ASSERT_FALSE(gone) << "etcd still has it";
  EXPECT_EQ(gone.error().code, 410);
  auto recent = b.watch("pods", b.get(kCounter)->revision - 1);
  ASSERT_TRUE(recent) << recent.error().message;
  EXPECT_EQ(run((*recent)->next(1s))->size(), 1u);
}

TEST_F(EtcdStores, BigTransactionsAreOneCommit) {
  auto &a = open(), &b = open();
  auto watch = b.watch("pods", b.revision());
  ASSERT_TRUE(watch);
  constexpr int kPods = 1000;
  Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
    ObjectPtr last;
    for (int i = 0; i < kPods; ++i) {
      auto name = fmt::format("p{:04}", i);
      if (tx.get({"pods", "default", name})) return Status::already_exists({"pods", "default", name});
      last = tx.put({"pods", "default", name}, StoreRig::body(name, "x"));
    }
    return last;
  };
  auto done = run(a.write(std::move(decide)));
  ASSERT_TRUE(done) << done.error().message;
  auto events = run((*watch)->next(10s));
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), static_cast<std::size_t>(kPods)) << "one piece";
  EXPECT_EQ(events->back().revision, (*done)->revision);
  for (std::size_t i = 1; i < events->size(); ++i) ASSERT_EQ((*events)[i].revision, (*events)[i - 1].revision + 1);
  Decision huge = [&](Transaction& tx) -> Answer<ObjectPtr> {
    return tx.put(kCounter, StoreRig::body("counter", std::string(2 << 20, 'x')));
  };
  auto refused = run(a.write(std::move(huge)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 413) << refused.error().message;
}

TEST_F(EtcdStores, WhatIsNotOursIsNotUnderstood) {
  open();
  EtcdCluster::shared().ctl(fmt::format("put {}/o/pods/default/alien hello", options_.prefix));
  auto opened = run(open_etcd_store(options_, store_options_));
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().to_string().find("pods/default/alien"), std::string::npos) << opened.error().to_string();
  options_.gateway.urls = {"http://127.0.0.1:1"};
  options_.prefix += "x";
  auto nobody = run(open_etcd_store(options_, store_options_));
  ASSERT_FALSE(nobody);
  EXPECT_NE(nobody.error().to_string().find("connect to http://127.0.0.1:1"), std::string::npos)
      << nobody.error().to_string();
}

}  // namespace
}  // namespace trama::store
