// SPDX-License-Identifier: GPL-2.0-or-later
// Real agents among themselves: what they say to each other, what they notice, what people see of it.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "control/api/object.h"
#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Clock = std::chrono::steady_clock;

std::string condition(Cluster& cluster, const std::string& node, const std::string& field) {
  auto object = cluster.get("node " + node);
  if (!object.is_object()) return "";
  for (const auto& c : api::array_at(object.get_object(), "status.conditions"))
    if (c.is_object() && api::text_at(c.get_object(), "type") == "OverlayReady")
      return api::text_at(c.get_object(), field);
  return "absent";
}

class Peers : public ::testing::Test {
 protected:
  void up(const std::vector<std::string>& names, const std::string& arguments = "") {
    cluster.start_controller();
    for (const auto& name : names) cluster.add_node(name, arguments);
    ASSERT_TRUE(cluster.ok());
    for (const auto& name : names) ASSERT_TRUE(cluster.wait_node_ready(name));
  }
  std::string paths(const std::string& node) { return cluster.page(node, "http://127.0.0.1:6784/status/paths"); }
  std::string connections(const std::string& node) {
    return cluster.page(node, "http://127.0.0.1:6784/status/connections");
  }
  bool ready(const std::string& node, int milliseconds = 15000) {
    return eventually(
        [&] {
          std::string out;
          return cluster.on_node(node, "curl -sf --max-time 2 http://127.0.0.1:6784/readyz", &out) == 0;
        },
        milliseconds);
  }
  bool established(const std::string& node, std::size_t wanted, int milliseconds = 15000) {
    return eventually(
        [&] {
          auto text = connections(node);
          std::size_t n = 0;
          for (auto at = text.find(" established "); at != text.npos; at = text.find(" established ", at + 1)) ++n;
          return n == wanted;
        },
        milliseconds);
  }
  void block(const std::string& node, const std::string& what) {
    std::string out;
    EXPECT_EQ(cluster.on_node(node,
                              "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority "
                              "-400; }; add rule inet test in " +
                                  what + " drop'",
                              &out),
              0)
        << out;
  }
  void unblock(const std::string& node) { cluster.on_node(node, "nft delete table inet test"); }
  Cluster cluster;
};

