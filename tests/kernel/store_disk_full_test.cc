// SPDX-License-Identifier: GPL-2.0-or-later
// A disk that is really full: a small tmpfs in a mount namespace of the test's own. Nothing acknowledged is lost, what
// can not be kept is refused with 507, reads, watches, heartbeats and deletes go on, and when there is room again
// everything does, without a restart.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "control/store/backup.h"
#include "tests/contract/store/store_rig.h"

namespace trama::store {
namespace {

using namespace std::chrono_literals;
using test::StoreRig;

class DiskFull : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(base::configure_logging("error"));
    ASSERT_EQ(unshare(CLONE_NEWNS), 0) << "needs root";
    ASSERT_EQ(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), 0);
    char pattern[] = "/tmp/trama-full-XXXXXX";
    ASSERT_TRUE(mkdtemp(pattern));
    directory_ = pattern;
    ASSERT_EQ(mount("trama-test", pattern, "tmpfs", 0, "size=16m"), 0);
    setenv("TMPDIR", pattern, 1);
    options_.look_for_room = 50ms;
    options_.write_behind = 100ms;
    rig_ = std::make_unique<StoreRig>(true, options_);
    rig_->sqlite.ballast = 1 << 20;
    rig_->sqlite.checkpoint_pages = 120;  // the same proportion as by default
    rig_->reopen();
    first_ = rig_->store().revision();
  }
  void TearDown() override {
    rig_.reset();
    unsetenv("TMPDIR");
    umount2(directory_.c_str(), MNT_DETACH);
    rmdir(directory_.c_str());
  }
  // Takes all room but `left` bytes.
  void fill(std::size_t left) {
    std::ofstream file(directory_ + "/filler", std::ios::app);
    std::string block(4096, 'x');
    while (free_bytes() > left && file.write(block.data(), 4096).flush()) {
    }
  }
  void make_room() { unlink((directory_ + "/filler").c_str()); }
  std::size_t free_bytes() const {
    struct statvfs disk {};
    statvfs(directory_.c_str(), &disk);
    return disk.f_bavail * disk.f_frsize;
  }
  // Writes until something is refused; what was not is in `kept_`.
  api::Status put_until_refused(std::size_t size) {
    for (int i = 0; i < 3000; ++i) {
      auto name = "o" + std::to_string(next_++);
      auto got = rig_->try_put("pods", name, std::string(size, static_cast<char>('a' + next_ % 26)));
      if (!got) {
        EXPECT_EQ(rig_->store().get({"pods", "default", name}), nullptr) << "refused, so not seen";
        return got.error();
      }
      kept_[name] = *got;
    }
    return {};
  }
  void expect_all_kept() {
    auto listed = rig_->store().list("pods");
    EXPECT_EQ(listed.size(), kept_.size());
    for (const auto& [name, object] : kept_) {
      auto have = rig_->store().get(object->key);
      ASSERT_TRUE(have) << name;
      EXPECT_EQ(have->revision, object->revision);
      EXPECT_EQ(have->text(), object->text());
    }
  }
  void erase_some(std::size_t count) {
    for (; count > 0 && !kept_.empty(); --count) {
      auto name = kept_.begin()->first;
      EXPECT_NO_THROW(rig_->erase("pods", name)) << name;
      EXPECT_EQ(rig_->store().get({"pods", "default", name}), nullptr);
      kept_.erase(kept_.begin());
    }
  }
  // How long it takes until a write is taken again.
  std::chrono::milliseconds until_written() {
    auto begin = std::chrono::steady_clock::now();
    for (;;) {
      auto name = "o" + std::to_string(next_++);
      auto got = rig_->try_put("pods", name, "small");
      auto took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
      if (got) kept_[name] = *got;
      if (got || took > 10s) return took;
      std::this_thread::sleep_for(5ms);
    }
  }

  std::string directory_;
  StoreOptions options_;
  std::unique_ptr<StoreRig> rig_;
  std::map<std::string, api::ObjectPtr> kept_;
  unsigned next_ = 0;
  std::uint64_t first_ = 0;
};

