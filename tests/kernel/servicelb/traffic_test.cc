// SPDX-License-Identifier: GPL-2.0-or-later
// Real connections through real rules.
#include "tests/kernel/servicelb/traffic.h"

#include <algorithm>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::servicelb {
namespace {
using test::at;
using test::ServiceLab;
using test::Traffic;
using test::web;
using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST_F(Traffic, ClusterIpAndNodePortFromPodNodeAndOutside) {
  tell({web({1})});
  for (Protocol p : {Protocol::tcp, Protocol::udp}) {
    SCOPED_TRACE(to_string(p));
    // pods keep their address
    EXPECT_EQ(lab.ask(lab.pod(2), p, at("10.96.0.10", 80)), "pod-1 10.244.2.2");
    EXPECT_EQ(lab.ask(lab.pod(2), p, at("fd00:96::10", 80)), "pod-1 fd00:244:2::2");
    // the node and strangers are masqueraded, so that answers come back here
    EXPECT_EQ(lab.ask(lab.node(), p, at("10.96.0.10", 80)), "pod-1 10.244.1.1");
    EXPECT_EQ(lab.ask(lab.node(), p, at("fd00:96::10", 80)), "pod-1 fd00:244:1::1");
    EXPECT_EQ(lab.ask(lab.outside(), p, at("10.96.0.10", 80)), "pod-1 10.244.1.1");
    EXPECT_EQ(lab.ask(lab.outside(), p, at("fd00:96::10", 80)), "pod-1 fd00:244:1::1");
    // node ports: on every address of the node, always masqueraded
    EXPECT_EQ(lab.ask(lab.outside(), p, at("192.168.50.1", 30080)), "pod-1 10.244.1.1");
    EXPECT_EQ(lab.ask(lab.outside(), p, at("fd00:50::1", 30080)), "pod-1 fd00:244:1::1");
    EXPECT_EQ(lab.ask(lab.pod(2), p, at("192.168.50.1", 30080)), "pod-1 10.244.1.1");
    EXPECT_EQ(lab.ask(lab.node(), p, at("192.168.50.1", 30080)), "pod-1 10.244.1.1");
    // a pod that reaches itself does not see its own address
    EXPECT_EQ(lab.ask(lab.pod(1), p, at("10.96.0.10", 80)), "pod-1 10.244.1.1");
    EXPECT_EQ(lab.ask(lab.pod(1), p, at("fd00:96::10", 80)), "pod-1 fd00:244:1::1");
    // loopback is no node port, and says so at once
    EXPECT_EQ(lab.ask(lab.node(), p, at("127.0.0.1", 30080)), "refused");
    EXPECT_EQ(lab.ask(lab.node(), p, at("::1", 30080)), "refused");
  }
  std::string conntrack;
  EXPECT_EQ(lab.node().shell("conntrack -L -p udp 2>/dev/null", &conntrack), 0);
  EXPECT_THAT(conntrack, HasSubstr("mark=8193")) << "service id 2, class 1";
}

TEST_F(Traffic, WithoutRulesNothingAnswers) {
  EXPECT_NE(lab.ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80), 200).substr(0, 3), "pod");
  EXPECT_NE(lab.ask(lab.outside(), Protocol::udp, at("192.168.50.1", 30080), 200).substr(0, 3), "pod");
}

TEST_F(Traffic, NoEndpointsAndUnknownPortsAreRefusedAtOnceOthersDropped) {
  tell({web({})});
  for (Protocol p : {Protocol::tcp, Protocol::udp})
    for (auto* from : {&lab.pod(2), &lab.node(), &lab.outside()}) {
      SCOPED_TRACE(fmt::format("{} {}", to_string(p),
                               from == &lab.node()      ? "node"
                               : from == &lab.outside() ? "outside"
                                                        : "pod"));
      auto started = Clock::now();
      // a sender on the node itself is told by its own system call
      const char* refused = p == Protocol::udp && from == &lab.node() ? "Operation not permitted" : "refused";
      EXPECT_EQ(lab.ask(*from, p, at("10.96.0.10", 80)), refused);
      EXPECT_EQ(lab.ask(*from, p, at("fd00:96::10", 80)), refused);
      EXPECT_EQ(lab.ask(*from, p, at("192.168.50.1", 30080)), refused);
      EXPECT_EQ(lab.ask(*from, p, at("10.96.0.10", 81)), refused) << "unknown port of a ClusterIP";
      EXPECT_LT(Clock::now() - started, std::chrono::milliseconds(500));
    }
  EXPECT_EQ(lab.ask(lab.pod(2), Protocol::tcp, at("10.96.0.99", 80), 200), "timeout") << "nobody's ClusterIP";
  // endpoints come: the same client is served
  tell({web({1})});
  EXPECT_EQ(lab.ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80)), "pod-1 10.244.2.2");
  EXPECT_EQ(lab.ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 81)), "refused");
}