TEST_F(Peers, MeetNoticeABlockedPathAndTellEverybody) {
  up({"n1", "n2", "n3"});
  for (auto node : {"n1", "n2", "n3"}) {
    EXPECT_TRUE(ready(node)) << paths(node);
    EXPECT_TRUE(established(node, 2)) << connections(node);
    EXPECT_TRUE(eventually([&] { return condition(cluster, node, "status") == "True"; })) << node;
  }
  std::string out;
  EXPECT_EQ(cluster.trama("overlay", &out), 0) << out;
  EXPECT_THAT(out, HasSubstr("node n3\n"));
  EXPECT_THAT(out, HasSubstr("Paths: 2 up, 0 degraded, 0 down"));
  EXPECT_EQ(cluster.trama("overlay connections --node n1", &out), 0);
  EXPECT_THAT(out, HasSubstr("->  " + cluster.node_ip("n2") + ":6783  established  vxlan=up n2 mtu=1450"));
  EXPECT_EQ(cluster.trama("overlay -o json", &out), 0);
  EXPECT_EQ(json::parse(out).as_object().size(), 3u);
  EXPECT_NE(cluster.trama("overlay --node n9", &out), 0);
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/metrics"),
              HasSubstr("trama_overlay_paths{path=\"vxlan\",state=\"up\"} 2\n"));
  EXPECT_EQ(cluster.page("n1", "http://127.0.0.1:6784/healthz"), "ok\n");
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/nothing"), HasSubstr("/status/connections"));
  // Pods never reach it, and nobody from outside does.
  EXPECT_NE(cluster.on_node("n2", "curl -s --max-time 1 http://" + cluster.node_ip("n1") + ":6784/status"), 0);

  auto begin = Clock::now();
  block("n2", "udp dport 6784");
  EXPECT_TRUE(eventually([&] { return paths("n1").find("what n1 sends to n2 is lost") != std::string::npos; }))
      << paths("n1");
  EXPECT_LE(std::chrono::duration<double>(Clock::now() - begin).count(), 4.0);
  EXPECT_THAT(paths("n1"), HasSubstr("n2    control  up"));
  // Packets take the tunnel, and everybody is told.
  EXPECT_TRUE(eventually([&] {
    return connections("n1").find("encrypted tunnel=up n2 mtu=1436") != std::string::npos;
  })) << connections("n1");
  EXPECT_LE(std::chrono::duration<double>(Clock::now() - begin).count(), 4.0);
  EXPECT_TRUE(eventually([&] {
    return condition(cluster, "n1", "message").find("by the tunnel, because vxlan is not well: n2") !=
           std::string::npos;
  })) << condition(cluster, "n1", "message");
  EXPECT_EQ(condition(cluster, "n1", "status"), "True");
  EXPECT_TRUE(eventually([&] {
    return cluster.trama("get events", &out) == 0 && out.find("OverlayTunnelUsed") != out.npos;
  })) << out;
  EXPECT_TRUE(eventually([&] {
    return cluster.trama("get events", &out) == 0 && out.find("OverlayPathDown") != out.npos;
  })) << out;
  EXPECT_EQ(cluster.trama("doctor", &out), 1);
  EXPECT_THAT(out, HasSubstr("FAIL  paths      vxlan to n2"));
  EXPECT_THAT(out, HasSubstr("packets take the tunnel meanwhile"));
  EXPECT_EQ(cluster.on_node("n1", "ip nexthop | grep -c 'dev trama1'", &out), 0);
  EXPECT_EQ(out, "1\n") << "n2's alone";
  // Nothing was taken down for it.
  EXPECT_EQ(cluster.on_node("n1", "ip route show proto 116 | grep -c nhid", &out), 0);
  EXPECT_EQ(out, "2\n");
  unblock("n2");
  begin = Clock::now();
  EXPECT_TRUE(ready("n1")) << paths("n1");
  EXPECT_LE(std::chrono::duration<double>(Clock::now() - begin).count(), 15.0);
  EXPECT_TRUE(
      eventually([&] { return condition(cluster, "n1", "message").find("tunnel") == std::string::npos; }, 15000));
  EXPECT_TRUE(eventually([&] {
    return cluster.trama("get events", &out) == 0 && out.find("OverlayPathUp") != out.npos &&
           out.find("OverlayTunnelLeft") != out.npos;
  })) << out;

  // Nothing passes between n1 and n3 any more, but n2 reaches both.
  begin = Clock::now();
  block("n1", "ip saddr " + cluster.node_ip("n3"));
  block("n3", "ip saddr " + cluster.node_ip("n1"));
  EXPECT_TRUE(eventually([&] {
    return connections("n1").find("encrypted relay=up n3 via n2 mtu=1392") != std::string::npos;
  })) << connections("n1");
  EXPECT_LE(std::chrono::duration<double>(Clock::now() - begin).count(), 4.0);
  EXPECT_EQ(cluster.trama("overlay paths --node n1", &out), 0);
  EXPECT_THAT(out, HasSubstr("via n2: vxlan: "));
  EXPECT_TRUE(ready("n1")) << "it is reached";
  EXPECT_TRUE(eventually([&] {
    return condition(cluster, "n1", "message").find("by a third node, because nothing else passes: n3 over n2") !=
           std::string::npos;
  })) << condition(cluster, "n1", "message");
  EXPECT_EQ(cluster.trama("doctor", &out), 1);
  EXPECT_THAT(out, HasSubstr("packets go over n2 meanwhile"));
  EXPECT_TRUE(eventually([&] {
    return cluster.trama("get events", &out) == 0 && out.find("OverlayRelayUsed") != out.npos;
  })) << out;
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/metrics"),
              HasSubstr("trama_overlay_peers{path=\"relay\"} 1\n"));
}

