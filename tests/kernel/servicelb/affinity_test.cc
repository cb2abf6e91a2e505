// SPDX-License-Identifier: GPL-2.0-or-later
// A client keeps its endpoint.
#include <set>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "servicelb/ruleset.h"
#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using test::at;
using test::Traffic;
using test::web;
using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::SizeIs;
using ::testing::StartsWith;

const base::IpPort kVip = at("10.96.0.10", 80), kVip6 = at("fd00:96::10", 80);

class Affinity : public Traffic {
 protected:
  static Service sticky(std::vector<int> pods, std::chrono::seconds timeout = std::chrono::seconds(10800)) {
    auto s = web(std::move(pods));
    s.affinity = timeout;
    return s;
  }
  static std::vector<int> all_but(const std::string& pod) {
    std::vector<int> out;
    for (int i : {1, 2, 3})
      if (pod != "pod-" + std::to_string(i)) out.push_back(i);
    return out;
  }
  // The pod of the client at 198.51.100.<n>, or 2001:db8:7::<n>.
  std::string pod_of(int n, const base::IpPort& to = kVip, Protocol p = Protocol::tcp) {
    auto source = *Ip::parse(to.ip.is_v4() ? fmt::format("198.51.100.{}", n) : fmt::format("2001:db8:7::{}", n));
    return test::who(lab.ask(lab.outside(), p, to, 2000, source));
  }
  std::vector<std::string> pods_of(int clients, const base::IpPort& to = kVip) {
    std::vector<std::string> out;
    for (int i = 1; i <= clients; ++i) out.push_back(pod_of(i, to));
    return out;
  }
  bool nobody_remembered() {
    return listing("map ip trama affinity").find("elements") == std::string::npos &&
           listing("map ip6 trama affinity").find("elements") == std::string::npos;
  }
};

TEST_F(Affinity, ManyConnectionsOneEndpointOnEveryPort) {
  auto s = web({1, 2, 3});
  s.ports.push_back(s.ports[0]);
  s.ports[2].name = "other", s.ports[2].port = 81, s.ports[2].node_port = 30081;
  tell({s});
  EXPECT_THAT(answers(lab.pod(2), Protocol::tcp, kVip, 40), SizeIs(3)) << "without affinity";
  s.affinity = std::chrono::hours(3);
  tell({s});
  for (bool v6 : {false, true}) {
    SCOPED_TRACE(v6 ? "IPv6" : "IPv4");
    std::string vip = v6 ? "fd00:96::10" : "10.96.0.10";
    auto first = answers(lab.pod(2), Protocol::tcp, at(vip, 80), 40);
    EXPECT_THAT(first, SizeIs(1));
    EXPECT_THAT(first.begin()->first, StartsWith("pod-"));
    EXPECT_EQ(answers(lab.pod(2), Protocol::udp, at(vip, 80), 40), first);
    EXPECT_EQ(answers(lab.pod(2), Protocol::tcp, at(vip, 81), 40), first) << "another port";
    // through a node port it is the same service
    std::string node = v6 ? "fd00:50::1" : "192.168.50.1";
    EXPECT_EQ(answers(lab.pod(2), Protocol::tcp, at(node, 30080), 40), first);
    EXPECT_EQ(answers(lab.pod(2), Protocol::tcp, at(node, 30081), 40), first);
  }
}

TEST_F(Affinity, ClientsAreSpread) {
  tell({sticky({1, 2, 3})});
  for (const auto& to : {kVip, kVip6, at("192.168.50.1", 30080), at("fd00:50::1", 30080)}) {
    SCOPED_TRACE(to.to_string());
    auto pods = pods_of(40, to);
    EXPECT_THAT(std::set<std::string>(pods.begin(), pods.end()), SizeIs(3));
    EXPECT_EQ(pods_of(40, to), pods);
  }
}

