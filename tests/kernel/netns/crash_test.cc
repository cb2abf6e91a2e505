// SPDX-License-Identifier: GPL-2.0-or-later
// An agent that dies at any step leaves something that the next one completes or removes; and nothing leaks.
#include <filesystem>

#include <gmock/gmock.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/kernel/netns/node.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::IsEmpty;
using trama::test::eventually;

constexpr int kDied = 99;

// One pass by a process that ends without a word at `step`. Returns its exit status.
int pass_and_die_at(Node& node, const std::string& step) {
  node.stop();
  pid_t child = fork();
  if (child == 0) {
    node.at_step = [&](const char* name) {
      if (name == step) _exit(kDied);
    };
    try {
      node.start();
      node.pass();
    } catch (...) {
    }
    _exit(0);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

std::string everything(Node& node) {
  return node.shell(
             "exec 2>/dev/null; ip -d link; ip route; ip -6 route; ip neigh; ip -6 neigh; nft list ruleset; ls "
             "/run/netns") +
         "\n" + [&] {
           std::string files;
           trama::test::shell("find " + node.paths.run_dir + " " + node.paths.etc_netns_dir + " -type f 2>/dev/null",
                              &files);
           return files;
         }();
}

struct Crash : ::testing::TestWithParam<const char*> {};

TEST_P(Crash, while_making_is_completed_by_the_next_agent) {
  Node node;
  Sandbox web = pod("web", 1), other = pod("other", 2);
  node.want(web);
  ASSERT_EQ(pass_and_die_at(node, GetParam()), kDied) << "the step was never reached";
  node.start();
  node.want(other);
  ASSERT_TRUE(node.converge());
  node.kernel->inside_changed(std::nullopt);
  EXPECT_THAT(node.pass(), IsEmpty());
  int code = -1;
  auto out = node.in_pod(web, "ping -c 1 -W 1 10.244.0.3 && ping -6 -c 1 -W 1 fd00:244::3", &code);
  EXPECT_EQ(code, 0) << out;
}

TEST_P(Crash, while_making_is_removed_when_nobody_wants_it_any_more) {
  Node node;
  std::string before = everything(node);
  Sandbox web = pod("web", 1);
  node.want(web);
  ASSERT_EQ(pass_and_die_at(node, GetParam()), kDied);
  node.start();
  node.desired = {};
  ASSERT_TRUE(node.converge());
  std::string after;
  EXPECT_TRUE(eventually([&] { return (after = everything(node)) == before; })) << before << "\n=== now\n" << after;
}

INSTANTIATE_TEST_SUITE_P(Steps, Crash,
                         ::testing::Values("namespace", "record", "pin", "guard", "pair", "inside", "up", "routes"),
                         [](const auto& i) { return std::string(i.param); });

struct CrashRemoving : ::testing::TestWithParam<const char*> {};

TEST_P(CrashRemoving, is_finished_by_the_next_agent) {
  Node node;
  std::string before = everything(node);
  Sandbox web = pod("web", 1);
  node.want(web);
  ASSERT_TRUE(node.converge());
  node.desired = {};
  ASSERT_EQ(pass_and_die_at(node, GetParam()), kDied);
  node.start();
  ASSERT_TRUE(node.converge());
  std::string after;
  EXPECT_TRUE(eventually([&] { return (after = everything(node)) == before; })) << before << "\n=== now\n" << after;
}

INSTANTIATE_TEST_SUITE_P(Steps, CrashRemoving, ::testing::Values("withdrawn", "doomed", "unpinned"),
                         [](const auto& i) { return std::string(i.param); });

TEST(Leak, two_hundred_sandboxes_come_and_go) {
  Node node;
  auto fds = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator{});
  };
  // Once round first: what is made once stays.
  node.want(pod("first", 0));
  ASSERT_TRUE(node.converge());
  node.desired = {};
  ASSERT_TRUE(node.converge());
  ASSERT_TRUE(eventually([&] { return node.shell("ip -o link show type veth").empty(); }));
  auto fds_before = fds();
  std::string before = everything(node);
  for (unsigned i = 1; i <= 200; ++i) node.want(pod(fmt::format("web-{}", i), i));
  ASSERT_TRUE(node.converge());
  EXPECT_EQ(node.observe().sandboxes.size(), 200u);
  EXPECT_GE(fds(), fds_before + 200);  // the counting counts
  node.desired = {};
  ASSERT_TRUE(node.converge());
  std::string after;
  EXPECT_TRUE(eventually([&] { return (after = everything(node)) == before; }, 10000)) << before << "\n=== now\n"
                                                                                       << after;
  EXPECT_EQ(fds(), fds_before);
}

TEST(LostRegistry, is_made_up_for_by_the_marks_on_the_links) {
  Node node;
  std::string before = everything(node);
  Sandbox web = pod("web", 1), gone = pod("gone", 2);
  node.want(web);
  node.want(gone);
  ASSERT_TRUE(node.converge());
  std::string same;
  trama::test::shell("stat -Lc %i /run/netns/default.web", &same);
  node.stop();
  std::filesystem::remove_all(node.paths.run_dir);
  node.start();
  node.desired.sandboxes.erase(gone.uid);
  ASSERT_TRUE(node.converge());
  std::string now;
  trama::test::shell("stat -Lc %i /run/netns/default.web", &now);
  EXPECT_EQ(now, same);  // whoever lives in it stays
  EXPECT_FALSE(std::filesystem::exists("/run/netns/default.gone"));
  node.desired = {};
  ASSERT_TRUE(node.converge());
  EXPECT_TRUE(eventually([&] { return everything(node) == before; })) << everything(node);
}

}  // namespace
}  // namespace trama::netns::test
