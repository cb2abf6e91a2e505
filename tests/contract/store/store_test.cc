// SPDX-License-Identifier: GPL-2.0-or-later
// What every Store promises, run on the one without a log, on the one with SQLite behind it and on a real etcd.

#include <csignal>
#include <future>

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/async/task_group.h"
#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using namespace std::chrono_literals;
using api::Answer;
using api::Key;
using api::ObjectPtr;
using api::Status;
using test::StoreRig;
namespace json = api::json;

class StoreContract : public testing::TestWithParam<const char*> {
 protected:
  StoreRig::Behind behind() const {
    std::string_view name = GetParam();
    return name == "etcd"     ? StoreRig::Behind::etcd
           : name == "sqlite" ? StoreRig::Behind::sqlite
                              : StoreRig::Behind::null;
  }
  StoreRig rig{behind()};
};
INSTANTIATE_TEST_SUITE_P(Logs, StoreContract, testing::Values("null", "sqlite", "etcd"),
                         [](const auto& i) { return std::string(i.param); });

TEST_P(StoreContract, ReadsWhatWasWritten) {
  auto a = rig.put("pods", "a", "1");
  EXPECT_EQ(api::text_at(a->body, "metadata.resourceVersion"), std::to_string(a->revision));
  EXPECT_EQ(rig.store().get(a->key), a);
  EXPECT_GE(rig.store().revision(), a->revision);
  EXPECT_LT(rig.store().revision(), a->revision + kRevisionsPerCommit) << "and shows nothing later";
  auto b = rig.put("pods", "a", "2");
  EXPECT_GT(b->revision, a->revision);
  EXPECT_EQ(api::text_at(rig.store().get(a->key)->body, "data"), "2");
  EXPECT_EQ(api::text_at(a->body, "data"), "1") << "versions are immutable";
  rig.erase("pods", "a");
  EXPECT_EQ(rig.store().get(a->key), nullptr);
}

TEST_P(StoreContract, ListsInKeyOrderAndByNamespace) {
  for (const char* name : {"c", "a", "b"}) rig.put("pods", name, "x");
  rig.put("services", "z", "x");
  rig.put("pods", "a", "x", "other");
  std::string names;
  for (const auto& o : rig.store().list("pods")) names += o->key.ns + "/" + o->key.name + " ";
  EXPECT_EQ(names, "default/a default/b default/c other/a ");
  EXPECT_EQ(rig.store().list("pods", "other").size(), 1u);
  EXPECT_TRUE(rig.store().list("nodes").empty());
}

TEST_P(StoreContract, AnErrorLeavesNothingBehind) {
  rig.put("pods", "a", "1");
  auto refused = rig.write([](Transaction& tx) -> Answer<ObjectPtr> {
    tx.put({"pods", "default", "b"}, StoreRig::body("b", "x"));
    tx.erase({"pods", "default", "a"});
    EXPECT_EQ(tx.get({"pods", "default", "a"}), nullptr) << "a transaction sees its own writes";
    EXPECT_EQ(tx.list("pods").size(), 1u);
    return Status::conflict({"pods", "default", "a"}, "no");
  });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, 409);
  EXPECT_EQ(rig.store().list("pods").size(), 1u);
  EXPECT_NE(rig.store().get({"pods", "default", "a"}), nullptr);
}

TEST_P(StoreContract, OneOfManyConcurrentCreatesWins) {
  int won = 0, lost = 0;
  auto race = [&]() -> async::awaitable<int> {
    async::TaskGroup group(co_await async::asio::this_coro::executor);
    auto one = [&](int i) -> async::awaitable<void> {
      Decision decide = [i](Transaction& tx) -> Answer<ObjectPtr> {
        Key key{"pods", "default", "a"};
        if (tx.get(key)) return Status::already_exists(key);
        return tx.put(key, StoreRig::body("a", std::to_string(i)));
      };
      auto got = co_await rig.store().write(std::move(decide));
      ++(got ? won : lost);
    };
    for (int i = 0; i < 50; ++i) group.spawn("writer", one(i));
    while (group.live() > 0) co_await async::sleep_for(1ms);
    co_await group.stop();
    co_return 0;
  };
  rig.run(race());
  EXPECT_EQ(won, 1);
  EXPECT_EQ(lost, 49);
}

