// SPDX-License-Identifier: GPL-2.0-or-later
// How endpoints are chosen: algorithms, weights, slow start; and how choices are counted.
#include <regex>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using std::chrono::seconds;
using test::at;
using test::chi_squared;
using test::Traffic;
using test::web;
using test::with;
using ::testing::ElementsAre;
using ::testing::Key;
using ::testing::SizeIs;

const base::IpPort kVip = at("10.96.0.10", 80), kVip6 = at("fd00:96::10", 80);
constexpr double kCritical = 23.03;  // chi squared, 2 degrees of freedom, p = 10^-5

class Drawing : public Traffic {
 protected:
  static Service drawn(Algorithm a, std::vector<int> pods = {1, 2, 3}) {
    auto s = web(std::move(pods));
    s.algorithm = a;
    return s;
  }
  static Service weighted(std::array<std::uint32_t, 3> weights) {
    return with(web({1, 2, 3}),
                [&](Endpoint& e) { e.weight = weights.at(static_cast<std::size_t>(e.pod.back() - '1')); });
  }
  std::vector<std::string> sequence(const base::IpPort& to, int n, Protocol p = Protocol::udp) {
    std::vector<std::string> out;
    lab.pod(2).run([&] {
      for (int i = 0; i < n; ++i)
        out.push_back(test::who(lab.ask_here(p, to, 2000, {}, p == Protocol::udp ? next_port++ : std::uint16_t{0})));
    });
    return out;
  }
  static bool cyclic(const std::vector<std::string>& s, std::size_t period) {
    for (std::size_t i = period; i < s.size(); ++i)
      if (s[i] != s[i - period]) return false;
    return std::set<std::string>(s.begin(), s.begin() + static_cast<std::ptrdiff_t>(period)).size() == period;
  }
};

TEST_F(Drawing, RoundRobinGoesInTurn) {
  tell({drawn(Algorithm::random)});
  EXPECT_FALSE(cyclic(sequence(kVip, 30), 3)) << "at random it does not";
  tell({drawn(Algorithm::round_robin)});
  for (const auto& to : {kVip, kVip6, at("192.168.50.1", 30080)})
    for (Protocol p : {Protocol::tcp, Protocol::udp}) EXPECT_TRUE(cyclic(sequence(to, 30, p), 3)) << to.to_string();
  // every service has its own turn
  auto other = drawn(Algorithm::round_robin);
  other.key.name = "other", other.cluster_ips = {*Ip::parse("10.96.0.11")};
  for (auto& port : other.ports) port.node_port = 0;
  tell({other});
  std::vector<std::string> here;
  for (int i = 0; i < 12; ++i) {
    here.push_back(sequence(kVip, 1)[0]);
    sequence(at("10.96.0.11", 80), i % 3);
  }
  EXPECT_TRUE(cyclic(here, 3)) << ::testing::PrintToString(here);
  tell({drawn(Algorithm::round_robin, {1, 3})});
  EXPECT_TRUE(cyclic(sequence(kVip, 20), 2));
}

TEST_F(Drawing, SourceHashKeepsAClient) {
  tell({drawn(Algorithm::source_hash)});
  auto pod_of = [&](int n, const base::IpPort& to) {
    auto source = *Ip::parse(to.ip.is_v4() ? fmt::format("198.51.100.{}", n) : fmt::format("2001:db8:7::{}", n));
    auto got = answers(lab.outside(), n % 2 ? Protocol::tcp : Protocol::udp, to, 5, source);
    EXPECT_THAT(got, SizeIs(1)) << "client " << n;
    return got.begin()->first;
  };
  for (const auto& to : {kVip, kVip6}) {
    std::vector<std::string> all;
    for (int n = 1; n <= 40; ++n) all.push_back(pod_of(n, to));
    EXPECT_THAT(std::set<std::string>(all.begin(), all.end()), SizeIs(3)) << to.to_string();
    restart({drawn(Algorithm::source_hash)});
    for (int n = 1; n <= 40; ++n) EXPECT_EQ(pod_of(n, to), all[static_cast<std::size_t>(n - 1)]) << n;
  }
}

TEST_F(Drawing, MaglevSpreadsFlows) {
  tell({drawn(Algorithm::maglev)});
  for (const auto& to : {kVip, kVip6}) {
    auto counts = answers(lab.pod(2), Protocol::udp, to, 3000);
    EXPECT_THAT(counts, ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")));
    for (const auto& [pod, n] : counts) EXPECT_NEAR(n, 1000, 150) << pod;
  }
  // the same flow comes to the same endpoint: one source port, again and again
  auto fixed = lab.udp_socket(lab.pod(2), kVip);
  auto first = test::who(lab.ask_again(fixed.get()));
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(lab.node().shell("conntrack -D -p udp"), 0);
    EXPECT_EQ(test::who(lab.ask_again(fixed.get())), first);
  }
}

TEST_F(Drawing, WeightsAreShares) {
  constexpr int kFlows = 10'000;
  tell({weighted({1, 2, 4})});
  auto counts = answers(lab.pod(2), Protocol::udp, kVip, kFlows);
  EXPECT_LT(chi_squared(counts, {{"pod-1", 1}, {"pod-2", 2}, {"pod-3", 4}}), kCritical)
      << ::testing::PrintToString(counts);
  EXPECT_GT(chi_squared(counts, {{"pod-1", 1.2}, {"pod-2", 2}, {"pod-3", 4}}), kCritical) << "the test sees 20 %";
  counts = answers(lab.pod(2), Protocol::tcp, kVip6, 2000);
  EXPECT_LT(chi_squared(counts, {{"pod-1", 1}, {"pod-2", 2}, {"pod-3", 4}}), kCritical)
      << ::testing::PrintToString(counts);
}