TEST_F(Affinity, AClientMovesWhenItsEndpointGoesAndOnlyThen) {
  for (const auto& to : {kVip, kVip6, at("192.168.50.1", 30080)}) {
    SCOPED_TRACE(to.to_string());
    tell({sticky({1, 2, 3})});
    auto first = pod_of(1, to);
    int other = all_but(first)[0];
    tell({sticky(all_but("pod-" + std::to_string(other)))});
    EXPECT_EQ(pod_of(1, to), first) << "another endpoint goes";
    tell({sticky({1, 2, 3})});
    EXPECT_EQ(pod_of(1, to), first) << "and comes back";
    tell({sticky(all_but(first))});
    auto second = pod_of(1, to);
    EXPECT_THAT(second, AnyOf("pod-1", "pod-2", "pod-3"));
    EXPECT_NE(second, first);
    for (int i = 0; i < 30; ++i) ASSERT_EQ(pod_of(1, to, i % 2 ? Protocol::tcp : Protocol::udp), second) << i;
    tell({sticky({1, 2, 3})});
    for (int i = 0; i < 10; ++i) ASSERT_EQ(pod_of(1, to), second) << "its old endpoint is back: " << i;
  }
}

TEST_F(Affinity, SurvivesAnAgentsRestart) {
  tell({sticky({1, 2, 3})});
  auto before = pods_of(20), before6 = pods_of(20, kVip6);
  auto out = restart({sticky({1, 2, 3})});
  EXPECT_EQ(out.operations, 0u);
  EXPECT_EQ(pods_of(20), before);
  EXPECT_EQ(pods_of(20, kVip6), before6);
  // and what changes while no agent runs
  tell({sticky({1, 2})});
  before = pods_of(20);
  restart({sticky({1, 2, 3})});
  EXPECT_EQ(pods_of(20), before);
}

TEST_F(Affinity, ExpiresWhenAClientPauses) {
  tell({sticky({1, 2, 3}, std::chrono::seconds(2))});
  EXPECT_TRUE(nobody_remembered());
  auto before = pods_of(30);
  EXPECT_FALSE(nobody_remembered());
  EXPECT_THAT(listing("map ip trama affinity"), HasSubstr("timeout 2s"));
  ASSERT_TRUE(test::eventually([&] { return nobody_remembered(); }, 10'000));
  EXPECT_NE(pods_of(30), before) << "all thirty by chance: once in 10^14";
}

TEST_F(Affinity, EveryConnectionRemindsOfTheClient) {
  constexpr auto kTimeout = std::chrono::seconds(2);
  tell({sticky({1, 2, 3}, kTimeout)});
  std::set<std::string> pods;
  auto end = Clock::now() + 2 * kTimeout;
  while (Clock::now() < end) {
    pods.insert(pod_of(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  EXPECT_THAT(pods, SizeIs(1));
}

TEST_F(Affinity, ClientsOfOneServiceAreStrangersToAnother) {
  auto other = sticky({1, 2, 3});
  other.key.name = "other", other.cluster_ips = {*Ip::parse("10.96.0.11"), *Ip::parse("fd00:96::11")};
  for (auto& p : other.ports) p.node_port = 0;
  tell({sticky({1, 2, 3}), other});
  EXPECT_NE(pods_of(30), pods_of(30, at("10.96.0.11", 80)));
}

TEST_F(Affinity, WhenNobodyElseCanBeRememberedNewClientsAreStillServed) {
  tell({sticky({1, 2, 3})});
  auto first = pod_of(1);
  const auto& table = table_of(Family::v4);
  const auto& affinity = set_of(Family::v4, Home::affinity);
  nft::Batch fill;
  for (std::uint32_t i = 0; i < affinity.size; ++i) {
    nft::Element e;
    e.key = nft::Value()
                .mark(0xfffff000)
                .ip(Ip::v4(10, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8 & 255),
                           static_cast<std::uint8_t>(i & 255)));
    e.data = nft::Value().host32(1);
    fill.put_element(table, affinity, e);
    if (i % 32'768 == 0 || i + 16 > affinity.size) {
      auto done = session->commit(fill);
      fill = {};
      if (!done) {
        ASSERT_TRUE(done.error().is(std::errc::too_many_files_open_in_system)) << done.error().to_string();
        break;
      }
    }
  }
  EXPECT_EQ(pod_of(1), first) << "who is remembered stays so";
  std::set<std::string> pods;
  for (int i = 0; i < 60; ++i) pods.insert(pod_of(2));
  EXPECT_THAT(pods, SizeIs(3)) << "not remembered";
  for (const auto& pod : pods) EXPECT_THAT(pod, StartsWith("pod-"));
}

}  // namespace
}  // namespace trama::servicelb