TEST_P(StoreContract, WatchShowsEveryChangeOnceInOrder) {
  auto first = rig.put("pods", "a", "1");
  auto watch = rig.store().watch("pods", first->revision);
  ASSERT_TRUE(watch);
  rig.put("pods", "a", "2");
  rig.put("services", "s", "x");
  rig.put("pods", "b", "1");
  rig.erase("pods", "a");
  auto events = rig.events(**watch, 3);
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].type, Event::Type::modified);
  EXPECT_EQ(events[0].previous, first);
  EXPECT_EQ(events[1].type, Event::Type::added);
  EXPECT_EQ(events[1].previous, nullptr);
  EXPECT_EQ(events[2].type, Event::Type::deleted);
  EXPECT_EQ(api::text_at(events[2].object->body, "data"), "2") << "the last content";
  EXPECT_EQ(events[2].object->revision, events[2].revision) << "with the revision of the deletion";
  EXPECT_LT(events[0].revision, events[1].revision);
  EXPECT_LT(events[1].revision, events[2].revision);
  EXPECT_TRUE(rig.events(**watch, 1, 20ms).empty()) << "nothing more";
}

TEST_P(StoreContract, AWatchReplaysFromAnyKnownRevision) {
  auto start = rig.put("pods", "a", "0");
  std::vector<std::uint64_t> revisions{start->revision};
  for (int i = 1; i < 6; ++i) revisions.push_back(rig.put("pods", "a", std::to_string(i))->revision);
  for (std::size_t i = 0; i < revisions.size(); ++i) {
    auto watch = rig.store().watch("pods", revisions[i]);
    ASSERT_TRUE(watch);
    EXPECT_EQ(rig.events(**watch, 10, 20ms).size(), revisions.size() - 1 - i);
  }
}

TEST_P(StoreContract, NothingIsSeenBeforeItIsCommitted) {
  auto watch = rig.store().watch("pods", rig.store().revision());
  auto before = rig.store().revision();
  bool seen_early = false;
  rig.write([&](Transaction& tx) -> Answer<ObjectPtr> {
    auto o = tx.put({"pods", "default", "a"}, StoreRig::body("a", "x"));
    seen_early = rig.store().get(o->key) != nullptr || rig.store().revision() != before;
    return o;
  });
  EXPECT_FALSE(seen_early);
  EXPECT_EQ(rig.events(**watch, 1).size(), 1u);
}

TEST_P(StoreContract, ASlowWatcherIsCutOffAndOthersAreNot) {
  StoreOptions small;
  small.watch_backlog = 10;
  StoreRig bounded(behind(), small);
  auto slow = bounded.store().watch("pods", bounded.store().revision());
  auto fast = bounded.store().watch("pods", bounded.store().revision());
  std::size_t seen = 0;
  for (int i = 0; i < 30; ++i) {
    bounded.put("pods", "a", std::to_string(i));
    seen += bounded.events(**fast, 1).size();
  }
  EXPECT_EQ(seen, 30u);
  auto next = bounded.run((*slow)->next(10ms));
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, 410);
}

