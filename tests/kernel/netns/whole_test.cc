// SPDX-License-Identifier: GPL-2.0-or-later
// Whole sandboxes: network and processes together, through the planner.
#include <csignal>
#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <poll.h>

#include "base/file.h"
#include "tests/kernel/netns/node.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using trama::test::eventually;

struct WholeTest : ::testing::Test {
  Node node;
  std::string root = fmt::format("trama-test-whole-{}", getpid());
  Sandbox web = pod("web", 1), db = pod("db", 2);

  PodProcesses pods() {
    auto cgroups = CgroupRoot::open(root);
    if (!cgroups) throw std::runtime_error(cgroups.error().to_string());
    PodProcesses::Options options;
    options.run_dir = node.paths.run_dir;
    options.executable = std::getenv("TRAMA_POD_ENTRY");
    return PodProcesses(options, std::move(*cgroups));
  }
  void restart() {
    node.stop();
    auto port = PodProcessPort::make(pods());
    ASSERT_TRUE(port);
    node.processes = std::move(*port);
    node.start();
  }
  void SetUp() override {
    ASSERT_NE(std::getenv("TRAMA_POD_ENTRY"), nullptr) << "run this by ctest";
    restart();
    for (Sandbox* s : {&web, &db}) {
      Container c;
      c.name = "main";
      c.command = {"/bin/sleep", "1000"};
      s->containers.push_back(c);
    }
  }
  void TearDown() override {
    node.desired = {};
    EXPECT_TRUE(eventually([&] { return node.pass().empty() && node.observe().sandboxes.empty(); }, 10000));
    node.stop();
    auto left = pods();
    EXPECT_THAT(left.list(), IsEmpty());
    EXPECT_TRUE(left.cgroups().remove_root());
  }
  pid_t container_pid(const Sandbox& s) {
    auto status = pods().read_status(s.uid);
    return status && !status->containers.empty() ? status->containers[0].pid : 0;
  }
  bool runs(const Sandbox& s) {
    return eventually(
        [&] { return node.observe().sandboxes[s.uid].processes == ProcessPhase::running && container_pid(s) > 0; });
  }
};

TEST_F(WholeTest, a_pods_processes_live_in_its_network_and_are_adopted) {
  node.want(web);
  node.want(db);
  node.pass();
  ASSERT_TRUE(runs(web));
  ASSERT_TRUE(runs(db));
  EXPECT_THAT(node.pass(), IsEmpty());
  auto ns = [](const std::string& path) { return std::filesystem::read_symlink(path).string(); };
  std::string inode;
  trama::test::shell("stat -Lc net:[%i] /run/netns/default.web", &inode);
  EXPECT_EQ(ns(fmt::format("/proc/{}/ns/net", container_pid(web))) + "\n", inode);
  std::string hosts;
  auto container_has_our_hosts = [&] {  // its root is put together after it got its pid
    trama::test::shell(fmt::format("cat /proc/{}/root/etc/hosts", container_pid(web)), &hosts);
    return hosts == web.network.hosts;
  };
  EXPECT_TRUE(eventually(container_has_our_hosts)) << hosts;
  // hosts changes under the running container.
  web.network.hosts += "10.244.0.3 db\n";
  node.want(web);
  node.pass();
  EXPECT_TRUE(eventually(container_has_our_hosts)) << hosts;

  pid_t before = container_pid(web);
  restart();  // as after kill -9 of the agent
  EXPECT_THAT(node.pass(), IsEmpty());
  EXPECT_EQ(container_pid(web), before);
}

TEST_F(WholeTest, stopping_takes_the_processes_and_keeps_the_network_until_it_is_not_wanted) {
  node.want(web);
  node.pass();
  ASSERT_TRUE(runs(web));
  web.stop_with_grace = std::chrono::seconds(1);
  node.want(web);
  EXPECT_THAT(node.pass(), ::testing::ElementsAre("stop processes default/web: grace 1 s"));
  EXPECT_TRUE(node.observe().sandboxes[web.uid].link);
  ASSERT_TRUE(eventually([&] { return node.observe().sandboxes[web.uid].processes == ProcessPhase::finished; }));
  EXPECT_THAT(node.pass(), IsEmpty());
  EXPECT_TRUE(node.observe().sandboxes[web.uid].link);
}

TEST_F(WholeTest, removal_is_out_of_the_way_at_once_and_complete_soon) {
  node.want(web);
  node.want(db);
  node.pass();
  ASSERT_TRUE(runs(web));
  pid_t pid = container_pid(web);
  node.desired.sandboxes.erase(web.uid);
  auto start = std::chrono::steady_clock::now();
  node.pass();
  auto took = std::chrono::steady_clock::now() - start;
  EXPECT_LT(took, std::chrono::seconds(2));
  EXPECT_FALSE(std::filesystem::exists("/run/netns/default.web"));
  EXPECT_TRUE(eventually([&] { return !node.observe().sandboxes.contains(web.uid); }));
  EXPECT_TRUE(eventually([&] { return kill(pid, 0) < 0; }));
  EXPECT_TRUE(runs(db));
}

TEST_F(WholeTest, a_killed_init_is_noticed_and_its_pod_started_again) {
  node.want(web);
  node.pass();
  ASSERT_TRUE(runs(web));
  auto init = pods().adopt(web.uid);
  ASSERT_TRUE(init);
  int ended = node.kernel->ended_fd();
  ASSERT_GE(ended, 0);
  ASSERT_EQ(kill(init->pid, SIGKILL), 0);
  pollfd p{ended, POLLIN, 0};
  EXPECT_EQ(poll(&p, 1, 5000), 1);
  node.kernel->drain();
  EXPECT_EQ(poll(&p, 1, 0), 0);
  EXPECT_TRUE(eventually([&] {
    for (const auto& line : node.pass())
      if (line.starts_with("start processes default/web")) return true;
    return false;
  }));
  EXPECT_TRUE(runs(web));
}

TEST_F(WholeTest, a_namespace_whose_name_was_taken_is_named_again_under_its_processes) {
  node.want(web);
  node.pass();
  ASSERT_TRUE(runs(web));
  pid_t pid = container_pid(web);
  node.stop();  // nobody but the processes holds the namespace
  ASSERT_EQ(trama::test::shell("ip netns del default.web; ! ls /run/netns/default.web"), 0);
  restart();
  EXPECT_THAT(node.pass(), ::testing::ElementsAre("repair pin default/web: netns default.web"));
  EXPECT_THAT(node.pass(), IsEmpty());
  EXPECT_EQ(container_pid(web), pid);
}

TEST_F(WholeTest, one_that_cannot_start_says_why_and_hinders_nobody) {
  web.containers[0].root = "dir:/nowhere/at/all";
  node.want(web);
  node.want(db);
  std::vector<std::string> failures;
  node.pass(&failures);
  ASSERT_TRUE(runs(db));
  std::string told;
  EXPECT_TRUE(eventually([&] {
    told = failures.empty() ? "" : failures[0];
    if (auto status = pods().read_status(web.uid); status && !status->containers.empty()) {
      told += status->containers[0].state.message;
      if (status->containers[0].last) told += status->containers[0].last->message;
    }
    return told.find("/nowhere/at/all") != std::string::npos;
  })) << told;
  EXPECT_TRUE(node.observe().sandboxes[web.uid].link);
}

}  // namespace
}  // namespace trama::netns::test
