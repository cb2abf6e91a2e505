// SPDX-License-Identifier: GPL-2.0-or-later
// Watches through the API's own stream, while many write: random selections, time limits, clients that leave and come
// back, clients that read slowly and are cut off, restarts of the store. What each saw is recorded and judged.
#include <algorithm>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "base/async/task_group.h"
#include "base/log.h"
#include "control/server/watch_stream.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/store_rig.h"
#include "tests/contract/store/watch_history.h"
#include "tests/support/etcd_cluster.h"

namespace trama::store {
namespace {

using namespace std::chrono_literals;
using api::Answer;
using api::Key;
using api::ObjectPtr;
using test::Seen;
using test::Session;
using test::Truth;
using test::WatchRecord;
namespace json = api::json;

// A client of one watch: writes down what comes, sometimes slowly, and leaves after a while.
class Client final : public server::Stream {
 public:
  Client(Session& session, std::mt19937& random, std::uint64_t& deliveries, bool slow, unsigned patience)
      : session_(session), random_(random), deliveries_(deliveries), slow_(slow), patience_(patience) {}
  async::awaitable<base::Result<>> reply(server::Reply) override { co_return gone(); }
  async::awaitable<base::Result<>> begin(int, std::string) override { co_return base::Result<>(); }
  async::awaitable<base::Result<>> chunk(std::string data) override {
    ++deliveries_;
    largest = std::max(largest, data.size());
    for (std::size_t at = 0; at < data.size();) {
      auto end = data.find('\n', at);
      take(json::parse(std::string_view(data).substr(at, end - at)).as_object());
      at = end + 1;
    }
    if (slow_) co_await async::sleep_for(std::chrono::milliseconds(random_() % 60));
    if (patience_-- == 0) co_return gone();
    co_return base::Result<>();
  }
  async::awaitable<base::Result<>> finish() override { co_return base::Result<>(); }
  async::awaitable<base::Result<std::string>> read_some() override { co_return gone(); }
  async::awaitable<base::Result<>> write(std::string) override { co_return gone(); }
  bool expired = false;
  std::string other_error;
  std::size_t largest = 0;  // bytes of one delivery

 private:
  static base::Error gone() { return base::Error::from_errno(EPIPE, "the client left"); }
  void take(const json::object& line) {
    auto& object = line.at("object").as_object();
    Seen s;
    s.type = line.at("type").as_string().c_str();
    if (s.type == "ERROR") {
      expired = api::int_at(object, "code") == 410;
      if (!expired) other_error = json::serialize(object);
      return;
    }
    s.revision = std::stoull(api::text_at(object, "metadata.resourceVersion"));
    s.name = api::text_at(object, "metadata.name");
    s.data = api::text_at(object, "data");
    s.delivery = deliveries_;
    session_.seen.push_back(std::move(s));
  }

  Session& session_;
  std::mt19937& random_;
  std::uint64_t& deliveries_;
  bool slow_;
  unsigned patience_;
};

class World {
 public:
  // On etcd two controllers serve; watchers come back to either.
  explicit World(unsigned seed, bool etcd = false) : random_(seed) {
    if (etcd) {
      static int count = 0;
      etcd_.gateway.urls = test::EtcdCluster::shared().urls();
      etcd_.prefix = fmt::format("/watched-{}", ++count);
    }
    options_.bookmark_period = 5ms;
    store_options_.history = 400;
    store_options_.watch_backlog = 60;
    sqlite_.ring = 600;
    for (int i = 0; i < 12; ++i) {
      WatchRecord r;
      if (i % 3 == 1) r.group = std::string(1, static_cast<char>('a' + i % 2));
      if (i % 3 == 2) r.name = "o" + std::to_string(i % 8);
      records.push_back(r);
    }
  }

