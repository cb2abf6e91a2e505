// SPDX-License-Identifier: GPL-2.0-or-later
// The coroutine layer, and the reconcile loop over a kernel in memory.
#include <atomic>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <gmock/gmock.h>

#include "base/async/deadline.h"
#include "base/async/reconcile.h"
#include "base/async/task_group.h"
#include "base/async/worker.h"

namespace trama::async::test {

// The reconciler finds plan() and to_text() beside these.
struct Numbers {
  int value = 0;
};
struct Step {
  int to = 0;
};
std::vector<Step> plan(const Numbers& want, const Numbers& have) {
  if (want.value == have.value) return {};
  return {Step{want.value}, Step{-1}};  // the second one changes nothing unless it is made to fail
}
std::string to_text(const Step& s) { return "set " + std::to_string(s.to); }

namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct MemoryKernel {
  Numbers state;
  std::atomic<int> observed{0}, fail_observe{0}, fail_apply{0};
  std::vector<int> applied;
  std::function<void()> in_apply = [] {};
  std::thread::id thread;

  base::Result<Numbers> observe() {
    ++observed;
    thread = std::this_thread::get_id();
    if (fail_observe-- > 0) return base::Error::from_errno(EIO, "observe");
    return state;
  }
  base::Result<> apply(const Step& s) {
    if (s.to < 0) return {};
    in_apply();
    applied.push_back(s.to);
    if (fail_apply-- > 0) return base::Error::from_errno(EBUSY, "apply");
    state.value = s.to;
    return {};
  }
};

// Runs `main` and whatever it spawns to the end; a coroutine that hangs fails the test instead of stopping it.
void run(asio::io_context& context, awaitable<void> main) {
  std::exception_ptr thrown;
  bool finished = false;
  asio::co_spawn(context, std::move(main), [&](std::exception_ptr e) {
    thrown = e;
    finished = true;
    context.stop();
  });
  context.run_for(20s);
  ASSERT_TRUE(finished) << "it hangs";
  if (thrown) std::rethrow_exception(thrown);
}

struct AsyncTest : ::testing::Test {
  asio::io_context context{1};
  asio::any_io_executor ex = context.get_executor();
};

struct ReconcilerTest : AsyncTest {
  MemoryKernel kernel;
  Worker worker{"test"};
  Latest<Numbers> want{ex};
  std::vector<PassReport> reports;
  Reconciler<Numbers, MemoryKernel> loop{
      want, kernel, worker.executor(), {"test", 30s, 0ms}, [this](const PassReport& r) { reports.push_back(r); }};

