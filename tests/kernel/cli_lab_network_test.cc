// SPDX-License-Identifier: GPL-2.0-or-later
// A lab's network in real namespaces, pinned in a directory of the test's own; and processes started and ended.
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/mount.h>
#include <unistd.h>

#include "cli/lab/daemon.h"
#include "cli/lab/network.h"
#include "tests/support/private_netns.h"

namespace trama::cli {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

std::string output_of(const std::string& command) {
  std::string out;
  test::shell(command, &out);
  return out;
}

class LabNetworkTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/run/trama-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    before_ = host_state();
  }
  void TearDown() override {
    umount2(dir_.c_str(), MNT_DETACH);
    EXPECT_EQ(rmdir(dir_.c_str()), 0) << output_of("ls -la " + dir_);
    EXPECT_EQ(host_state(), before_);
  }
  static std::string host_state() {
    return output_of(
        "exec 2>/dev/null; ip -o link | sed -E 's/ (qlen|state) [^ ]+//g'; ip -o addr; ip route show table all; ip "
        "rule; "
        "nft list ruleset; cat /proc/sys/net/ipv4/ip_forward");
  }
  std::string in(const std::string& netns, const std::string& command) const {
    return output_of(fmt::format("nsenter --net={}/{} {}", dir_, netns, command));
  }

  std::string dir_, before_;
};

LabSpec lab_of(const std::string& nodes) {
  auto documents =
      load_yaml("apiVersion: trama.dev/v1\nkind: Lab\nmetadata: {name: t}\nspec: {nodes: " + nodes + "}\n", "t");
  return *parse_lab(std::move(*documents));
}

TEST_F(LabNetworkTest, NodesReachEachOtherAndTheSwitchAndNothingElseChanges) {
  auto lab = lab_of("[n1, n2]");
  {
    auto network = LabNetwork::open(dir_);
    ASSERT_TRUE(network) << network.error().to_string();
    for (const auto& op : plan_switch(lab)) {
      auto r = network->apply(op);
      ASSERT_TRUE(r) << r.error().to_string();
    }
    for (const auto& n : lab.nodes)
      for (const auto& op : plan_node(lab, n)) {
        auto r = network->apply(op);
        ASSERT_TRUE(r) << r.error().to_string();
      }
    EXPECT_GE(network->fd("t.n1"), 0);
    EXPECT_EQ(network->fd("t.n3"), -1);
  }
  EXPECT_THAT(in("t.n1", "ip -o -4 addr show dev eth0"), HasSubstr("172.30.0.11/24"));
  EXPECT_THAT(in("t.n1", "ip route"), HasSubstr("default via 172.30.0.1 dev eth0"));
  EXPECT_THAT(in("t.switch", "ip -d link show n2"), HasSubstr("trama lab port of t.n2"));
  EXPECT_THAT(in("t.n1", "ping -c1 -W2 172.30.0.12"), HasSubstr("1 received"));
  EXPECT_THAT(in("t.n2", "ping -c1 -W2 172.30.0.1"), HasSubstr("1 received"));
  EXPECT_THAT(in("t.n1", "ping -c1 -W2 127.0.0.1"), HasSubstr("1 received"));
  EXPECT_EQ(host_state(), before_);
  // Somebody else's namespace in the same directory stays.
  test::shell("touch " + dir_ + "/t2.n1");
  auto gone = remove_namespaces(dir_, {"t.switch", "t.n1", "t.n2"}, {"t.n1."});
  ASSERT_TRUE(gone) << gone.error().to_string();
  EXPECT_EQ(gone->size(), 3u);
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/t2.n1"));
  std::filesystem::remove(dir_ + "/t2.n1");
}

// The kernel has one table for the neighbours of all namespaces; those who ask each other would fill it.
TEST_F(LabNetworkTest, InALargeLabNobodyHasToAskForANeighbour) {
  std::string names;
  std::vector<std::string> made{"t.switch"};
  for (std::size_t i = 1; i <= kNodesThatAsk + 1; ++i) {
    names += fmt::format("{}n{}", names.empty() ? "[" : ", ", i);
    made.push_back(fmt::format("t.n{}", i));
  }
  auto lab = lab_of(names + "]");
  {
    auto network = LabNetwork::open(dir_);
    ASSERT_TRUE(network);
    for (const auto& op : plan_switch(lab)) ASSERT_TRUE(network->apply(op));
    for (const auto& n : lab.nodes)
      for (const auto& op : plan_node(lab, n)) ASSERT_TRUE(network->apply(op));
  }
  EXPECT_THAT(in("t.n1", "ping -c1 -W2 172.30.0.27"), HasSubstr("1 received"));
  EXPECT_THAT(in("t.switch", "ping -c1 -W2 172.30.0.11"), HasSubstr("1 received"));
  for (const char* ns : {"t.n1", "t.switch"}) {
    EXPECT_THAT(in(ns, "ip -4 neigh show nud permanent | wc -l"), HasSubstr(fmt::format("{}\n", kNodesThatAsk + 1)));
    EXPECT_EQ(in(ns, "ip -4 neigh show | grep -v PERMANENT"), "") << ns;
  }
  ASSERT_TRUE(remove_namespaces(dir_, made, {}));
}

