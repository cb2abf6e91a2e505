// SPDX-License-Identifier: GPL-2.0-or-later
// Copies of a store: one state, verified, made beside a controller that writes; put back with revisions that nobody has
// seen before.
#include "control/store/backup.h"

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"
#include "tests/contract/store/log_model.h"
#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using test::ScratchDirectory;
using test::StoreRig;

std::map<api::Key, std::string> contents(const std::string& path) {
  std::map<api::Key, std::string> out;
  auto log = open_sqlite_log(path);
  EXPECT_TRUE(log) << log.error().to_string();
  auto loaded = (*log)->load();
  EXPECT_TRUE(loaded) << loaded.error().to_string();
  for (const auto& o : loaded->objects) out[o->key] = api::text_at(o->body, "data");
  return out;
}

TEST(Backup, IsOneStateWhileOthersWrite) {
  StoreRig rig(true);
  ScratchDirectory out;
  rig.put("pods", "a", "0"), rig.put("pods", "b", "0");
  for (int i = 0; i < 40; ++i) rig.put("services", "s" + std::to_string(i), std::string(50'000, 's'));
  std::atomic<bool> stop{false};
  std::atomic<int> writes{0};
  std::vector<base::Result<BackupReport>> made;
  std::thread maker([&] {
    for (int i = 0; i < 10; ++i) {
      for (int before = writes; writes < before + 5;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      made.push_back(backup_store(rig.path(), fmt::format("{}/{}", out.path, i), false));
    }
    stop = true;
  });
  while (!stop) {
    auto text = std::to_string(writes + 1);
    auto both = rig.write([&](Transaction& tx) -> api::Answer<api::ObjectPtr> {
      tx.put({"pods", "default", "a"}, StoreRig::body("a", text));
      tx.put({"pods", "default", "c" + text}, StoreRig::body("c" + text, text));
      return tx.put({"pods", "default", "b"}, StoreRig::body("b", text));
    });
    EXPECT_TRUE(both);
    ++writes;
  }
  maker.join();
  std::set<std::string> states;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(made[static_cast<std::size_t>(i)]) << made[static_cast<std::size_t>(i)].error().to_string();
    auto file = fmt::format("{}/{}", out.path, i);
    struct stat mode {};
    ASSERT_EQ(stat(file.c_str(), &mode), 0);
    EXPECT_EQ(mode.st_mode & 0777, 0600u) << "it holds Secrets";
    auto got = contents(file);
    auto a = got[{"pods", "default", "a"}];
    EXPECT_EQ(a, (got[{"pods", "default", "b"}])) << "half a transaction";
    EXPECT_EQ(got.size(), std::stoul(a) + 42) << "all that was there then";
    states.insert(a);
  }
  EXPECT_EQ(states.size(), 10u) << "nothing was written meanwhile";
}

TEST(Backup, ComesBackWithRevisionsThatNobodyHasSeen) {
  StoreRig rig(true);
  ScratchDirectory out;
  auto kept = rig.put("pods", "kept", "1");
  ASSERT_TRUE(backup_store(rig.path(), out.path + "/backup", false));
  auto later = rig.put("pods", "later", "1")->revision;
  auto busy = restore_store(out.path + "/backup", rig.path());
  ASSERT_FALSE(busy);
  EXPECT_TRUE(busy.error().is(std::errc::device_or_resource_busy)) << busy.error().to_string();
  rig.close();
  auto done = restore_store(out.path + "/backup", rig.path());
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(done->objects, 1u);
  EXPECT_EQ(contents(done->replaced).size(), 2u) << "what was there is not thrown away";
  ASSERT_TRUE(rig.try_open());
  EXPECT_EQ(rig.store().revision(), done->revision);
  EXPECT_GE(done->revision, later + kRestoreBump);
  EXPECT_EQ(rig.store().get(kept->key)->text(), kept->text());
  EXPECT_EQ(rig.store().list("pods").size(), 1u);
  for (auto seen : {kept->revision, later, done->revision - 1}) {
    auto watch = rig.store().watch("pods", seen);
    ASSERT_FALSE(watch) << "a watcher from before would miss that \"later\" is gone";
    EXPECT_EQ(watch.error().code, 410);
  }
  EXPECT_TRUE(rig.store().watch("pods", done->revision));
  EXPECT_GT(rig.put("pods", "new", "1")->revision, done->revision);
  rig.close();
  auto again = restore_store(out.path + "/backup", rig.path());
  ASSERT_TRUE(again);
  EXPECT_GT(again->revision, done->revision);
  EXPECT_NE(again->replaced, done->replaced);
}

// The store that is replaced had crashed: its write-ahead log must not be taken for a part of the new one.
TEST(Backup, TakesThePlaceOfACrashedStore) {
  StoreRig rig(true);
  ScratchDirectory out, crashed;
  rig.put("pods", "kept", "1");
  ASSERT_TRUE(backup_store(rig.path(), out.path + "/backup", false));
  for (int i = 0; i < 20; ++i) rig.put("pods", "later" + std::to_string(i), "1");
  for (const char* suffix : {"", "-wal"})
    std::filesystem::copy(rig.path() + suffix, crashed.path + "/store.db" + suffix);
  ASSERT_GT(std::filesystem::file_size(crashed.path + "/store.db-wal"), 0u);
  auto done = restore_store(out.path + "/backup", crashed.path + "/store.db");
  ASSERT_TRUE(done) << done.error().to_string();
  EXPECT_EQ(contents(crashed.path + "/store.db").size(), 1u);
  EXPECT_EQ(contents(done->replaced).size(), 21u);
}

TEST(Backup, RefusesInWords) {
  StoreRig rig(true);
  ScratchDirectory out;
  rig.put("pods", "victim", "precious");
  rig.put("pods", "intact", "1");
  auto backup = out.path + "/backup";
  ASSERT_TRUE(backup_store(rig.path(), backup, false));
  EXPECT_TRUE(backup_store(rig.path(), backup, false).error().is(std::errc::file_exists));
  EXPECT_TRUE(backup_store(out.path + "/none", backup + "2", false).error().is(std::errc::no_such_file_or_directory));
  rig.close();
  rig.damage("value");
  auto damaged = backup_store(rig.path(), backup + "2", false);
  ASSERT_FALSE(damaged);
  EXPECT_NE(damaged.error().to_string().find("pods/default/victim"), std::string::npos) << damaged.error().to_string();
  EXPECT_FALSE(std::filesystem::exists(backup + "2"));

  // A backup that is damaged itself changes nothing.
  auto bytes = base::read_file(backup, 16 << 20);
  ASSERT_TRUE(bytes);
  auto at = bytes->find("precious");
  ASSERT_NE(at, std::string::npos);
  (*bytes)[at] ^= 4;
  ASSERT_TRUE(base::write_file_replace(backup + "-bad", *bytes));
  auto before = base::read_file(rig.path(), 16 << 20);
  auto refused = restore_store(backup + "-bad", rig.path());
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().to_string().find("pods/default/victim"), std::string::npos) << refused.error().to_string();
  EXPECT_EQ(*base::read_file(rig.path(), 16 << 20), *before);
  ASSERT_TRUE(base::write_file_replace(backup + "-text", "not a database at all, just some text of a certain length"));
  EXPECT_FALSE(restore_store(backup + "-text", rig.path()));

  // Without any backup: what is whole is saved, what is not is named.
  auto salvaged = backup_store(rig.path(), backup + "3", true);
  ASSERT_TRUE(salvaged) << salvaged.error().to_string();
  ASSERT_EQ(salvaged->left_out.size(), 1u);
  EXPECT_NE(salvaged->left_out[0].find("pods/default/victim"), std::string::npos) << salvaged->left_out[0];
  auto done = restore_store(backup + "3", rig.path());
  ASSERT_TRUE(done) << done.error().to_string();
  ASSERT_TRUE(rig.try_open());
  EXPECT_EQ(rig.store().get({"pods", "default", "victim"}), nullptr);
  EXPECT_NE(rig.store().get({"pods", "default", "intact"}), nullptr);
}

}  // namespace
}  // namespace trama::store
