// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/volume_files.h"

#include <filesystem>
#include <set>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"

namespace trama::netns {
namespace {
namespace fs = std::filesystem;

class VolumeFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/trama-volume-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    top = name;
    fs::create_directories(top + "/config");
    fs::create_directories(top + "/" + kDigests);
  }
  void TearDown() override { fs::remove_all(top); }
  std::string read(const std::string& path) { return base::read_file(top + "/config/" + path).value_or("absent"); }
  std::set<std::string> names() {
    std::set<std::string> out;
    for (const auto& e : fs::directory_iterator(top + "/config")) out.insert(e.path().filename());
    return out;
  }
  std::string top;
};

TEST_F(VolumeFiles, AVersionReplacesTheOther) {
  Volume v;
  v.files = {{"a", {"1", 0640}}, {"deep/er", {"2", 0400}}};
  ASSERT_TRUE(write_volume(top, "config", v));
  auto first = fs::read_symlink(top + "/config/..data").string();
  EXPECT_TRUE(first.starts_with("..20")) << first;
  EXPECT_EQ(names(), (std::set<std::string>{"..data", first, "a", "deep"}));
  EXPECT_EQ(read("a") + read("deep/er"), "12");
  struct stat s {};
  ASSERT_EQ(::stat((top + "/config/a").c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0640u);
  EXPECT_EQ(written_digest(top, "config"), digest(v));

  v.files = {{"a", {"3", 0600}}, {"b", {"", 0644}}};
  ASSERT_TRUE(write_volume(top, "config", v));
  auto second = fs::read_symlink(top + "/config/..data").string();
  EXPECT_NE(first, second);
  EXPECT_EQ(names(), (std::set<std::string>{"..data", second, "a", "b"}));
  EXPECT_EQ(read("a") + read("b"), "3");

  v.files.clear();  // an optional source that is not there
  ASSERT_TRUE(write_volume(top, "config", v));
  EXPECT_EQ(names().size(), 2u);
}

// A writer that was killed may have left anything of its own.
TEST_F(VolumeFiles, WhatAnInterruptedWriterLeftIsMadeGood) {
  Volume v;
  v.files = {{"a", {"1", 0644}}};
  fs::create_directories(top + "/config/..2020_01_01_00_00_00.000000000/half");
  fs::create_symlink("..gone", top + "/config/..data");
  fs::create_symlink("x", top + "/config/..data.new");
  fs::create_symlink("..data/old", top + "/config/old");
  fs::create_symlink("somewhere", top + "/config/a");
  ASSERT_TRUE(write_volume(top, "config", v));
  EXPECT_EQ(names().size(), 3u);
  EXPECT_EQ(read("a"), "1");
}

TEST_F(VolumeFiles, AFailureLeavesTheOldVersion) {
  Volume v;
  v.files = {{"a", {"1", 0644}}};
  ASSERT_TRUE(write_volume(top, "config", v));
  Volume bad = v;
  bad.files["a"].content = "2";
  bad.files["../escape"] = {"x", 0644};
  EXPECT_FALSE(write_volume(top, "config", bad));
  EXPECT_EQ(read("a"), "1");
  EXPECT_EQ(names().size(), 3u);
  EXPECT_EQ(written_digest(top, "config"), digest(v));
  EXPECT_FALSE(fs::exists(top + "/escape"));
  EXPECT_EQ(written_digest(top, "never"), "");
}

}  // namespace
}  // namespace trama::netns