TEST_F(DiskFull, RefusesDeletesAndRecoversManyTimes) {
  auto watch = rig_->store().watch("pods", first_);
  ASSERT_TRUE(watch);
  std::map<std::string, std::uint64_t> watched;
  auto follow = [&] {
    while (true) {
      auto events = rig_->events(**watch, 1, 1ms);
      if (events.empty()) return;
      for (const auto& e : events)
        if (e.type == Event::Type::deleted)
          watched.erase(e.object->key.name);
        else
          watched[e.object->key.name] = e.revision;
    }
  };
  for (int i = 0; i < 40; ++i) {
    auto name = "o" + std::to_string(next_++);
    kept_[name] = rig_->put("pods", name, std::string(3000, 'k'));
  }
  for (int round = 0; round < 20; ++round) {
    SCOPED_TRACE(round);
    fill(static_cast<std::size_t>(round % 5) * 20'000);
    auto refused = put_until_refused(static_cast<std::size_t>(200 + round * 700));
    EXPECT_EQ(refused.code, 507) << refused.message;
    EXPECT_NE(refused.message.find("database space exceeded"), std::string::npos) << refused.message;
    expect_all_kept();
    // Everything else is refused at once; heartbeats are not, and what is on its way out is not.
    EXPECT_EQ(rig_->try_put("services", "s", std::string(500, 's')) ? 0 : 1, 1);
    auto beat = rig_->try_put("leases", "n1", std::to_string(round), "kube-node-lease");
    EXPECT_TRUE(beat) << beat.error().message;
    EXPECT_EQ(rig_->store().get({"leases", "kube-node-lease", "n1"}), *beat);
    erase_some(8);
    EXPECT_LT(free_bytes(), std::size_t{2} << 20) << "the disk was not full at all";
    expect_all_kept();
    follow();
    EXPECT_EQ(watched.size(), kept_.size()) << "watches go on";
    make_room();
    EXPECT_LT(until_written(), 5s);
    follow();
    if (round % 5 == 4) {
      watch = api::Answer<std::unique_ptr<Watch>>();
      rig_->reopen();
      watch = rig_->store().watch("pods", rig_->store().revision());
      ASSERT_TRUE(watch);
    }
    expect_all_kept();
    if (HasFailure()) break;
  }
}

// The controller is started again while the disk is full: it serves, and what shrinks can be written.
TEST_F(DiskFull, StartsOnAFullDisk) {
  for (int i = 0; i < 40; ++i) {
    auto name = "o" + std::to_string(next_++);
    kept_[name] = rig_->put("pods", name, std::string(3000, 'k'));
  }
  fill(0);
  EXPECT_EQ(put_until_refused(5000).code, 507);
  fill(0);
  rig_->reopen();
  expect_all_kept();
  erase_some(10);
  expect_all_kept();
  EXPECT_EQ(put_until_refused(5000).code, 507);
  make_room();
  EXPECT_LT(until_written(), 5s);
  rig_->reopen();
  expect_all_kept();
}

// However much there is, all of it can be deleted; what that needs comes from the ballast and then from history.
TEST_F(DiskFull, EverythingCanBeDeleted) {
  for (int i = 0; i < 900; ++i) {
    auto name = "o" + std::to_string(next_++);
    kept_[name] = rig_->put("pods", name, std::string(4000, 'k'));
  }
  fill(0);
  EXPECT_EQ(put_until_refused(4000).code, 507);
  fill(0);
  erase_some(800);
  expect_all_kept();
  auto deleted = rig_->store().revision();
  rig_->reopen();
  expect_all_kept();
  EXPECT_FALSE(rig_->store().watch("pods", first_)) << "history was given up: 410, not a gap";
  EXPECT_TRUE(rig_->store().watch("pods", deleted));
  erase_some(kept_.size());
  make_room();
  EXPECT_LT(until_written(), 5s);
  rig_->reopen();
  expect_all_kept();
}

TEST_F(DiskFull, ABackupThatDoesNotFitLeavesNothing) {
  for (int i = 0; i < 40; ++i) rig_->put("pods", "p" + std::to_string(i), std::string(4000, 'k'));
  fill(20'000);
  auto made = backup_store(rig_->path(), directory_ + "/backup", false);
  ASSERT_FALSE(made);
  EXPECT_TRUE(made.error().is(std::errc::no_space_on_device)) << made.error().to_string();
  for (const char* name : {"/backup", "/backup.new", "/backup.new-journal"})
    EXPECT_NE(access((directory_ + name).c_str(), F_OK), 0) << name;
}

}  // namespace
}  // namespace trama::store