// Big objects: what a hundred watchers that never read hold on to is bounded in bytes, not only in events.
TEST_P(StoreContract, SlowWatchersHoldABoundedAmount) {
  StoreOptions small;
  small.history_bytes = small.watch_backlog_bytes = 1 << 20;
  StoreRig bounded(behind(), small);
  std::vector<Answer<std::unique_ptr<Watch>>> slow;
  for (int i = 0; i < 100; ++i) slow.push_back(bounded.store().watch("pods", bounded.store().revision()));
  auto fast = bounded.store().watch("pods", bounded.store().revision());
  std::vector<std::weak_ptr<const api::Object>> versions;
  std::size_t seen = 0;
  for (int i = 0; i < 400; ++i) {
    versions.push_back(bounded.put("pods", "a", std::string(20'000, 'x')));
    seen += bounded.events(**fast, 1).size();
  }
  EXPECT_EQ(seen, 400u) << "the others are not hurt";
  auto alive = std::count_if(versions.begin(), versions.end(), [](const auto& v) { return !v.expired(); });
  EXPECT_LT(alive, 60) << "8 MB were written, at most 1 MiB of it is remembered";
  EXPECT_GT(alive, 40) << "but that is";
  for (auto& w : slow) {
    auto next = bounded.run((*w)->next(10ms));
    ASSERT_FALSE(next);
    EXPECT_EQ(next.error().code, 410);
  }
}

// One commit bigger than any backlog: who had read everything before gets all of it.
TEST_P(StoreContract, ABigCommitCutsNobodyOff) {
  StoreOptions small;
  small.watch_backlog = 10;
  small.watch_backlog_bytes = 10'000;
  StoreRig bounded(behind(), small);
  auto watch = bounded.store().watch("pods", bounded.store().revision());
  auto all = bounded.write([](Transaction& tx) -> Answer<ObjectPtr> {
    ObjectPtr last;
    for (int i = 0; i < 50; ++i) {
      auto name = "p" + std::to_string(i);
      last = tx.put({"pods", "default", name}, StoreRig::body(name, std::string(5000, 'x')));
    }
    return last;
  });
  ASSERT_TRUE(all);
  EXPECT_EQ(bounded.events(**watch, 50).size(), 50u);
  bounded.put("pods", "after", "1");
  EXPECT_EQ(bounded.events(**watch, 1).size(), 1u);
}

TEST_P(StoreContract, HistoryThatIsGoneAnswers410) {
  StoreOptions small;
  small.history = 4;
  StoreRig bounded(behind(), small);
  auto old = bounded.put("pods", "a", "0")->revision;
  std::uint64_t recent = 0;
  for (int i = 0; i < 8; ++i) {
    auto r = bounded.put("pods", "a", std::to_string(i))->revision;
    if (i == 3) recent = r;
  }
  auto gone = bounded.store().watch("pods", old);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, 410);
  auto kept = bounded.store().watch("pods", recent);
  ASSERT_TRUE(kept);
  EXPECT_EQ(bounded.events(**kept, 10, 20ms).size(), 4u);
}

TEST_P(StoreContract, ADecisionThatThrowsHurtsNobodyElse) {
  auto thrown = rig.write([](Transaction&) -> Answer<ObjectPtr> { throw std::logic_error("bug"); });
  ASSERT_FALSE(thrown);
  EXPECT_EQ(thrown.error().code, 500);
  EXPECT_NE(rig.put("pods", "a", "1"), nullptr);
}

// A log whose commits wait until they are let go.
class GatedLog final : public Log {
 public:
  explicit GatedLog(std::shared_future<void> gate) : gate_(std::move(gate)) {}
  base::Result<Loaded> load() override { return Loaded{}; }
  base::Result<> commit(const std::vector<Change>&, std::uint64_t) override {
    gate_.wait();
    return {};
  }
  base::Result<> finish(std::uint64_t) override { return {}; }

 private:
  std::shared_future<void> gate_;
};

// A request that is given up while its decision waits for its turn: the decision refers to a frame that is gone.
TEST(StoreCancellation, ACancelledWriteDoesNotRunLater) {
  async::asio::io_context context;
  std::promise<void> gate;
  auto store = open_store(std::make_unique<GatedLog>(gate.get_future().share()), context.get_executor());
  ASSERT_TRUE(store);
  bool first_decided = false;
  int doomed_ran = 0;
  auto writer = [&](bool doomed) -> async::awaitable<void> {
    Decision decide = [&, doomed](Transaction& tx) -> Answer<ObjectPtr> {
      if (doomed) ++doomed_ran;
      first_decided = true;
      return tx.put({"pods", "default", "a"}, StoreRig::body("a", "x"));
    };
    (void)co_await (*store)->write(std::move(decide));
  };
  auto scenario = [&]() -> async::awaitable<int> {
    auto ex = co_await async::asio::this_coro::executor;
    async::TaskGroup first(ex), second(ex);
    first.spawn("first", writer(false));
    while (!first_decided) co_await async::sleep_for(1ms);  // its commit waits at the gate from now on
    second.spawn("doomed", writer(true));
    co_await async::sleep_for(20ms);  // queued: the gate is closed, so its turn can not come
    co_await second.stop();
    gate.set_value();
    while (first.live() > 0) co_await async::sleep_for(1ms);
    co_await first.stop();
    co_await (*store)->close();
    co_return 0;
  };
  test::run_coroutine(context, scenario());
  EXPECT_EQ(doomed_ran, 0);
}

TEST(SqliteStore, SurvivesARestart) {
  StoreRig rig(true);
  auto a = rig.put("pods", "a", "1");
  rig.put("pods", "b", "1");
  rig.erase("pods", "b");
  rig.put("leases", "n1", "beat", "kube-node-lease");
  auto last = rig.store().revision();
  rig.reopen();
  EXPECT_EQ(rig.store().revision(), last) << "a clean end keeps the exact revision";
  ASSERT_NE(rig.store().get(a->key), nullptr);
  EXPECT_EQ(rig.store().get(a->key)->text(), a->text());
  EXPECT_EQ(rig.store().get(a->key)->revision, a->revision);
  EXPECT_EQ(rig.store().get({"pods", "default", "b"}), nullptr);
  EXPECT_NE(rig.store().get({"leases", "kube-node-lease", "n1"}), nullptr)
      << "what was behind is written at a clean end";
  EXPECT_GT(rig.put("pods", "c", "1")->revision, last);
  EXPECT_TRUE(rig.store().watch("pods", last));
}

TEST(SqliteStore, DeeplyNestedObjectsAreReadAgain) {
  StoreRig rig(true);
  std::string text = "1";
  for (int i = 0; i < 60; ++i) text = "{\"a\":" + text + "}";
  rig.put_raw("pods", "deep", text);
  rig.reopen();
  EXPECT_NE(rig.store().get({"pods", "default", "deep"}), nullptr);
}

// A watch goes on where it was before the restart: the log remembers the last events.
TEST(SqliteStore, AWatchResumesAfterARestart) {
  StoreRig rig(true);
  rig.sqlite.ring = 8;
  rig.reopen();
  auto oldest = rig.put("pods", "a", "0")->revision;
  for (int i = 1; i < 6; ++i) rig.put("pods", "a", std::to_string(i));
  auto seen = rig.store().revision();
  rig.put("pods", "b", "1");
  rig.put("services", "s", "1");
  rig.erase("pods", "a");
  rig.put("leases", "n1", "beat", "kube-node-lease");
  rig.reopen();
  auto watch = rig.store().watch("pods", seen);
  ASSERT_TRUE(watch) << watch.error().message;
  auto events = rig.events(**watch, 3, 50ms);
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].type, Event::Type::added);
  EXPECT_EQ(events[0].object->key.name, "b");
  EXPECT_EQ(events[1].type, Event::Type::deleted);
  EXPECT_EQ(api::text_at(events[1].object->body, "data"), "5");
  EXPECT_EQ(api::text_at(events[1].previous->body, "data"), "5");
  auto gone = rig.store().watch("pods", oldest - 1);
  ASSERT_FALSE(gone) << "nine events do not fit into a ring of eight";
  EXPECT_EQ(gone.error().code, 410);
  auto behind = rig.store().watch("leases", seen);
  ASSERT_FALSE(behind) << "what is written behind has no history on the disk";
  EXPECT_EQ(behind.error().code, 410);
}