TEST_F(Drawing, WeightsWithEveryAlgorithm) {
  for (Algorithm a : {Algorithm::round_robin, Algorithm::source_hash, Algorithm::maglev}) {
    SCOPED_TRACE(to_string(a));
    auto s = weighted({3, 1, 0});
    s.algorithm = a;
    tell({s});
    std::map<std::string, int> counts;
    for (int n = 1; n <= 250; ++n)
      for (const auto& [pod, k] :
           answers(lab.outside(), Protocol::udp, kVip, 1, *Ip::parse(fmt::format("198.51.100.{}", n))))
        counts[pod] += k;
    EXPECT_THAT(counts, ElementsAre(Key("pod-1"), Key("pod-2")));
    EXPECT_NEAR(counts["pod-1"], 187, a == Algorithm::round_robin ? 1 : 35);
  }
}

TEST_F(Drawing, WeightZeroTakesNoNewConnections) {
  tell({weighted({1, 1, 0})});
  EXPECT_THAT(answers(lab.pod(2), Protocol::tcp, kVip, 100), ElementsAre(Key("pod-1"), Key("pod-2")));
  EXPECT_THAT(answers(lab.pod(2), Protocol::udp, kVip6, 100), ElementsAre(Key("pod-1"), Key("pod-2")));
  tell({weighted({1, 1, 1})});
  EXPECT_THAT(answers(lab.pod(2), Protocol::tcp, kVip, 100), ElementsAre(Key("pod-1"), Key("pod-2"), Key("pod-3")));
  tell({weighted({0, 0, 0})});
  EXPECT_EQ(ask(lab.pod(2), Protocol::tcp, kVip), "refused");
}

TEST_F(Drawing, CountersCountConnections) {
  auto s = web({1, 2, 3});
  // packets of all elements of a map that lead to an endpoint
  auto counted = [&](const std::string& map, int pod, bool v6 = false) {
    std::string text = listing(fmt::format("map {} trama {}", v6 ? "ip6" : "ip", map));
    std::regex line(R"(counter packets (\d+) bytes \d+[^,]*?-> default/pod-(\d))");
    int sum = 0;
    for (std::sregex_iterator it(text.begin(), text.end(), line), end; it != end; ++it)
      if ((*it)[2] == std::to_string(pod)) sum += std::stoi((*it)[1]);
    return sum;
  };
  tell({s});
  answers(lab.pod(2), Protocol::tcp, kVip, 10);
  for (int pod : {1, 2, 3}) EXPECT_EQ(counted("slots", pod), 0) << "nobody asked for counters";
  for (Algorithm a : {Algorithm::random, Algorithm::round_robin}) {
    s.counters = true, s.algorithm = a;
    tell({s});
    std::array<int, 4> before{};
    for (int pod : {1, 2, 3}) before.at(static_cast<std::size_t>(pod)) = counted("counted", pod);
    auto got = answers(lab.pod(2), Protocol::tcp, kVip, 90);
    for (const auto& [pod, n] : answers(lab.pod(3), Protocol::udp, kVip, 60)) got[pod] += n;
    for (int pod : {1, 2, 3})
      EXPECT_EQ(counted("counted", pod) - before.at(static_cast<std::size_t>(pod)), got["pod-" + std::to_string(pod)]);
  }
  auto six = answers(lab.pod(2), Protocol::tcp, kVip6, 50);
  for (int pod : {1, 2, 3}) EXPECT_EQ(counted("counted", pod, true), six["pod-" + std::to_string(pod)]);
  // established connections do not count, however long they talk
  int before = counted("counted", 1) + counted("counted", 2) + counted("counted", 3);
  auto connection = lab.connection(lab.pod(2), kVip);
  for (int i = 0; i < 20; ++i) lab.ask_again(connection.get());
  EXPECT_EQ(counted("counted", 1) + counted("counted", 2) + counted("counted", 3), before + 1);
  // with affinity there is another map
  s.affinity = seconds(60);
  tell({s});
  auto sticky = answers(lab.pod(2), Protocol::tcp, kVip, 10);
  ASSERT_THAT(sticky, SizeIs(1));
  EXPECT_EQ(counted("sticky", sticky.begin()->first.back() - '0'), 10);
}

TEST_F(Drawing, ANewEndpointStartsSlowly) {
  constexpr int kFlows = 3000;
  auto slow = [](std::vector<int> pods) {
    auto s = web(std::move(pods));
    s.slow_start = seconds(100);
    return s;
  };
  auto share = [&](double of_new) {
    auto counts = answers(lab.pod(2), Protocol::udp, kVip, kFlows);
    EXPECT_LT(chi_squared(counts, {{"pod-1", 1}, {"pod-2", 1}, {"pod-3", of_new}}), kCritical)
        << ::testing::PrintToString(counts);
  };
  tell({slow({1, 2})});
  EXPECT_LT(chi_squared(answers(lab.pod(2), Protocol::udp, kVip, kFlows), {{"pod-1", 1}, {"pod-2", 1}}), kCritical)
      << "endpoints that came with the service are not new";
  tell({slow({1, 2, 3})});
  share(0.1);
  forward(seconds(50));
  share(0.5);
  forward(seconds(60));
  share(1);
  // without slow start a new endpoint has its share at once
  tell({web({1, 2})});
  tell({web({1, 2, 3})});
  share(1);
}

}  // namespace
}  // namespace trama::servicelb