  // One life of the store: everybody writes and watches; at the end every watcher has seen everything.
  async::awaitable<int> live(int transactions) {
    auto ex = co_await async::asio::this_coro::executor;
    bool etcd = !etcd_.gateway.urls.empty();
    for (int i = 0; i < (etcd ? 2 : 1); ++i) {
      auto opened = base::Result<std::unique_ptr<Store>>();
      if (etcd)
        opened = co_await open_etcd_store(etcd_, store_options_);
      else
        opened = open_sqlite_store(directory_.path + "/store.db", ex, store_options_, sqlite_);
      EXPECT_TRUE(opened) << opened.error().to_string();
      stores_.push_back(std::move(*opened));
    }
    draining_ = false;
    async::TaskGroup writers(ex), watchers(ex);
    for (auto& record : records) watchers.spawn("watcher", watch(record));
    for (int i = 0; i < 8; ++i) writers.spawn("writer", write(transactions));
    while (writers.live() > 0) co_await async::sleep_for(1ms);
    draining_ = true;
    while (watchers.live() > 0) co_await async::sleep_for(1ms);
    co_await writers.stop();
    co_await watchers.stop();
    for (auto& store : stores_) co_await store->close();
    stores_.clear();
    std::sort(truth.begin(), truth.end(), [](const auto& a, const auto& b) { return a.revision < b.revision; });
    co_return 0;
  }

  Truth truth;
  std::vector<WatchRecord> records;
  std::size_t reconnects = 0, expired = 0;

 private:
  async::awaitable<void> write(int transactions) {
    for (int i = 0; i < transactions; ++i) {
      std::vector<test::Written> mine;
      std::uint64_t decided = 0;  // the revision that the last one was to have
      auto number = ++transaction_;
      Decision decide = [&](Transaction& tx) -> Answer<ObjectPtr> {
        ObjectPtr last;
        mine.clear();
        std::set<std::string> names;  // etcd keeps one write of an object from a transaction
        for (auto n = 1 + random_() % 3; n > 0; --n) {
          test::Written w;
          w.name = "o" + std::to_string(random_() % 8);
          if (!names.insert(w.name).second || names.contains("after")) continue;
          w.group = random_() % 2 ? "a" : "b";
          w.transaction = number, w.data = std::to_string(random_());
          Key key{"pods", "default", w.name};
          w.deleted = random_() % 4 == 0 && tx.get(key);
          if (w.deleted) {
            tx.erase(key);
            // The revision of a deletion is one less than that of what follows it.
            last = tx.put({"services", "default", "after"}, test::StoreRig::body("after", "x"));
            names.insert("after");
            w.revision = last->revision - 1;
          } else {
            auto body = test::StoreRig::body(w.name, w.data);
            api::make_object_at(body, "metadata.labels")["group"] = w.group;
            last = tx.put(key, std::move(body));
            w.revision = last->revision;
          }
          mine.push_back(w);
          decided = last->revision;
        }
        return last;
      };
      auto got = co_await stores_[random_() % stores_.size()]->write(std::move(decide));
      EXPECT_TRUE(got) << got.error().message;
      if (got)
        for (auto& w : mine) w.revision += (*got)->revision - decided;
      truth.insert(truth.end(), mine.begin(), mine.end());
      if (random_() % 4 == 0) co_await async::sleep_for(std::chrono::milliseconds(random_() % 3));
    }
  }

  static void list(Store& store, const WatchRecord& record, Session& session) {
    session.from = store.revision();
    for (const auto& o : store.list("pods")) {
      bool selected = (record.group.empty() || api::text_at(o->body, "metadata.labels.group") == record.group) &&
                      (record.name.empty() || o->key.name == record.name);
      if (selected) session.listed[o->key.name] = api::text_at(o->body, "data");
    }
  }

  async::awaitable<void> watch(WatchRecord& record) {
    for (;;) {
      bool finished = draining_;  // a session that begins now sees all there will be
      Store& store = *stores_[random_() % stores_.size()];
      if (finished) (void)co_await store.current();
      Session session;
      if (record.sessions.empty() || must_list_.contains(&record)) {
        list(store, record, session);
      } else {
        session.resumed = true;
        session.from = record.sessions.back().reached();
      }
      must_list_.erase(&record);
      server::Request request;
      request.query["resourceVersion"] = {std::to_string(session.from)};
      request.query["timeoutSeconds"] = {"1"};
      if (random_() % 4) request.query["allowWatchBookmarks"] = {"true"};
      if (!record.group.empty()) request.query["labelSelector"] = {"group=" + record.group};
      if (!record.name.empty()) request.query["fieldSelector"] = {"metadata.name=" + record.name};
      auto path = *server::parse_resource("/api/v1/namespaces/default/pods");
      auto patience = static_cast<unsigned>(1 + random_() % 60);
      Client client(session, random_, deliveries_, !finished && random_() % 3 == 0, patience);
      server::Context context{store, options_};
      co_await server::serve_watch(context, request, path, client);
      EXPECT_EQ(client.other_error, "");
      ++reconnects;
      if (client.expired) must_list_.insert(&record), ++expired;
      bool whole = !session.seen.empty() && session.reached() >= store.revision();
      record.sessions.push_back(std::move(session));
      if (finished && !client.expired && (whole || !test::expected(truth, record).size())) co_return;
      if (finished && !client.expired && ++idle_[&record] > 2) co_return;  // nothing of its own is at the end
    }
  }

