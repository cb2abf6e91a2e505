// SPDX-License-Identifier: GPL-2.0-or-later
// Which endpoints: traffic policies, terminating endpoints, topology hints. Pods 1 and 2 are on the node, 3 is not.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using test::at;
using test::Traffic;
using test::web;
using test::with;
using ::testing::ElementsAre;
using ::testing::Key;

constexpr int kSoon = 250;  // how long a test waits for an answer that must not come
constexpr int kTimes = 60;  // one of three endpoints is missed by chance once in 10^10
constexpr std::array kBoth = {Protocol::tcp, Protocol::udp};

Service balanced(std::vector<int> pods) {
  auto s = web(std::move(pods));
  s.external_ips = {
      {*Ip::parse("203.0.113.11"), true}, {*Ip::parse("2001:db8:1::11"), true}, {*Ip::parse("203.0.113.10"), false}};
  return s;
}
// How a client from outside reaches the node.
const std::vector<base::IpPort> kOuter = {at("203.0.113.11", 80), at("203.0.113.10", 80), at("2001:db8:1::11", 80),
                                          at("192.168.50.1", 30080), at("fd00:50::1", 30080)};

TEST_F(Traffic, ExternalPolicyLocal) {
  auto s = balanced({1, 2, 3});
  tell({s});
  for (const auto& to : kOuter)
    EXPECT_THAT(answers(lab.outside(), Protocol::udp, to, kTimes),
                ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")))
        << "policy Cluster";
  s.external = Policy::local;
  tell({s});
  for (Protocol p : kBoth)
    for (const auto& to : kOuter) {
      SCOPED_TRACE(fmt::format("{} {}", to.to_string(), to_string(p)));
      EXPECT_THAT(answers(lab.outside(), p, to, kTimes), ElementsAre(Key("pod-1"), Key("pod-2")));
      EXPECT_THAT(answers(lab.pod(2), p, to, kTimes), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")));
      EXPECT_THAT(answers(lab.node(), p, to, kTimes), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")));
    }
  EXPECT_THAT(answers(lab.outside(), Protocol::tcp, at("10.96.0.10", 80), kTimes),
              ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")))
      << "ClusterIPs have the internal policy";
}

TEST_F(Traffic, ExternalPolicyLocalKeepsTheClientsAddress) {
  auto s = balanced({1});
  for (bool local : {false, true}) {
    s.external = local ? Policy::local : Policy::cluster;
    tell({s});
    for (Protocol p : kBoth)
      for (const auto& to : kOuter) {
        SCOPED_TRACE(fmt::format("{} {}", to.to_string(), to_string(p)));
        bool v4 = to.ip.is_v4();
        std::string node = v4 ? "pod-1 10.244.1.1" : "pod-1 fd00:244:1::1";
        EXPECT_EQ(ask(lab.outside(), p, to), !local ? node : v4 ? "pod-1 192.168.50.2" : "pod-1 fd00:50::2");
        EXPECT_EQ(ask(lab.pod(2), p, to), !local ? node : v4 ? "pod-1 10.244.2.2" : "pod-1 fd00:244:2::2");
        EXPECT_EQ(ask(lab.pod(1), p, to), node) << "a pod that drew itself";
        EXPECT_EQ(ask(lab.node(), p, to), node);
      }
  }
}

TEST_F(Traffic, ExternalPolicyLocalDropsWithoutLocalEndpointsAndRefusesWithoutAny) {
  auto s = balanced({3});
  s.external = Policy::local;
  tell({s});
  for (Protocol p : kBoth)
    for (const auto& to : kOuter) {
      SCOPED_TRACE(fmt::format("{} {}", to.to_string(), to_string(p)));
      EXPECT_EQ(ask(lab.outside(), p, to, kSoon), "timeout");
      EXPECT_EQ(test::who(ask(lab.pod(2), p, to)), "pod-3");
      EXPECT_EQ(test::who(ask(lab.node(), p, to)), "pod-3");
    }
  s = balanced({});
  s.external = Policy::local;
  tell({s});
  for (const auto& to : kOuter)
    for (auto* from : {&lab.outside(), &lab.pod(2), &lab.node()}) EXPECT_EQ(ask(*from, Protocol::tcp, to), "refused");
}

TEST_F(Traffic, InternalPolicyLocal) {
  const std::vector<base::IpPort> inner = {at("10.96.0.10", 80), at("fd00:96::10", 80)};
  auto s = balanced({1, 2, 3});
  tell({s});
  for (const auto& to : inner)
    EXPECT_THAT(answers(lab.pod(2), Protocol::udp, to, kTimes), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")));
  s.internal = Policy::local;
  tell({s});
  for (Protocol p : kBoth)
    for (const auto& to : inner)
      for (auto* from : {&lab.pod(2), &lab.node(), &lab.outside()})
        EXPECT_THAT(answers(*from, p, to, kTimes), ElementsAre(Key("pod-1"), Key("pod-2"))) << to.to_string();
  EXPECT_THAT(ask(lab.pod(3), Protocol::tcp, at("10.96.0.10", 80)), ::testing::EndsWith(" 10.244.3.2"))
      << "pods keep their address";
  EXPECT_THAT(answers(lab.outside(), Protocol::tcp, at("192.168.50.1", 30080), kTimes),
              ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")))
      << "node ports have the external policy";
  s = balanced({3});
  s.internal = Policy::local;
  tell({s});
  for (const auto& to : inner) EXPECT_EQ(ask(lab.pod(2), Protocol::tcp, to, kSoon), "timeout");
  EXPECT_EQ(test::who(ask(lab.outside(), Protocol::tcp, at("192.168.50.1", 30080))), "pod-3");
  s = balanced({});
  s.internal = Policy::local;
  tell({s});
  for (const auto& to : inner) EXPECT_EQ(ask(lab.pod(2), Protocol::tcp, to), "refused");
}

TEST_F(Traffic, SourceRangesAndPolicyLocalTogether) {
  auto s = balanced({1, 3});
  s.external = Policy::local;
  s.source_ranges = {*Cidr::parse("198.51.100.0/24"), *Cidr::parse("10.244.0.0/16")};
  tell({s});
  const Ip client = *Ip::parse("198.51.100.9");
  EXPECT_EQ(lab.ask(lab.outside(), Protocol::tcp, at("203.0.113.11", 80), 1000, client), "pod-1 198.51.100.9");
  EXPECT_EQ(ask(lab.outside(), Protocol::tcp, at("203.0.113.11", 80), kSoon), "timeout");
  EXPECT_THAT(answers(lab.pod(2), Protocol::udp, at("203.0.113.11", 80), kTimes),
              ElementsAre(Key("pod-1"), Key("pod-3")));
  EXPECT_EQ(ask(lab.outside(), Protocol::tcp, at("203.0.113.10", 80)), "pod-1 192.168.50.2") << "no load balancer's";
}

TEST_F(Traffic, TerminatingEndpointsServeWhenNothingElseDoes) {
  auto terminating = [](std::string pod, bool serving) {
    return [pod, serving](Endpoint& e) {
      if (e.pod == pod) e.ready = false, e.serving = serving, e.terminating = true;
    };
  };
  const auto vip = at("10.96.0.10", 80), vip6 = at("fd00:96::10", 80);
  tell({with(web({1, 2}), terminating("default/pod-2", true))});
  EXPECT_THAT(answers(lab.pod(3), Protocol::tcp, vip, kTimes), ElementsAre(Key("pod-1")));
  EXPECT_THAT(answers(lab.pod(3), Protocol::udp, vip6, kTimes), ElementsAre(Key("pod-1")));
  tell({with(web({2}), terminating("default/pod-2", true))});
  EXPECT_THAT(answers(lab.pod(3), Protocol::tcp, vip, kTimes), ElementsAre(Key("pod-2")));
  EXPECT_THAT(answers(lab.pod(3), Protocol::udp, vip6, kTimes), ElementsAre(Key("pod-2")));
  tell({with(web({2}), terminating("default/pod-2", false))});
  EXPECT_EQ(ask(lab.pod(3), Protocol::tcp, vip), "refused");
  // each policy for itself: the only local endpoint terminates, and still has the outside's clients
  auto s = with(web({1, 3}), terminating("default/pod-1", true));
  s.external = Policy::local;
  tell({s});
  EXPECT_THAT(answers(lab.outside(), Protocol::tcp, at("192.168.50.1", 30080), kTimes), ElementsAre(Key("pod-1")));
  EXPECT_THAT(answers(lab.pod(2), Protocol::tcp, vip, kTimes), ElementsAre(Key("pod-3")));
}

TEST_F(Traffic, HintsKeepConnectionsNear) {
  auto hinted = [](std::vector<std::string> Endpoint::*list, std::vector<std::string> by_pod) {
    return with(web({1, 2, 3}), [&](Endpoint& e) {
      auto& hint = by_pod.at(static_cast<std::size_t>(e.pod.back() - '1'));
      if (!hint.empty()) e.*list = {hint};
    });
  };
  auto reached = [&](Protocol p, const char* vip) { return answers(lab.pod(2), p, at(vip, 80), kTimes); };
  tell({hinted(&Endpoint::zones, {"z2", "z1", "z1"})});
  EXPECT_THAT(reached(Protocol::tcp, "10.96.0.10"), ElementsAre(Key("pod-2"), Key("pod-3")));
  EXPECT_THAT(reached(Protocol::udp, "fd00:96::10"), ElementsAre(Key("pod-2"), Key("pod-3")));
  tell({hinted(&Endpoint::zones, {"z2", "z1", ""})});
  EXPECT_THAT(reached(Protocol::tcp, "10.96.0.10"), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")))
      << "one has no hint";
  tell({hinted(&Endpoint::zones, {"z2", "z3", "z2"})});
  EXPECT_THAT(reached(Protocol::tcp, "10.96.0.10"), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")))
      << "none is for here";
  tell({hinted(&Endpoint::nodes, {"there", "there", "here"})});
  EXPECT_THAT(reached(Protocol::tcp, "10.96.0.10"), ElementsAre(Key("pod-3")));
  // the node's zone changes: the same hints mean others
  tell({hinted(&Endpoint::zones, {"z2", "z1", "z1"})});
  auto facts = lab.facts();
  facts.zone = "z2";
  tell({}, facts);
  EXPECT_THAT(reached(Protocol::tcp, "10.96.0.10"), ElementsAre(Key("pod-1")));
}

}  // namespace
}  // namespace trama::servicelb
