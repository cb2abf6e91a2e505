// SPDX-License-Identifier: GPL-2.0-or-later
// Real agents under traffic that may not notice them: a thousand pings a second and a hundred TCP connections, while
// nodes join and leave, agents are killed and the controller stands still.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <future>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/e2e/support/cluster.h"
#include "tests/support/private_netns.h"

namespace trama::test {
namespace {

using ::testing::HasSubstr;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

const char* const kPods = R"(---
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  nodeName: n2
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [trama, echo, --http, ':8080', --tcp, ':7000']}
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: n1
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: host, command: [sleep, infinity]}
)";

// What came of a command that ran beside the test.
struct Outcome {
  int status = -1;
  std::string output;
};

class OverlayTraffic : public ::testing::Test {
 protected:
  void up() {
    cluster.start_controller();
    for (auto name : {"n1", "n2"}) cluster.add_node(name);
    ASSERT_TRUE(cluster.ok());
    for (auto name : {"n1", "n2"}) ASSERT_TRUE(cluster.wait_node_ready(name));
    ASSERT_TRUE(cluster.apply(kPods));
    ASSERT_TRUE(cluster.wait_pod_ready("server"));
    ASSERT_TRUE(cluster.wait_pod_ready("client"));
    server = cluster.pod_ip("server");
    std::string out;
    ASSERT_TRUE(eventually([&] { return cluster.in_pod("n1", "client", "ping -c 1 -W 1 " + server, &out) == 0; }))
        << out;
  }
  std::future<Outcome> beside(std::string command) {
    return std::async(std::launch::async, [this, command = std::move(command)] {
      Outcome o;
      o.status = cluster.in_pod("n1", "client", command, &o.output);
      return o;
    });
  }
  // A thousand a second, as large as a packet may be, and connections that speak all the time; both about as long.
  void begin_traffic(int seconds) {
    pings = beside(fmt::format("ping -q -i 0.001 -s 1400 -w {} {}", seconds, server));
    flows =
        beside(fmt::format("{}/tests/e2e/flows.py {} 7000 100 {}", std::getenv("TRAMA_SOURCE_DIR"), server, seconds));
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
  bool traffic_goes_on() {
    auto running = [](std::future<Outcome>& f) {
      return f.wait_for(std::chrono::seconds(0)) != std::future_status::ready;
    };
    return running(pings) && running(flows);
  }
  void expect_nothing_lost() {
    auto p = pings.get(), f = flows.get();
    int sent = 0, came = -1;
    if (auto at = p.output.find("packets transmitted"); at != std::string::npos)
      (void)std::sscanf(p.output.c_str() + p.output.rfind('\n', at) + 1, "%d packets transmitted, %d received", &sent,
                        &came);
    EXPECT_GT(sent, 1000) << p.output;
    EXPECT_LE(sent - came, 1) << "the last may be under way; " << p.output;
    EXPECT_EQ(f.status, 0) << f.output;
    EXPECT_THAT(f.output, HasSubstr("100 connections, "));
    EXPECT_THAT(f.output, HasSubstr(" 0 broken"));
  }
  // The address of a node in the overlay: of its first pod CIDR.
  std::string overlay_address(const std::string& node) {
    auto object = cluster.get("node " + node);
    auto* spec = object.is_object() ? object.get_object().if_contains("spec") : nullptr;
    auto* cidr = spec && spec->is_object() ? spec->get_object().if_contains("podCIDR") : nullptr;
    std::string text = cidr && cidr->is_string() ? std::string(cidr->get_string()) : "";
    return text.substr(0, text.find('/'));
  }
  bool reaches(const std::string& from, const std::string& address) {
    std::string out;
    return !address.empty() && cluster.on_node(from, "ping -c 1 -W 1 " + address, &out) == 0;
  }

  Cluster cluster;
  std::string server;
  std::future<Outcome> pings, flows;
};

TEST_F(OverlayTraffic, ANodeJoinsWithinTwoSecondsAndLeavesAndNobodyElseNotices) {
  up();
  auto n1 = overlay_address("n1"), n2 = overlay_address("n2"), n3 = std::string();
  begin_traffic(6);
  auto started = Clock::now();
  cluster.add_node("n3");
  ASSERT_TRUE(eventually([&] { return !(n3 = overlay_address("n3")).empty(); })) << cluster.log("n3");
  auto known = Clock::now();
  EXPECT_TRUE(eventually([&] { return reaches("n3", n1) && reaches("n1", n3) && reaches("n2", n3); }))
      << cluster.log("n3");
  EXPECT_LE(seconds_since(known), 2.0) << seconds_since(started) << " s after its start";
  RecordProperty("seconds_from_start_to_usable", std::to_string(seconds_since(started)));

  cluster.stop_agent("n3", SIGKILL);
  std::string out;
  ASSERT_EQ(cluster.trama("delete node n3", &out), 0) << out;
  auto gone = [&] { return cluster.on_node("n1", "ip route show " + n3 + "/24 | grep -q .", &out) != 0; };
  EXPECT_TRUE(eventually(gone, 2000)) << out;
  EXPECT_TRUE(traffic_goes_on()) << "it saw all of that";
  expect_nothing_lost();
}

TEST_F(OverlayTraffic, KilledAgentsAndAStandingControllerLoseNothing) {
  up();
  begin_traffic(8);
  for (auto node : {"n1", "n2"}) {
    cluster.stop_agent(node, SIGKILL);
    cluster.start_agent(node);
    EXPECT_TRUE(eventually([&] { return cluster.metric(node, "trama_agent_ready") == 1; }, 10000)) << cluster.log(node);
  }
  cluster.stop_controller(SIGKILL);
  for (auto node : {"n2", "n1"}) {
    cluster.stop_agent(node, SIGKILL);
    cluster.start_agent(node);
    auto stands = [&] { return cluster.metric(node, "trama_room_passes_total{room=\"overlay\"}") > 0; };
    EXPECT_TRUE(eventually(stands, 10000)) << cluster.log(node);
  }
  EXPECT_TRUE(traffic_goes_on()) << "it saw all of that";
  expect_nothing_lost();
  // The control: the same traffic sees what is really lost.
  std::string out;
  auto few = beside(fmt::format("ping -q -i 0.001 -W 1 -c 500 {}", server));
  ASSERT_EQ(cluster.on_node("n2",
                            "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority "
                            "-400; }; add rule inet test in udp dport 6784 limit rate 400/second drop'",
                            &out),
            0)
      << out;
  EXPECT_THAT(few.get().output, ::testing::Not(HasSubstr(", 0% packet loss")));
  cluster.on_node("n2", "nft delete table inet test");
}

}  // namespace
}  // namespace trama::test