  std::mt19937 random_;
  test::ScratchDirectory directory_;
  StoreOptions store_options_;
  SqliteOptions sqlite_;
  server::Options options_;
  EtcdOptions etcd_;
  std::vector<std::unique_ptr<Store>> stores_;
  std::set<const WatchRecord*> must_list_;
  std::map<const WatchRecord*, int> idle_;
  std::uint64_t transaction_ = 0, deliveries_ = 0;
  bool draining_ = false;
};

class WatchGuarantees : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(base::configure_logging("error")); }
  std::unique_ptr<World> record(unsigned seed, int lives, int transactions, bool etcd = false) {
    auto world = std::make_unique<World>(seed, etcd);
    async::asio::io_context context;
    for (int i = 0; i < lives; ++i) test::run_coroutine(context, world->live(transactions), std::chrono::seconds(120));
    return world;
  }
};

TEST_F(WatchGuarantees, HoldForEveryWatcher) {
  int lives = std::max(2, test::times(3, 40));
  auto recorded = record(116, lives, 250);
  auto& world = *recorded;
  std::size_t events = 0;
  for (const auto& r : world.records) {
    EXPECT_EQ(test::violations(world.truth, r), "") << "group \"" << r.group << "\" name \"" << r.name << "\"";
    for (const auto& s : r.sessions) events += s.seen.size();
  }
  EXPECT_GT(world.truth.size(), static_cast<std::size_t>(lives) * 2000);
  EXPECT_GT(events, static_cast<std::size_t>(lives) * 1000);
  EXPECT_GT(world.reconnects, 50u);
  EXPECT_GT(world.expired, 3u) << "nobody was too slow: 410 was not tried";
  RecordProperty("events", static_cast<int>(events));
  RecordProperty("reconnects", static_cast<int>(world.reconnects));
  RecordProperty("expired", static_cast<int>(world.expired));
}

TEST_F(WatchGuarantees, HoldForWatchersOfTwoControllersOnEtcd) {
  int lives = std::max(2, test::times(2, 20));
  auto recorded = record(116, lives, 120, true);
  auto& world = *recorded;
  std::size_t events = 0;
  for (const auto& r : world.records) {
    EXPECT_EQ(test::violations(world.truth, r), "") << "group \"" << r.group << "\" name \"" << r.name << "\"";
    for (const auto& s : r.sessions) events += s.seen.size();
  }
  EXPECT_GT(world.truth.size(), static_cast<std::size_t>(lives) * 900);
  EXPECT_GT(events, static_cast<std::size_t>(lives) * 500);
  EXPECT_GT(world.reconnects, 30u);
}