  std::uint64_t publish(int value) { return want.publish(std::make_shared<const Numbers>(Numbers{value})); }
  awaitable<void> until(std::function<bool()> condition) {
    for (int i = 0; i < 4000 && !condition(); ++i) co_await sleep_for(1ms);
    EXPECT_TRUE(condition());
  }
  void story(std::function<awaitable<void>()> tell) {
    auto main = [](ReconcilerTest* t, std::function<awaitable<void>()> body) -> awaitable<void> {
      TaskGroup tasks(t->ex);
      tasks.spawn("loop", t->loop.run());
      co_await body();
      co_await tasks.stop();
    };
    run(context, main(this, std::move(tell)));
  }
};

TEST_F(ReconcilerTest, touches_nothing_before_the_first_publish) {
  story([this]() -> awaitable<void> {
    loop.wake();
    co_await sleep_for(30ms);
    EXPECT_EQ(kernel.observed, 0);
    auto generation = publish(1);
    auto settled = [&] { return loop.reconciled_generation() == generation; };
    co_await until(settled);
    EXPECT_EQ(kernel.state.value, 1);
    EXPECT_NE(kernel.thread, std::this_thread::get_id());  // on the worker
  });
}

TEST_F(ReconcilerTest, the_latest_value_wins_and_none_is_forgotten) {
  story([this]() -> awaitable<void> {
    // Published while the pass before is in the kernel: seen by the next pass, the ones between are skipped.
    std::atomic<bool> entered{false}, go{false};
    kernel.in_apply = [&] {
      entered = true;
      while (!go) std::this_thread::yield();
    };
    publish(1);
    auto entered_now = [&] { return entered.load(); };
    co_await until(entered_now);
    publish(2);
    publish(3);
    auto last = publish(4);
    EXPECT_LT(loop.reconciled_generation(), last);
    go = true;
    auto again = [&] { return loop.reconciled_generation() == last; };
    co_await until(again);
    EXPECT_THAT(kernel.applied, ElementsAre(1, 4));
  });
}

TEST_F(ReconcilerTest, a_wake_without_change_looks_and_does_nothing) {
  story([this]() -> awaitable<void> {
    auto generation = publish(1);
    auto fell_silent = [&] { return loop.reconciled_generation() == generation; };
    co_await until(fell_silent);
    int looks = kernel.observed;
    loop.wake();
    auto looked = [&] { return kernel.observed > looks; };
    co_await until(looked);
    auto rested = [&] { return reports.back().operations == 0; };
    co_await until(rested);
    EXPECT_THAT(kernel.applied, ElementsAre(1));
    // Somebody changes the kernel: the next look puts it right.
    kernel.state.value = 77;
    loop.wake();
    auto healed = [&] { return kernel.state.value == 1; };
    co_await until(healed);
  });
}

TEST_F(ReconcilerTest, failures_are_reported_and_tried_again) {
  story([this]() -> awaitable<void> {
    kernel.fail_apply = 2;
    auto generation = publish(5);
    auto tried = [&] { return loop.reconciled_generation() == generation; };
    co_await until(tried);
    EXPECT_EQ(kernel.state.value, 5);
    EXPECT_EQ(reports.size(), 3u);
    EXPECT_THAT(reports[0].failures, ElementsAre(HasSubstr("set 5: apply: ")));
    EXPECT_THAT(reports[2].failures, IsEmpty());

    kernel.fail_observe = 1;
    generation = publish(6);
    auto recovered = [&] { return loop.reconciled_generation() == generation; };
    co_await until(recovered);
    EXPECT_THAT(reports[3].failures, ElementsAre(HasSubstr("observe: ")));
  });
}

TEST_F(AsyncTest, an_event_remembers_one_signal) {
  auto main = [](asio::any_io_executor on) -> awaitable<void> {
    Event event(on);
    bool woken = co_await event.wait_for(1ms);
    EXPECT_FALSE(woken);
    event.set();
    event.set();
    woken = co_await event.wait_for(1s);
    EXPECT_TRUE(woken);
    woken = co_await event.wait_for(1ms);
    EXPECT_FALSE(woken);
    event.set();
    co_await event.wait();
  };
  run(context, main(ex));
}

TEST_F(AsyncTest, stopping_a_group_cancels_and_waits) {
  auto main = [](asio::any_io_executor on) -> awaitable<void> {
    int cleaned = 0;
    TaskGroup tasks(on);
    auto sleeper = [](int* done) -> awaitable<void> {
      struct Clean {
        int* n;
        ~Clean() { ++*n; }
      } clean{done};
      co_await sleep_for(1h);
    };
    auto waiter = [](int* done, Event* event) -> awaitable<void> {
      struct Clean {
        int* n;
        ~Clean() { ++*n; }
      } clean{done};
      co_await event->wait();
    };
    auto quick = []() -> awaitable<void> { co_return; };
    auto dying = []() -> awaitable<void> {
      throw std::runtime_error("on purpose: the group logs it");
      co_return;
    };
    Event never(on);
    tasks.spawn("sleeper", sleeper(&cleaned));
    tasks.spawn("waiter", waiter(&cleaned, &never));
    tasks.spawn("quick", quick());
    tasks.spawn("dying", dying());
    co_await sleep_for(5ms);
    EXPECT_EQ(tasks.live(), 2u);
    co_await tasks.stop();
    EXPECT_EQ(tasks.live(), 0u);
    EXPECT_EQ(cleaned, 2);
    co_await tasks.stop();  // an empty group stops at once
  };
  run(context, main(ex));
}

TEST_F(AsyncTest, a_stopped_group_begins_nothing) {
  auto main = [](asio::any_io_executor on) -> awaitable<void> {
    TaskGroup tasks(on);
    int ran = 0;
    auto count = [](int* n) -> awaitable<void> {
      ++*n;
      co_return;
    };
    // News that come while it ends.
    struct Late {
      TaskGroup& group;
      awaitable<void> task;
      ~Late() { group.spawn("late", std::move(task)); }
    };
    auto ending = [](TaskGroup* group, awaitable<void> late) -> awaitable<void> {
      Late at_the_end{*group, std::move(late)};
      co_await sleep_for(1h);
    };
    tasks.spawn("ending", ending(&tasks, count(&ran)));
    co_await sleep_for(1ms);
    co_await tasks.stop();
    EXPECT_EQ(tasks.live(), 0u);
    tasks.spawn("after", count(&ran));
    EXPECT_EQ(tasks.live(), 0u);
    co_await sleep_for(1ms);
    EXPECT_EQ(ran, 0);
  };
  run(context, main(ex));
}

TEST(TaskGroupDeath, names_the_tasks_it_would_lose) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto lose = [] {
    asio::io_context context;
    TaskGroup tasks(context.get_executor());
    auto forever = []() -> awaitable<void> { co_await sleep_for(1h); };
    tasks.spawn("the watch", forever());
    tasks.spawn("the lease", forever());
    context.poll();
  };
  EXPECT_DEATH(lose(), "while 2 tasks run: the watch, the lease");
}

