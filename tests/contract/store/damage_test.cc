// SPDX-License-Identifier: GPL-2.0-or-later
// Damage in the database file: ten thousand flipped bits, zeroed pages, lost ends. Either everything is as it was
// written, or the store does not open and says why and what to do. Nothing is lost silently, nothing wrong is served.
#include <gtest/gtest.h>

#include "base/file.h"
#include "base/log.h"
#include "control/store/backup.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/memory_disk.h"

namespace trama::store {
namespace {

using test::difference;
using test::LogModel;
using test::MemoryDisk;
using test::ScratchDirectory;

SqliteOptions small() {
  SqliteOptions o;
  o.ring = 64;
  o.ballast = 0;
  return o;
}

struct Verdict {
  bool opened = false, history = false;
  std::string error, wrong;
};

class Damage : public testing::Test {
 protected:
  // A store after 60 transactions and a clean end: one file.
  void SetUp() override {
    ASSERT_TRUE(base::configure_logging("error"));  // thousands of warnings about history otherwise
    MemoryDisk disk;
    ASSERT_NO_FATAL_FAILURE(transactions(60));
    for (auto& [name, content] : disk.seen())
      if (!content.empty()) whole_[name] = content;
    ASSERT_EQ(whole_.size(), 1u);
    file().swap(intact_);
    file() = intact_;
  }
  // So many, and a clean end, on the disk that is in place.
  void transactions(int count) {
    auto log = open_sqlite_log(path(), small());
    ASSERT_TRUE(log && (*log)->load());
    for (int i = 0; i < count; ++i) {
      auto [changes, reserved] = model_.next();
      ASSERT_TRUE((*log)->commit(changes, reserved));
      model_.acknowledged();
      revision_ = changes.back().revision;
    }
    ASSERT_TRUE((*log)->finish(revision_));
  }
  std::string path() const { return directory_.path + "/store.db"; }
  std::string& file() { return whole_.begin()->second; }

  Verdict open() {
    Verdict v;
    MemoryDisk disk(whole_);
    auto log = open_sqlite_log(path(), small());
    auto loaded = log ? (*log)->load() : base::Result<Loaded>(std::move(log).error());
    file() = intact_;
    v.opened = static_cast<bool>(loaded);
    if (!v.opened) {
      v.error = loaded.error().to_string();
      return v;
    }
    v.wrong = difference(model_.objects(), loaded->objects);
    if (v.wrong.empty()) v.wrong = difference(model_.events(), loaded->history, loaded->history_floor);
    if (v.wrong.empty() && loaded->revision < revision_) v.wrong = "the revision went back";
    v.history = !loaded->history.empty();
    return v;
  }
  void expect_sound(const Verdict& v, const std::string& what) {
    EXPECT_EQ(v.wrong, "") << what;
    if (v.opened) return;
    EXPECT_NE(v.error.find("damaged"), std::string::npos) << what << ": " << v.error;
    EXPECT_NE(v.error.find("restore"), std::string::npos) << what << ": " << v.error;
  }