// Lists and histories of any size wait for a slow client in pieces, not as one text.
TEST_F(WatchGuarantees, MuchGoesOutInPieces) {
  test::StoreRig rig(false);
  auto before = rig.store().revision();
  for (int i = 0; i < 300; ++i) rig.put("pods", "o" + std::to_string(i), std::string(10'000, 'x'));
  server::Options options;
  std::mt19937 random(1);
  for (bool list : {true, false}) {
    Session session;
    std::uint64_t deliveries = 0;
    Client client(session, random, deliveries, false, 1000);
    server::Request request;
    request.query["timeoutSeconds"] = {"1"};
    if (!list) request.query["resourceVersion"] = {std::to_string(before)};
    auto path = *server::parse_resource("/api/v1/namespaces/default/pods");
    server::Context context{rig.store(), options};
    auto serve = [&]() -> async::awaitable<int> {
      co_await server::serve_watch(context, request, path, client);
      co_return 0;
    };
    rig.run(serve());
    EXPECT_EQ(session.seen.size(), 300u);
    EXPECT_GT(deliveries, 8u);
    EXPECT_LT(client.largest, 300'000u);
  }
}

// Every validator must be able to fail: a good record with one lie each.
TEST_F(WatchGuarantees, LiesAreFound) {
  auto recorded = record(7, 1, 60);
  auto& world = *recorded;
  const auto& truth = world.truth;
  auto& good = world.records.front();
  ASSERT_EQ(test::violations(truth, good), "");
  // A session with enough events in the middle of it.
  std::size_t at = 0;
  auto changes = [&](std::size_t i) {
    const auto& seen = good.sessions[i].seen;
    return std::count_if(seen.begin(), seen.end(), [](const Seen& e) { return e.type != "BOOKMARK"; });
  };
  for (std::size_t i = 0; i < good.sessions.size(); ++i)
    if (changes(i) > changes(at)) at = i;
  std::vector<std::size_t> events;
  for (std::size_t i = 0; i < good.sessions[at].seen.size(); ++i)
    if (good.sessions[at].seen[i].type != "BOOKMARK") events.push_back(i);
  ASSERT_GT(events.size(), 10u);
  auto middle = static_cast<std::ptrdiff_t>(events[events.size() / 2]);
  auto lie = [&](auto&& change) {
    auto bad = good;
    change(bad, bad.sessions[at].seen);
    return bad;
  };
  using List = std::vector<Seen>;
  EXPECT_NE(test::not_ordered(lie([&](auto&, List& s) { std::swap(s[events[3]], s[events[4]]); })), "");
  EXPECT_NE(test::not_unique(lie([&](auto&, List& s) { s.insert(s.begin() + middle, s[events[3]]); })), "");
  EXPECT_NE(test::not_reliable(truth, lie([&](auto&, List& s) { s.erase(s.begin() + middle); })), "");
  EXPECT_NE(test::not_filtered(truth, lie([&](auto&, List& s) { s[events[3]].data = "1"; })), "");
  EXPECT_NE(test::not_filtered(truth, lie([&](auto&, List& s) {
                                 auto& type = s[events[3]].type;
                                 type = type == "ADDED" ? "MODIFIED" : "ADDED";
                               })),
            "");
  EXPECT_NE(test::not_filtered(truth, lie([&](WatchRecord& r, List&) { r.group = "a"; })), "");
  EXPECT_NE(test::not_resumed(truth, lie([&](WatchRecord& r, List&) {
                                Session next;
                                next.resumed = true, next.from = r.sessions[at].seen[events[3]].revision;
                                r.sessions.insert(r.sessions.begin() + static_cast<std::ptrdiff_t>(at) + 1, next);
                              })),
            "");
  EXPECT_NE(test::not_resumed(truth, lie([&](WatchRecord& r, List& s) {
                                Session next;
                                next.resumed = true, next.from = s[events[3]].revision;
                                next.seen.assign(s.begin() + static_cast<std::ptrdiff_t>(events[5]), s.end());
                                s.resize(events[3] + 1);
                                r.sessions.insert(r.sessions.begin() + static_cast<std::ptrdiff_t>(at) + 1, next);
                              })),
            "");
  Seen mark;
  mark.type = "BOOKMARK", mark.revision = good.sessions[at].seen[events[5]].revision;
  EXPECT_NE(test::not_bookmarked(truth, lie([&](auto&, List& s) {
                                   s.insert(s.begin() + static_cast<std::ptrdiff_t>(events[3]), mark);
                                 })),
            "");
  // A transaction that came in two deliveries.
  std::map<std::uint64_t, std::uint64_t> transaction;
  for (const auto& w : truth) transaction[w.revision] = w.transaction;
  bool found = false;
  for (std::size_t i = 1; i < events.size() && !found; ++i) {
    const auto& s = good.sessions[at].seen;
    if (transaction[s[events[i]].revision] != transaction[s[events[i - 1]].revision]) continue;
    found = true;
    EXPECT_NE(test::not_atomic(truth, lie([&](auto&, List& l) { l[events[i]].delivery += 1000; })), "");
  }
  EXPECT_TRUE(found);
  EXPECT_NE(test::violations(truth, lie([&](WatchRecord& r, List&) {
                               for (auto& session : r.sessions)
                                 if (!session.resumed) session.listed["made-up"] = "1";
                             })),
            "");
}

}  // namespace
}  // namespace trama::store