TEST_F(Traffic, EveryEndpointIsPickedEquallyOften) {
  constexpr int kPicks = 10'000;
  constexpr double kCritical = 23.03;  // chi squared, 2 degrees of freedom, p = 10^-5
  const std::map<std::string, double> fair = {{"pod-1", 1}, {"pod-2", 1}, {"pod-3", 1}};
  EXPECT_GT(test::chi_squared({{"pod-1", 3200}, {"pod-2", 3400}, {"pod-3", 3600}}, fair), kCritical)
      << "the test can tell a skew of 4 %";
  tell({web({1, 2, 3})});
  auto counts = answers(lab.outside(), Protocol::udp, at("10.96.0.10", 80), kPicks);
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_LT(test::chi_squared(counts, fair), kCritical) << ::testing::PrintToString(counts);
}

TEST_F(Traffic, ScalingUnderNewFlowsFailsNone) {
  tell({web({1})});
  std::atomic<bool> stop{false};
  std::atomic<int> good{0};
  std::vector<std::string> bad;
  std::thread client([&] {
    lab.pod(2).run([&] {
      while (!stop) {
        base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        linger now{1, 0};
        setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
        timeval patience{0, 900'000};  // a lost first packet would be sent again after one second
        setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        sockaddr_in to{};
        to.sin_family = AF_INET, to.sin_port = htons(80), to.sin_addr.s_addr = inet_addr("10.96.0.10");
        setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
        char answer[64];  // waited for, or the server's backlog would overflow
        if (connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to) == 0 &&
            recv(fd.get(), answer, sizeof answer, 0) > 0)
          ++good;
        else
          bad.push_back(std::strerror(errno));
      }
    });
  });
  auto end = Clock::now() + std::chrono::milliseconds(2500);
  int rounds = 0;
  while (Clock::now() < end) {
    for (auto pods : {std::vector<int>{1, 2, 3}, {1, 3}, {3}, {2, 3}, {1, 2, 3}, {2}, {1}}) {
      PassInput in;
      in.changes.push_back({{"default", "web"}, web(pods)});
      ASSERT_TRUE(engine->pass(std::move(in), Clock::now()).committed);
    }
    rounds += 7;
  }
  stop = true;
  client.join();
  EXPECT_GT(rounds, 100);
  EXPECT_GT(good, 1000);
  EXPECT_THAT(bad, ::testing::IsEmpty()) << rounds << " changes, " << good << " connections";
}

TEST_F(Traffic, UdpClientsOfAReplacedEndpointMoveToTheNewOne) {
  tell({web({1})});
  auto v4 = lab.udp_socket(lab.pod(3), at("10.96.0.10", 80));
  auto v6 = lab.udp_socket(lab.pod(3), at("fd00:96::10", 80));
  auto node = lab.udp_socket(lab.outside(), at("192.168.50.1", 30080));
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(lab.ask_again(v4.get()), StartsWith("pod-1"));
    EXPECT_THAT(lab.ask_again(v6.get()), StartsWith("pod-1"));
    EXPECT_THAT(lab.ask_again(node.get()), StartsWith("pod-1"));
  }
  tell({web({2})});
  EXPECT_THAT(lab.ask_again(v4.get()), StartsWith("pod-2"));
  EXPECT_THAT(lab.ask_again(v6.get()), StartsWith("pod-2"));
  EXPECT_THAT(lab.ask_again(node.get()), StartsWith("pod-2"));
  // a flow whose endpoint stays is not disturbed by others leaving
  tell({web({2, 3})});
  EXPECT_THAT(lab.ask_again(v4.get()), StartsWith("pod-2"));
  tell({web({})});
  EXPECT_EQ(lab.ask_again(v4.get(), 300), "refused");
}

TEST_F(Traffic, AUdpFlowOlderThanItsNodePortIsFreed) {
  tell({});
  auto early = lab.udp_socket(lab.outside(), at("192.168.50.1", 30080));
  EXPECT_EQ(lab.ask_again(early.get()), "refused");
  tell({web({1})});
  EXPECT_THAT(lab.ask_again(early.get()), StartsWith("pod-1"));
}

TEST_F(Traffic, EstablishedConnectionsSurviveARebuild) {
  tell({web({1})});
  auto flow = lab.udp_socket(lab.pod(3), at("10.96.0.10", 80));
  EXPECT_THAT(lab.ask_again(flow.get()), StartsWith("pod-1"));
  ASSERT_EQ(lab.node().shell("nft delete chain ip trama prerouting"), 0);
  auto out = tell({}, true);
  EXPECT_TRUE(out.healed);
  EXPECT_THAT(lab.ask_again(flow.get()), StartsWith("pod-1"));
  EXPECT_THAT(lab.ask(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80)), StartsWith("pod-1"));
}

}  // namespace
}  // namespace trama::servicelb
