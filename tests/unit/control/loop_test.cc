// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/loop.h"

#include <map>

#include <gtest/gtest.h>

#include "control/loops/event_recorder.h"
#include "control/store/memory_store.h"
#include "tests/unit/control/run.h"

namespace trama::control {
namespace {

using namespace std::chrono_literals;
using test::Runner;

awaitable<int> take_n(WorkQueue& q, std::vector<std::string>& got, int n) {
  for (int i = 0; i < n; ++i) got.push_back(co_await q.next());
  co_return n;
}

TEST(Events, OneSpeakerAboutOneObjectIsHeardSoOften) {
  EventThrottle t;
  auto now = EventThrottle::Clock::now();
  for (int i = 0; i < 25; ++i) EXPECT_TRUE(t.allows("scheduler|p", now)) << i;
  EXPECT_FALSE(t.allows("scheduler|p", now));
  EXPECT_TRUE(t.allows("scheduler|q", now)) << "another object";
  EXPECT_TRUE(t.allows("replicaset|p", now)) << "another speaker";
  now += 299s;
  EXPECT_FALSE(t.allows("scheduler|p", now));
  now += 2s;
  EXPECT_TRUE(t.allows("scheduler|p", now));
  EXPECT_FALSE(t.allows("scheduler|p", now));
  // Many who speak once do not make the loud one forgotten.
  for (int i = 0; i < 20'000; ++i) EXPECT_TRUE(t.allows("scheduler|" + std::to_string(i), now));
  EXPECT_FALSE(t.allows("scheduler|p", now));
  EXPECT_LE(t.known(), 4'097u);
}

TEST(WorkQueue, EachKeyOnceAndAgainAfterWork) {
  Runner run;
  WorkQueue q(run.executor(), 1ms, 10ms);
  q.add("a");
  q.add("b");
  q.add("a");
  std::vector<std::string> got;
  run(take_n(q, got, 2));
  EXPECT_EQ(got, (std::vector<std::string>{"a", "b"}));
  q.add("a");  // still being worked on
  EXPECT_EQ(q.depth(), 0u);
  q.succeeded("a");
  EXPECT_EQ(q.depth(), 1u);
  q.succeeded("b");
  EXPECT_EQ(q.depth(), 1u);
}

TEST(WorkQueue, EarliestMomentCounts) {
  Runner run;
  WorkQueue q(run.executor(), 1ms, 10ms);
  q.add_after("late", 1h);
  q.add_after("late", 5ms);
  q.add_after("late", 2h);
  std::vector<std::string> got;
  run(take_n(q, got, 1));
  EXPECT_EQ(got, std::vector<std::string>{"late"});
}

TEST(WorkQueue, FailuresComeBackLaterAndLater) {
  Runner run;
  WorkQueue q(run.executor(), 10ms, 1s);
  q.add("a");
  std::vector<std::string> got;
  auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 4; ++i) {
    run(take_n(q, got, 1));
    q.failed("a");
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, 70ms) << "10 + 20 + 40";
}

// A loop over a real store: what it was shown and what it worked on.
TEST(Loop, SeesEverythingRetriesFailuresAndKeepsOneKeyToOneWorker) {
  Runner run;
  auto store = std::move(*store::open_store(store::make_null_log(), run.executor()));
  auto put = [&](const std::string& name, const std::string& value) -> awaitable<int> {
    store::Decision decide = [name, value](store::Transaction& tx) -> api::Answer<api::ObjectPtr> {
      api::json::object body;
      api::make_object_at(body, "metadata")["name"] = name;
      body["value"] = value;
      return tx.put({"configmaps", "d", name}, std::move(body));
    };
    co_await store->write(std::move(decide));
    co_return 0;
  };
  run(put("before", "1"));
  std::map<std::string, int> handled;
  std::map<std::string, int> at_work;
  std::vector<std::string> seen;
  Loop* self = nullptr;
  auto handle = [&](std::string key) -> awaitable<base::Result<>> {
    EXPECT_EQ(++at_work[key], 1) << key;
    co_await async::sleep_for(2ms);
    --at_work[key];
    if (++handled[key] == 1) co_return base::Error::text("the first attempt always fails");
    co_return base::Result<>();
  };
  Source source{"configmaps", [&](const store::Event& e) {
                  seen.push_back(e.object->key.name);
                  self->enqueue(queue_key(e.object->key));
                }};
  Loop loop(run.executor(), *store, {.name = "test", .workers = 4}, {source}, handle);
  self = &loop;
  async::TaskGroup group(run.executor());
  loop.start(group);
  EXPECT_EQ(seen, std::vector<std::string>{"before"}) << "present objects are shown before anything runs";
  for (int i = 0; i < 5; ++i) run(put("after", std::to_string(i)));
  EXPECT_TRUE(run.until([&] { return handled["d/before"] >= 2 && handled["d/after"] >= 2 && loop.depth() == 0; }));
  EXPECT_GE(loop.failures(), 2u);
  auto stop = [&]() -> awaitable<int> {
    co_await group.stop();
    co_await store->close();
    co_return 0;
  };
  run(stop());
}

// A pass that said it took long rests before a change brings it back; one that did not does not.
TEST(Loop, PassesThatCostMuchRest) {
  Runner run;
  auto store = std::move(*store::open_store(store::make_null_log(), run.executor()));
  std::map<std::string, std::vector<std::chrono::steady_clock::time_point>> begun;
  Loop* self = nullptr;
  auto handle = [&](std::string key) -> awaitable<base::Result<>> {
    begun[key].push_back(std::chrono::steady_clock::now());
    self->took(key, key == "dear" ? 20ms : 1ms);
    co_return base::Result<>();
  };
  Loop loop(run.executor(), *store, {.name = "test"}, {}, handle);
  self = &loop;
  async::TaskGroup group(run.executor());
  loop.start(group);
  loop.enqueue("dear");
  loop.enqueue("cheap");
  EXPECT_TRUE(run.until([&] { return begun["dear"].size() == 1 && begun["cheap"].size() == 1; }));
  loop.enqueue("cheap");
  loop.enqueue("dear");
  EXPECT_TRUE(run.until([&] { return begun["cheap"].size() == 2; }));
  EXPECT_EQ(begun["dear"].size(), 1u);
  loop.enqueue("dear");  // asked for twice, done once
  EXPECT_TRUE(run.until([&] { return begun["dear"].size() == 2; }));
  EXPECT_GE(begun["dear"][1] - begun["dear"][0], 180ms);
  auto stop = [&]() -> awaitable<int> {
    co_await group.stop();
    co_await store->close();
    co_return 0;
  };
  run(stop());
}

}  // namespace
}  // namespace trama::control
