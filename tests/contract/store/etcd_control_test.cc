// SPDX-License-Identifier: GPL-2.0-or-later
// What controllers build on the store, with two of them on one etcd: addresses of Services, leadership and its fence,
// moving from store to store.
#include <filesystem>

#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/log.h"
#include "control/controllers/service_allocation.h"
#include "control/loops/election.h"
#include "control/loops/fenced_store.h"
#include "control/store/migration.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/store_rig.h"
#include "tests/support/etcd_cluster.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using async::awaitable;
using store::Decision;
using store::EtcdOptions;
using store::Store;
using store::Transaction;
using test::EtcdCluster;
using test::StoreRig;
namespace json = api::json;

class EtcdControl : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(base::configure_logging("error"));
    static int count = 0;
    options_.gateway.urls = EtcdCluster::shared().urls();
    options_.prefix = fmt::format("/control-{}", ++count);
  }
  template <class T>
  T run(awaitable<T> task) {
    return test::run_coroutine(context_, std::move(task), 60s);
  }
  // Runs `work` with two stores.
  template <class F>
  void with_two(F work) {
    auto all = [&]() -> awaitable<int> {
      store::StoreOptions usual;
      auto a = co_await store::open_etcd_store(options_, usual);
      auto b = co_await store::open_etcd_store(options_, usual);
      EXPECT_TRUE(a && b);
      co_await work(**a, **b);
      co_await (*a)->close();
      co_await (*b)->close();
      co_return 0;
    };
    run(all());
  }

  async::asio::io_context context_;
  EtcdOptions options_;
};

// A transaction that guards nothing: the control of the next test.
class Unguarded final : public Transaction {
 public:
  explicit Unguarded(Transaction& tx) : tx_(tx) {}
  ObjectPtr get(const Key& key) const override { return tx_.get(key); }
  std::vector<ObjectPtr> list(const std::string& r, const std::string& ns) const override { return tx_.list(r, ns); }
  ObjectPtr put(const Key& key, json::object body) override { return tx_.put(key, std::move(body)); }
  void erase(const Key& key) override { tx_.erase(key); }
  void guard(const std::string&) override {}

 private:
  Transaction& tx_;
};

struct Given {
  std::size_t services = 0, addresses = 0, ports = 0;  // the last two: different ones
};

awaitable<void> allocate(Store& store, ServiceAllocator& allocator, std::string name, bool guarded) {
  Key key{"services", "default", name};
  Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
    auto body = StoreRig::body(name, "");
    body["spec"] = json::parse(R"({"type":"NodePort","ports":[{"port":80,"protocol":"TCP"}]})");
    Unguarded bare(tx);
    auto refused = allocator.admit(guarded ? tx : static_cast<Transaction&>(bare), key, body, nullptr);
    if (refused) return *refused;
    return tx.put(key, std::move(body));
  };
  auto done = co_await store.write(std::move(decide));
  EXPECT_TRUE(done) << done.error().message;
}

awaitable<void> allocate_on_both(Store& a, Store& b, bool guarded, Given& given) {
  ServiceRanges ranges;
  ranges.addresses = {*base::Cidr::parse("10.96.0.0/24")};
  ServiceAllocator at_a(ranges), at_b(ranges);
  a.observe("services", [&](const store::Event& e) { at_a.remember(*e.object); });
  b.observe("services", [&](const store::Event& e) { at_b.remember(*e.object); });
  async::TaskGroup group(co_await async::asio::this_coro::executor);
  for (int i = 0; i < 60; ++i) {
    group.spawn("a", allocate(a, at_a, fmt::format("a{}", i), guarded));
    group.spawn("b", allocate(b, at_b, fmt::format("b{}", i), guarded));
  }
  while (group.live() > 0) co_await async::sleep_for(1ms);
  co_await group.stop();
  (void)co_await a.current();
  std::set<std::string> ips;
  std::set<std::int64_t> ports;
  for (const auto& s : a.list("services")) {
    ips.insert(api::text_at(s->body, "spec.clusterIP"));
    ports.insert(api::int_at(api::array_at(s->body, "spec.ports").front().as_object(), "nodePort"));
  }
  given = {a.list("services").size(), ips.size(), ports.size()};
}

TEST_F(EtcdControl, NoAddressIsGivenOutTwice) {
  Given given;
  with_two([&](Store& a, Store& b) { return allocate_on_both(a, b, true, given); });
  EXPECT_EQ(given.services, 120u);
  EXPECT_EQ(given.addresses, 120u);
  EXPECT_EQ(given.ports, 120u);
}

TEST_F(EtcdControl, WithoutTheGuardTheyWouldBe) {
  Given given;
  with_two([&](Store& a, Store& b) { return allocate_on_both(a, b, false, given); });
  EXPECT_EQ(given.services, 120u);
  EXPECT_LT(given.addresses + given.ports, 240u);
}