// A group that ends just when a job does: the cancellation must not reach the worker's thread behind the job.
TEST(RunOn, a_job_that_ends_while_its_group_is_stopped_harms_nobody) {
  for (int round = 0; round < 300; ++round) {
    asio::io_context brain;
    Worker worker("job");
    std::atomic<int> ran{0};
    TaskGroup group(brain.get_executor());
    auto busy = [&]() -> awaitable<void> {
      auto there = worker.executor();
      auto job = [&] { ++ran; };
      for (;;) co_await run_on(there, job);
    };
    for (int i = 0; i < 4; ++i) group.spawn("busy", busy());
    auto end = [&]() -> awaitable<void> {
      while (ran < 8) co_await sleep_for(1ms);
      co_await group.stop();
    };
    asio::co_spawn(brain, end(), asio::detached);
    brain.run();
    EXPECT_GE(ran, 8);
  }
}

TEST_F(AsyncTest, run_on_works_there_and_comes_back_here) {
  Worker worker("test");
  auto main = [](asio::any_io_executor there) -> awaitable<void> {
    auto home = std::this_thread::get_id();
    std::thread::id away;
    auto job = [&away] {
      away = std::this_thread::get_id();
      return 42;
    };
    int answer = co_await run_on(there, job);
    EXPECT_EQ(answer, 42);
    EXPECT_NE(away, home);
    EXPECT_EQ(std::this_thread::get_id(), home);
    std::string order;
    auto first = [&order] { order += "1"; };
    auto second = [&order] { order += "2"; };
    co_await run_on(there, first);
    co_await run_on(there, second);
    EXPECT_EQ(order, "12");
    auto throwing = []() -> int { throw std::runtime_error("away"); };
    bool thrown = false;
    try {
      (void)co_await run_on(there, throwing);
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    EXPECT_TRUE(thrown);
  };
  run(context, main(worker.executor()));
}

TEST_F(AsyncTest, a_deadline_ends_what_is_slow_and_passes_what_is_quick) {
  auto main = []() -> awaitable<void> {
    auto work = [](std::chrono::milliseconds time, bool* cleaned) -> awaitable<base::Result<int>> {
      struct Clean {
        bool* flag;
        ~Clean() { *flag = true; }
      } clean{cleaned};
      co_await sleep_for(time);
      co_return 7;
    };
    bool cleaned = false;
    auto quick = with_deadline(work(1ms, &cleaned), 10s, "be quick");
    auto good = co_await std::move(quick);
    EXPECT_EQ(good.value_or(0), 7);
    cleaned = false;
    auto slow = with_deadline(work(1h, &cleaned), 10ms, "wait for the moon");
    auto late = co_await std::move(slow);
    EXPECT_FALSE(late);
    if (!late) {
      EXPECT_TRUE(late.error().is(std::errc::timed_out));
      EXPECT_THAT(late.error().to_string(), HasSubstr("wait for the moon (after 10 ms)"));
    }
    EXPECT_TRUE(cleaned);
  };
  run(context, main());
}

TEST(WorkerTest, finishes_its_queue_before_it_goes) {
  std::atomic<int> done{0};
  {
    Worker worker("test");
    for (int i = 0; i < 100; ++i) asio::post(worker.executor(), [&] { ++done; });
  }
  EXPECT_EQ(done, 100);
}

}  // namespace
}  // namespace trama::async::test