TEST_F(Peers, MeetAgainWithoutAController) {
  up({"n1", "n2"});
  EXPECT_TRUE(established("n1", 1)) << connections("n1");
  std::string out;
  EXPECT_EQ(shell("cat " + cluster.directory() + "/n1/data/view/members", &out), 0);
  EXPECT_THAT(out, HasSubstr("n2 "));
  cluster.stop_controller(SIGKILL);
  for (auto node : {"n1", "n2"}) {
    cluster.stop_agent(node, SIGKILL);
    cluster.start_agent(node);
  }
  EXPECT_TRUE(established("n1", 1, 20000)) << connections("n1") << cluster.log("n1");
  EXPECT_TRUE(ready("n1")) << paths("n1");
}

TEST_F(Peers, SwitchedOffAndWithoutACertificatePathsAreWatchedAllTheSame) {
  up({"n1", "n2"}, "--peer-port 0");
  EXPECT_TRUE(ready("n1")) << paths("n1");
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/status"),
              HasSubstr("Protocol: off: switched off (--peer-port 0)"));
  EXPECT_NE(cluster.on_node("n1", "ss -lntuH | grep -q ':6783 '"), 0) << "nobody listens there";
  std::string out;
  EXPECT_EQ(cluster.trama("doctor", &out), 0) << out;
  EXPECT_THAT(out, HasSubstr("no conversation with other agents: switched off"));
}

TEST_F(Peers, EncryptionRequiredByFlagIsInForceAtOnceAndShown) {
  up({"n1", "n2"}, "--encryption required");
  for (auto node : {"n1", "n2"}) {
    EXPECT_TRUE(ready(node)) << paths(node);
    EXPECT_THAT(connections(node), HasSubstr("encrypted tunnel=up"));
    EXPECT_TRUE(eventually([&] { return condition(cluster, node, "status") == "True"; })) << node;
  }
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/status"), HasSubstr("Encryption: required\n"));
  EXPECT_THAT(cluster.page("n1", "http://127.0.0.1:6784/metrics"),
              HasSubstr("trama_overlay_peers{path=\"tunnel\"} 1\n"));
  std::string out;
  EXPECT_EQ(cluster.on_node("n1", "nft list table inet trama-overlay", &out), 0);
  EXPECT_THAT(out, HasSubstr("in the clear, where encryption is required"));
  EXPECT_EQ(cluster.trama("doctor", &out), 0) << out;
  // One alone is enough, and what is not possible is said at once.
  cluster.stop_agent("n2", SIGTERM);
  cluster.start_agent("n2");
  EXPECT_TRUE(ready("n2")) << paths("n2");
}

// Five seconds of SIGSTOP, and ten minutes without a processor to spare.
TEST_F(Peers, RaiseNoFalseAlarm) {
  const char* longer = std::getenv("TRAMA_LONG");
  bool whole = longer && *longer == '1';
  if (!whole) GTEST_SKIP() << "with TRAMA_LONG=1; the default run has it in simulated time and in overlay_mesh_test";
  up({"n1", "n2", "n3"});
  for (auto node : {"n1", "n2", "n3"}) EXPECT_TRUE(ready(node)) << paths(node);
  ::kill(cluster.agent_pid("n2"), SIGSTOP);
  std::this_thread::sleep_for(std::chrono::seconds(5));
  ::kill(cluster.agent_pid("n2"), SIGCONT);
  std::this_thread::sleep_for(std::chrono::seconds(3));
  auto downs = [&](const std::string& node) {
    auto text = cluster.page(node, "http://127.0.0.1:6784/metrics");
    auto at = text.find("trama_overlay_path_downs{path=\"vxlan\"} ");
    return at == text.npos ? std::string("?") : text.substr(at + 39, text.find('\n', at) - at - 39);
  };
  for (auto node : {"n1", "n2", "n3"}) EXPECT_EQ(downs(node), "0") << "SIGSTOP\n" << paths(node);
  std::vector<pid_t> burners;
  for (unsigned i = 0; i < 2 * std::thread::hardware_concurrency(); ++i) {
    pid_t pid = ::fork();
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (volatile bool forever = true; forever;) {
      }
    }
    burners.push_back(pid);
  }
  std::this_thread::sleep_for(std::chrono::minutes(10));
  for (auto node : {"n1", "n2", "n3"}) EXPECT_EQ(downs(node), "0") << "load\n" << paths(node);
  for (auto pid : burners) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
}

}  // namespace
}  // namespace trama::test