// The disk fails: writes are refused, reads go on, and when it works again so do writes.
TEST(SqliteStore, ADiskThatFailsRefusesAndRecovers) {
  StoreRig rig(true);
  auto kept = rig.put("pods", "kept", "1");
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit tight{rig.largest_file() + 4096, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  int refused = 0;
  std::uint64_t highest = kept->revision;
  for (int i = 0; i < 40 && refused < 3; ++i) {
    auto got = rig.try_put("pods", "big" + std::to_string(i), std::string(8192, 'x'));
    if (got) highest = std::max(highest, (*got)->revision);
    if (got) continue;
    ++refused;
    EXPECT_EQ(got.error().code, 503);
    EXPECT_EQ(rig.store().get({"pods", "default", "big" + std::to_string(i)}), nullptr) << "refused, so not seen";
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(refused, 3) << "the limit was never met: the test proves nothing";
  EXPECT_EQ(rig.store().get(kept->key), kept);
  auto after = rig.put("pods", "after", "1");
  EXPECT_GT(after->revision, highest) << "a revision is never given out twice";
  rig.reopen();
  EXPECT_NE(rig.store().get(after->key), nullptr);
  EXPECT_NE(rig.store().get(kept->key), nullptr);
}

TEST(SqliteStore, ASecondControllerIsRefused) {
  StoreRig rig(true);
  rig.put("pods", "a", "1");
  async::asio::io_context other;
  auto second = open_sqlite_store(rig.path(), other.get_executor());
  ASSERT_FALSE(second);
  EXPECT_NE(second.error().to_string().find("another controller"), std::string::npos) << second.error().to_string();
}

// Damage anywhere: the store names what it met, says what to do, and does not start.
TEST(SqliteStore, DamageIsFoundAndNamed) {
  for (const char* what : {"value", "revision", "name", "gone", "meta", "meta gone", "all gone"}) {
    StoreRig rig(true);
    rig.put("pods", "intact", "1");
    rig.put("pods", "victim", "precious");
    rig.close();
    rig.damage(what);
    auto opened = rig.try_open();
    ASSERT_FALSE(opened) << what;
    auto said = opened.error().to_string();
    EXPECT_NE(said.find("damaged"), std::string::npos) << said;
    auto one = std::string_view(what);
    auto named = one == "meta" || one == "meta gone" ? "the meta row \"state\""
                 : one == "name"                     ? "pods/default/victin"
                 : one == "gone"                     ? "1 objects are there, 2 were written"
                 : one == "all gone"                 ? "the table obj is missing"
                                                     : "pods/default/victim";
    EXPECT_NE(said.find(named), std::string::npos) << said;
  }
  StoreRig untouched(true);  // negative control: closing, looking and opening again alone break nothing
  untouched.put("pods", "victim", "precious");
  untouched.close();
  untouched.damage("nothing");
  EXPECT_TRUE(untouched.try_open());
  untouched.close();
  untouched.damage("events gone");
  ASSERT_TRUE(untouched.try_open()) << "history is not content";
  EXPECT_FALSE(untouched.store().watch("pods", 0)) << "but it is not made up, either";
  EXPECT_TRUE(untouched.store().watch("pods", untouched.store().revision()));
}

// An empty file where there has been a store is a loss, not a new beginning.
TEST(SqliteStore, AFileThatBecameEmptyIsNotANewStore) {
  StoreRig rig(true);
  rig.put("pods", "a", "1");
  rig.close();
  ASSERT_EQ(truncate(rig.path().c_str(), 0), 0);
  auto opened = rig.try_open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().to_string().find("empty"), std::string::npos) << opened.error().to_string();
  ASSERT_EQ(unlink(rig.path().c_str()), 0);
  EXPECT_TRUE(rig.try_open()) << "who removes it means it";
}

// A store of the first version, as earlier releases wrote it.
TEST(SqliteStore, AStoreOfVersion1IsTakenOver) {
  StoreRig rig(true);
  auto a = rig.put("pods", "a", "1");
  rig.close();
  rig.damage("version 1");
  ASSERT_TRUE(rig.try_open());
  ASSERT_NE(rig.store().get(a->key), nullptr);
  EXPECT_EQ(rig.store().get(a->key)->text(), a->text());
  EXPECT_EQ(rig.store().revision(), 4711u) << "what it had reserved";
  auto b = rig.put("pods", "b", "1");
  rig.reopen();
  EXPECT_NE(rig.store().get(b->key), nullptr);
  EXPECT_TRUE(rig.store().watch("pods", 4711));
}

}  // namespace
}  // namespace trama::store
