// SPDX-License-Identifier: GPL-2.0-or-later
// What a power cut, a failing disk or a full one leaves behind: every commit that was acknowledged, whole; of the one
// that was under way all or nothing; and never a revision twice.
#include <gtest/gtest.h>

#include "control/store/wal.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/memory_disk.h"
#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using test::LogModel;
using test::MemoryDisk;
using test::ScratchDirectory;

SqliteOptions small() {
  SqliteOptions o;
  o.ring = 32;              // so that it goes round
  o.checkpoint_pages = 40;  // so that the write-ahead log goes into the database, and begins anew
  o.ballast = 0;
  return o;
}

int images_wanted() { return test::times(2'000, 10'000); }

struct Outcome {
  int images = 0;
  std::vector<std::string> wrong;
};

// Commits to a disk and, at random moments, looks at what would be there if the power went now.
void cut_often(unsigned seed, bool lies, int images, Outcome& out) {
  ScratchDirectory here, there;
  MemoryDisk disk;
  disk.lies = lies;
  std::mt19937 random(seed);
  LogModel model(seed);
  auto log = open_sqlite_log(here.path + "/store.db", small());
  ASSERT_TRUE(log) << log.error().to_string();
  ASSERT_TRUE((*log)->load());
  bool busy = false;
  disk.before_change = [&] {
    if (random() % 4 || out.images >= images) return;
    ++out.images;
    auto image = disk.after_power_cut(random);
    // A crash must never be taken for damage.
    if (auto damage = wal_damage(image["store.db-wal"]); !damage.empty()) out.wrong.push_back(damage);
    MemoryDisk after(std::move(image));
    auto path = there.path + "/store.db";
    auto opened = open_sqlite_log(path, small());
    auto loaded = opened ? (*opened)->load() : base::Result<Loaded>(std::move(opened).error());
    auto wrong = loaded ? model.check(*loaded, busy) : loaded.error().to_string();
    if (!wrong.empty()) out.wrong.push_back(fmt::format("seed {} change {}: {}", seed, disk.changes, wrong));
  };
  for (int i = 0; i < 150; ++i) {
    busy = true;
    auto [changes, reserved] = model.next();
    auto r = (*log)->commit(changes, reserved);
    ASSERT_TRUE(r) << r.error().to_string();
    model.acknowledged();
    busy = false;
    // Now nothing is under way: what was just acknowledged must be there.
    if (disk.before_change) disk.before_change();
  }
  disk.before_change = nullptr;
}

TEST(PowerCut, WhatWasAcknowledgedIsThereWhateverTheDiskLost) {
  Outcome out;
  for (unsigned seed = 1; out.images < images_wanted() && !HasFatalFailure(); ++seed)
    cut_often(seed, false, images_wanted(), out);
  EXPECT_GE(out.images, images_wanted());
  EXPECT_TRUE(out.wrong.empty()) << out.wrong.size() << " of " << out.images << ", the first: " << out.wrong.front();
}

// The check must be able to fail: a disk that only says that it synced.
TEST(PowerCut, ADiskThatLiesIsFoundOut) {
  Outcome out;
  cut_often(1, true, 150, out);
  EXPECT_GT(out.wrong.size(), 20u) << "lost writes went unnoticed";
}

// Every single write, truncation and sync fails once, and the one after a commit that failed goes well again.
TEST(FailingDisk, NoFailureLosesOrInventsAnything) {
  int refused = 0, first_changes = 0;
  for (std::int64_t n = 0; n < 400; ++n) {
    ScratchDirectory here;
    MemoryDisk disk;
    LogModel model(7);
    auto path = here.path + "/store.db";
    {
      auto log = open_sqlite_log(path, small());
      ASSERT_TRUE(log && (*log)->load());
      disk.fails_in = n;
      for (int i = 0; i < 12; ++i) {
        auto [changes, reserved] = model.next();
        if ((*log)->commit(changes, reserved)) {
          model.acknowledged();
        } else {
          ++refused;
          model.refused();
          disk.fails_in = -1;
        }
      }
      if (disk.fails_in >= 0) first_changes = static_cast<int>(disk.changes);
      disk.fails_in = -1;
      EXPECT_EQ(wal_damage(disk.seen()["store.db-wal"]), "") << "failure " << n;
    }
    auto opened = open_sqlite_log(path, small());
    ASSERT_TRUE(opened) << "failure " << n << ": " << opened.error().to_string();
    auto loaded = (*opened)->load();
    ASSERT_TRUE(loaded) << "failure " << n << ": " << loaded.error().to_string();
    ASSERT_EQ(model.check(*loaded, false), "") << "failure " << n;
    if (first_changes) break;  // the failure came after everything: all have been tried
  }
  EXPECT_GT(first_changes, 0) << "not every change was made to fail";
  EXPECT_GT(refused, 10);
}

// Node leases and Events reach the disk with other writes or after seconds: on their own they cost no sync.
TEST(WriteBehind, HeartbeatsDoNotPayASync) {
  ScratchDirectory here;
  MemoryDisk disk;
  async::asio::io_context context;
  StoreOptions patient;
  patient.write_behind = std::chrono::minutes(10);
  auto store = open_sqlite_store(here.path + "/store.db", context.get_executor(), patient, small());
  ASSERT_TRUE(store);
  auto write = [&](const std::string& resource, const std::string& ns, int count) -> async::awaitable<int> {
    for (int i = 0; i < count; ++i) {
      Decision decide = [&](Transaction& tx) -> api::Answer<api::ObjectPtr> {
        return tx.put({resource, ns, "n1"}, test::StoreRig::body("n1", std::to_string(i), ns));
      };
      auto got = co_await (*store)->write(std::move(decide));
      if (!got) co_return -1;
    }
    co_return count;
  };
  test::run_coroutine(context, write("leases", "kube-node-lease", 1));
  auto before = disk.syncs;
  EXPECT_EQ(test::run_coroutine(context, write("leases", "kube-node-lease", 1000)), 1000);
  EXPECT_EQ(test::run_coroutine(context, write("events", "default", 1000)), 1000);
  EXPECT_EQ(disk.syncs, before);
  EXPECT_EQ(test::run_coroutine(context, write("leases", "default", 1)), 1) << "of a leader election";
  EXPECT_GT(disk.syncs, before) << "the count would have shown it";
  auto end = [&]() -> async::awaitable<int> {
    co_await (*store)->close();
    co_return 0;
  };
  test::run_coroutine(context, end());
}

}  // namespace
}  // namespace trama::store