  ScratchDirectory directory_;
  LogModel model_{3};
  std::uint64_t revision_ = 0;
  MemoryDisk::Image whole_;
  std::string intact_;
  std::mt19937 random_{116};
};

TEST_F(Damage, TenThousandFlippedBitsServeNothingWrong) {
  int refused = 0, harmless = 0, history = 0;
  int flips = test::times(10'000, 10'000);
  for (int i = 0; i < flips && !HasFailure(); ++i) {
    auto bit = random_() % (intact_.size() * 8);
    file()[bit / 8] = static_cast<char>(file()[bit / 8] ^ (1 << bit % 8));
    auto v = open();
    expect_sound(v, fmt::format("bit {}", bit));
    ++(!v.opened ? refused : v.history ? harmless : history);
  }
  EXPECT_GT(refused, flips / 10) << "the flips did not meet what they should";
  EXPECT_GT(harmless, flips / 100);
  EXPECT_GT(history, flips / 100) << "damaged history costs history only";
  RecordProperty("refused", refused);
  RecordProperty("harmless", harmless);
  RecordProperty("without_history", history);
}

TEST_F(Damage, ZeroedSectorsAndLostEndsServeNothingWrong) {
  for (std::size_t at = 0; at < intact_.size() && !HasFailure(); at += 512) {
    std::fill_n(file().begin() + static_cast<std::ptrdiff_t>(at), 512, '\0');
    expect_sound(open(), fmt::format("zeroes at {}", at));
  }
  for (std::size_t size = 4096; size < intact_.size() && !HasFailure(); size += 4096) {
    file().resize(size);
    auto v = open();
    expect_sound(v, fmt::format("cut at {}", size));
    EXPECT_FALSE(v.opened && v.history) << "cut at " << size;
  }
}

// After a crash the newest transactions are in the write-ahead log only. SQLite drops everything behind a damaged frame
// without a word; we do not. What can not be told from a crash is damage in the last transactions.
TEST(DamagedWal, NothingButTheEndCanBeLostSilently) {
  ASSERT_TRUE(base::configure_logging("error"));
  ScratchDirectory here, there;
  LogModel model(5);
  std::vector<LogModel::Objects> states;
  auto path = here.path + "/store.db", copy = there.path + "/store.db";
  std::string main_file, wal;
  {
    auto options = small();
    options.checkpoint_pages = 1'000'000;
    auto log = open_sqlite_log(path, options);
    ASSERT_TRUE(log && (*log)->load());
    for (int i = 0; i < 30; ++i) {
      auto [changes, reserved] = model.next();
      ASSERT_TRUE((*log)->commit(changes, reserved));
      model.acknowledged();
      states.push_back(model.objects());
    }
    main_file = *base::read_file(path, 64 << 20), wal = *base::read_file(path + "-wal", 64 << 20);
  }
  std::mt19937 random(116);
  int refused = 0, whole = 0, end = 0;
  int flips = test::times(1'000, 10'000);
  for (int i = 0; i <= flips && !HasFailure(); ++i) {
    auto bad = wal;
    auto bit = random() % (wal.size() * 8);
    if (i > 0) bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));  // first: no damage, no refusal
    ASSERT_TRUE(base::write_file_replace(copy, main_file) && base::write_file_replace(copy + "-wal", bad));
    auto log = open_sqlite_log(copy, small());
    auto loaded = log ? (*log)->load() : base::Result<Loaded>(std::move(log).error());
    if (!loaded) {
      ASSERT_GT(i, 0) << loaded.error().to_string();
      EXPECT_NE(loaded.error().to_string().find("write-ahead log"), std::string::npos) << loaded.error().to_string();
      EXPECT_FALSE(backup_store(copy, there.path + "/backup", false)) << "a backup would hide the loss";
      ++refused;
      continue;
    }
    if (difference(states.back(), loaded->objects).empty()) {
      ++whole;
      continue;
    }
    bool recent = false;
    for (std::size_t back = 2; back <= 3; ++back)
      recent = recent || difference(states[states.size() - back], loaded->objects).empty();
    EXPECT_TRUE(recent) << "bit " << bit << " of the write-ahead log lost more than its end";
    ++end;
  }
  EXPECT_GT(refused, flips / 2);
  EXPECT_GT(whole, 0);
  EXPECT_LT(end, flips / 4);
}

// A page that was never written, though the disk said so: its old content is whole, and every row's checksum matches.
TEST_F(Damage, OldPagesAreFound) {
  auto old = intact_;
  {
    MemoryDisk disk(whole_);
    ASSERT_NO_FATAL_FAILURE(transactions(20));
    intact_ = disk.seen()["store.db"];
  }
  file() = intact_;
  ASSERT_TRUE(open().opened);
  int tried = 0, refused = 0;
  for (std::size_t at = 0; at + 4096 <= std::min(old.size(), intact_.size()); at += 4096) {
    if (!intact_.compare(at, 4096, old, at, 4096)) continue;
    file().replace(at, 4096, old, at, 4096);
    auto v = open();
    expect_sound(v, fmt::format("old page at {}", at));
    ++tried, refused += !v.opened;
  }
  EXPECT_GT(tried, 5);
  EXPECT_GT(refused, 3);
}

// The check must be able to fail: SQLite alone reads many of the same flips without a word.
TEST_F(Damage, WithoutOurChecksumsWrongObjectsWouldBeServed) {
  int wrong = 0;
  for (int i = 0; i < 500; ++i) {
    auto bit = random_() % (intact_.size() * 8);
    file()[bit / 8] = static_cast<char>(file()[bit / 8] ^ (1 << bit % 8));
    MemoryDisk disk(whole_);
    file() = intact_;
    sqlite3* db = nullptr;
    if (sqlite3_open("store.db", &db) == SQLITE_OK) {
      sqlite3_stmt* s = nullptr;
      if (sqlite3_prepare_v2(db, "SELECT res, ns, name, rv, val FROM obj", -1, &s, nullptr) == SQLITE_OK)
        while (sqlite3_step(s) == SQLITE_ROW) {
          auto text = [&](int c) {
            auto* p = reinterpret_cast<const char*>(sqlite3_column_text(s, c));
            return std::string(p ? p : "");
          };
          auto it = model_.objects().find(api::Key{text(0), text(1), text(2)});
          wrong += it == model_.objects().end() || it->second->text() != text(4);
        }
      sqlite3_finalize(s);
    }
    sqlite3_close(db);
  }
  EXPECT_GT(wrong, 20);
}

}  // namespace
}  // namespace trama::store
