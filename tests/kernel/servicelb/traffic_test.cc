// SPDX-License-Identifier: GPL-2.0-or-later
// Real connections through real rules.
#include <algorithm>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "servicelb/kernel_linux.h"
#include "tests/kernel/servicelb/lab.h"

namespace trama::servicelb {
namespace {
using test::PrivateNetns;
using test::ServiceLab;
using ::testing::HasSubstr;
using ::testing::StartsWith;

base::IpPort at(const char* ip, std::uint16_t port) { return {*Ip::parse(ip), port}; }

Service web(std::vector<int> pods, bool v6 = true) {
  Service s;
  s.key = {"default", "web"};
  s.cluster_ips = {*Ip::parse("10.96.0.10")};
  if (v6) s.cluster_ips.push_back(*Ip::parse("fd00:96::10"));
  for (Protocol p : {Protocol::tcp, Protocol::udp}) {
    ServicePort port;
    port.name = p == Protocol::tcp ? "http" : "dns";
    port.protocol = p, port.port = 80, port.node_port = 30080;
    for (int pod : pods) {
      port.endpoints.push_back(ServiceLab::endpoint(pod));
      if (v6) port.endpoints.push_back(ServiceLab::endpoint(pod, true));
    }
    s.ports.push_back(port);
  }
  return s;
}

class Traffic : public ::testing::Test {
 protected:
  Traffic() : lab(3) {
    lab.node().run([&] {
      auto s = nft::Session::open();
      if (!s) throw std::runtime_error(s.error().to_string());
      session = std::make_unique<nft::Session>(std::move(*s));
      auto k = LinuxKernel::open(*session);
      if (!k) throw std::runtime_error(k.error().to_string());
      kernel = std::move(*k);
    });
    engine = std::make_unique<Engine>(*kernel);
  }
  // Netlink sockets stay in their namespace: the engine may run on this thread.
  PassOutcome tell(std::vector<Service> services, bool look = false) {
    PassInput in;
    for (auto& s : services) in.changes.push_back({s.key, s});
    in.node = lab.facts();
    in.look = look;
    auto out = engine->pass(std::move(in), Clock::now());
    // conntrack is asked in rations: the reconciler would come back by itself
    EXPECT_TRUE(test::eventually([&] { return !out.retry || !engine->pass({}, Clock::now()).retry; }));
    EXPECT_TRUE(out.committed) << ::testing::PrintToString(out.failures);
    EXPECT_THAT(out.failures, ::testing::IsEmpty());
    return out;
  }
  std::string listing() {
    std::string text;
    EXPECT_EQ(lab.node().shell("nft list ruleset", &text), 0);
    return text;
  }
  ServiceLab lab;
  std::unique_ptr<nft::Session> session;
  std::unique_ptr<LinuxKernel> kernel;
  std::unique_ptr<Engine> engine;
};

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

// Pearson's statistic of equally likely outcomes.
double chi_squared(const std::map<std::string, int>& counts, int outcomes) {
  int total = 0;
  for (const auto& [name, n] : counts) total += n;
  double expected = static_cast<double>(total) / outcomes, sum = 0;
  for (const auto& [name, n] : counts) sum += (n - expected) * (n - expected) / expected;
  return sum + expected * (outcomes - static_cast<int>(counts.size()));
}

TEST_F(Traffic, EveryEndpointIsPickedEquallyOften) {
  constexpr int kPicks = 10'000;
  constexpr double kCritical = 13.816;  // chi squared, 2 degrees of freedom, p = 0.001
  EXPECT_GT(chi_squared({{"a", 3200}, {"b", 3400}, {"c", 3600}}, 3), kCritical) << "the test can tell a skew of 4 %";
  tell({web({1, 2, 3})});
  std::map<std::string, int> counts;
  lab.outside().run([&] {
    for (int i = 0; i < kPicks; ++i) {
      base::UniqueFd fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      sockaddr_in to{};
      to.sin_family = AF_INET, to.sin_port = htons(80), to.sin_addr.s_addr = inet_addr("10.96.0.10");
      timeval patience{2, 0};
      setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
      ASSERT_EQ(connect(fd.get(), reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
      ASSERT_EQ(send(fd.get(), "?", 1, 0), 1);
      char text[64];
      auto n = recv(fd.get(), text, sizeof text, 0);
      ASSERT_GT(n, 5);
      ++counts[std::string(text, 5)];
    }
  });
  EXPECT_EQ(counts.size(), 3u);
  EXPECT_LT(chi_squared(counts, 3), kCritical) << ::testing::PrintToString(counts);
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