awaitable<void> lead_in_turn(Store& a, Store& b) {
  auto ex = co_await async::asio::this_coro::executor;
  ElectionTimers timers{1'000ms, 700ms, 100ms};
  Election first(a, "first", timers), second(b, "second", timers);
  int terms = 0, running = 0, most = 0;
  auto callbacks = [&] {
    Election::Callbacks c;
    c.begin = [&]() -> awaitable<void> {
      ++terms, most = std::max(most, ++running);
      co_return;
    };
    c.end = [&]() -> awaitable<void> {
      --running;
      co_return;
    };
    return c;
  };
  async::TaskGroup one(ex), two(ex), again(ex);
  one.spawn("first", first.run(callbacks()));
  while (!first.leads()) co_await async::sleep_for(5ms);
  two.spawn("second", second.run(callbacks()));
  co_await async::sleep_for(2'000ms);
  EXPECT_TRUE(first.leads());
  EXPECT_FALSE(second.leads()) << "it was renewed all the time";
  EXPECT_EQ(second.leader(), "first");
  EXPECT_EQ(most, 1);
  FencedStore fenced(a, [&](const Transaction& tx) { return first.fence(tx); });
  auto put = [](Store& store, std::string name) -> awaitable<int> {
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      return tx.put({"pods", "default", name}, StoreRig::body(name, "x"));
    };
    auto done = co_await store.write(std::move(decide));
    co_return done ? 0 : done.error().code;
  };
  EXPECT_EQ(co_await put(fenced, "while-leading"), 0);
  // The first one is as if it were paused: it does not run, and believes that it leads.
  co_await one.stop();
  --running;
  while (!second.leads()) co_await async::sleep_for(5ms);
  EXPECT_TRUE(first.leads());
  EXPECT_EQ(co_await put(fenced, "too-late"), 503);
  EXPECT_EQ(co_await put(a, "without-fence"), 0) << "nothing but the fence keeps it out";
  EXPECT_FALSE(a.get({"pods", "default", "too-late"}));
  EXPECT_EQ(terms, 2);
  // Given back, it is had again at once.
  co_await two.stop();
  co_await second.release();
  auto begun = std::chrono::steady_clock::now();
  --running;
  again.spawn("first", first.run(callbacks()));
  while (first.leader() != "first") co_await async::sleep_for(5ms);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 700ms);
  co_await again.stop();
}

TEST_F(EtcdControl, OneLeadsAtATimeAndTheOldOneIsFenced) {
  with_two([](Store& a, Store& b) { return lead_in_turn(a, b); });
}

// ---- from store to store

TEST_F(EtcdControl, AStoreMovesToEtcdAndBack) {
  StoreRig rig(true);
  for (int i = 0; i < 700; ++i) rig.put(i % 2 ? "pods" : "services", fmt::format("o{}", i), std::string(i % 900, 'x'));
  rig.erase("pods", "o1");
  std::map<Key, std::string> wanted;
  for (const char* resource : {"pods", "services"})
    for (const auto& o : rig.store().list(resource)) wanted[o->key] = api::text_at(o->body, "data");
  auto before = rig.store().revision();
  rig.close();
  auto imported = run(store::import_etcd(rig.path(), options_));
  ASSERT_TRUE(imported) << imported.error().to_string();
  EXPECT_EQ(imported->objects, 699u);
  EXPECT_GT(imported->revision, before + store::kRestoreBump - 1);
  auto same = [&](Store& s) {
    std::map<Key, std::string> got;
    for (const char* resource : {"pods", "services"})
      for (const auto& o : s.list(resource)) {
        got[o->key] = api::text_at(o->body, "data");
        EXPECT_GT(o->revision, before) << o->key.to_string();
      }
    return got == wanted;
  };
  auto again = run(store::import_etcd(rig.path(), options_));
  ASSERT_FALSE(again);
  EXPECT_TRUE(again.error().is(std::errc::device_or_resource_busy)) << again.error().to_string();
  test::ScratchDirectory directory;
  auto file = directory.path + "/file", path = directory.path + "/store.db";
  std::uint64_t newest = 0;
  auto use = [&](Store& a, Store&) -> awaitable<void> {
    EXPECT_TRUE(same(a));
    auto stale = a.watch("pods", before);
    EXPECT_FALSE(stale) << "of what was before nothing can be replayed";
    Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
      return tx.put({"pods", "default", "new"}, StoreRig::body("new", "y"));
    };
    auto done = co_await a.write(std::move(decide));
    EXPECT_TRUE(done);
    wanted[{"pods", "default", "new"}] = "y";
    newest = a.revision();
    auto exported = co_await store::export_etcd(options_, file);  // while controllers run
    EXPECT_TRUE(exported) << exported.error().to_string();
  };
  with_two(use);
  auto back = store::import_sqlite(file, path);
  ASSERT_TRUE(back) << back.error().to_string();
  EXPECT_EQ(back->objects, 700u);
  EXPECT_GT(back->revision, newest);
  auto opened = store::open_sqlite_store(path, context_.get_executor());
  ASSERT_TRUE(opened) << opened.error().to_string();
  EXPECT_TRUE(same(**opened));
  auto busy = store::import_sqlite(file, path);
  ASSERT_FALSE(busy);
  EXPECT_TRUE(busy.error().is(std::errc::device_or_resource_busy)) << busy.error().to_string();
  auto close = [](Store& s) -> awaitable<int> {
    co_await s.close();
    co_return 0;
  };
  run(close(**opened));
  EXPECT_FALSE(store::import_sqlite(file, path)) << "not in use, but not empty";
}

TEST_F(EtcdControl, WhatIsDamagedOrHalfDoneIsRefused) {
  StoreRig rig(true);
  rig.put("pods", "victim", "precious");
  rig.close();
  rig.damage("value");
  auto damaged = run(store::import_etcd(rig.path(), options_));
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().to_string().find("pods/default/victim"), std::string::npos) << damaged.error().to_string();
  EXPECT_EQ(EtcdCluster::shared().ctl("get --keys-only --prefix " + options_.prefix), "") << "nothing was begun";
  EtcdCluster::shared().ctl(
      fmt::format("put {}/meta '{{\"format\":1,\"base\":\"0\",\"importing\":true}}'", options_.prefix));
  auto opened = run(store::open_etcd_store(options_, {}));
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().to_string().find("was begun and not finished"), std::string::npos);
  EXPECT_FALSE(run(store::export_etcd(options_, rig.path() + ".x")));
}

}  // namespace
}  // namespace trama::control