TEST_F(LabNetworkTest, AStepThatCannotBeDoneNamesItself) {
  auto lab = lab_of("[n1]");
  auto network = LabNetwork::open(dir_);
  ASSERT_TRUE(network);
  auto steps = plan_node(lab, lab.nodes[0]);
  ASSERT_TRUE(network->apply(steps[0]));
  auto r = network->apply(steps[1]);  // there is no switch to plug into
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().to_string(), HasSubstr("veth t.switch/n1"));
  EXPECT_FALSE(network->apply(steps[0]));  // the name is taken
  ASSERT_TRUE(remove_namespaces(dir_, {"t.n1"}, {}));
}

// A shell script as a daemon: the last argument is the descriptor to say READY on.
DaemonSpec script(const std::string& dir, const std::string& text) {
  DaemonSpec d;
  d.program = "/bin/sh";
  d.arguments = {"-c", text};
  d.log_path = dir + "/log";
  return d;
}

TEST(LabDaemon, SaysReadyGetsItsSocketsAndEnds) {
  char dir[] = "/tmp/trama-daemon-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  // `sh -c text --ready-fd 4`: $0 is --ready-fd, $1 the number.
  auto d = script(dir, "echo pid $$ listen $LISTEN_PID $LISTEN_FDS secret $TRAMA_X; echo READY >&$1; exec sleep 100");
  d.environment = {{"TRAMA_X", "y"}};
  base::UniqueFd socket(open("/dev/null", O_RDONLY | O_CLOEXEC));
  d.sockets = {socket.get()};
  auto started = start_daemon(d);
  ASSERT_TRUE(started) << started.error().to_string();
  auto id = started->id;
  std::vector<Daemon> daemons;
  daemons.push_back(std::move(*started));
  auto ready = wait_ready(daemons, {d.log_path}, std::chrono::steady_clock::now() + std::chrono::seconds(5));
  ASSERT_TRUE(ready) << ready.error().to_string();
  EXPECT_THAT(log_tail(d.log_path), HasSubstr(fmt::format("pid {0} listen {0} 1 secret y", id.pid)));
  EXPECT_TRUE(is_alive(id));
  // The same pid with another start time is another process: it is left alone.
  ASSERT_TRUE(end_processes({ProcessId{id.pid, id.start_time + 1}}, milliseconds(100)));
  EXPECT_TRUE(is_alive(id));
  ASSERT_TRUE(end_processes({id}, milliseconds(3000)));
  EXPECT_FALSE(is_alive(id));
  std::filesystem::remove_all(dir);
}

TEST(LabDaemon, OneThatDiesOrHangsIsToldWithItsLog) {
  char dir[] = "/tmp/trama-daemon-XXXXXX";
  ASSERT_NE(mkdtemp(dir), nullptr);
  auto soon = [] { return std::chrono::steady_clock::now() + milliseconds(300); };
  auto dead = start_daemon(script(dir, "echo out of cheese; exit 3"));
  ASSERT_TRUE(dead);
  std::vector<Daemon> daemons;
  daemons.push_back(std::move(*dead));
  auto r = wait_ready(daemons, {std::string(dir) + "/log"}, std::chrono::steady_clock::now() + std::chrono::seconds(5));
  ASSERT_FALSE(r);
  EXPECT_THAT(r.error().to_string(), HasSubstr("out of cheese"));
  // Ignores SIGTERM: ended by SIGKILL after the grace time.
  auto hung = start_daemon(script(dir, "trap '' TERM; while :; do sleep 0.05; done"));
  ASSERT_TRUE(hung);
  auto id = hung->id;
  daemons.clear();
  daemons.push_back(std::move(*hung));
  EXPECT_TRUE(wait_ready(daemons, {std::string(dir) + "/log"}, soon()).error().is(std::errc::timed_out));
  ASSERT_TRUE(end_processes({id}, milliseconds(100)));
  EXPECT_FALSE(is_alive(id));
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace trama::cli
