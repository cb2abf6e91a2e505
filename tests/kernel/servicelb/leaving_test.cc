// SPDX-License-Identifier: GPL-2.0-or-later
// What becomes of flows to endpoints that go.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using std::chrono::hours;
using std::chrono::seconds;
using test::at;
using test::Traffic;
using test::web;
using test::who;
using test::with;
using ::testing::AnyOf;

class Leaving : public Traffic {
 protected:
  static Service draining(std::vector<int> pods, std::optional<seconds> drain = seconds(30)) {
    auto s = web(std::move(pods));
    s.drain = drain;
    return s;
  }
  // One connection of every kind, all to pod 1.
  void connect(Protocol p = Protocol::tcp) {
    flows.clear();
    auto open = [&](const test::PrivateNetns& from, const base::IpPort& to) {
      flows.push_back(p == Protocol::tcp ? lab.connection(from, to) : lab.udp_socket(from, to));
    };
    open(lab.pod(3), at("10.96.0.10", 80));
    open(lab.pod(3), at("fd00:96::10", 80));
    open(lab.outside(), at("192.168.50.1", 30080));
    open(lab.node(), at("10.96.0.10", 80));
    expect("pod-1", "at first");
  }
  void expect(const std::string& answer, const char* when) {
    for (std::size_t i = 0; i < flows.size(); ++i)
      EXPECT_EQ(who(lab.ask_again(flows[i].get(), 2000)), answer) << when << ", flow " << i;
  }
  std::vector<base::UniqueFd> flows;
  static constexpr const char* kReset = "Connection reset by peer";
};

TEST_F(Leaving, AConnectionIsResetAfterTheBoundAndNotBefore) {
  tell({draining({1})});
  connect();
  tell({draining({2})});
  expect("pod-1", "when its endpoint goes");
  forward(seconds(29));
  expect("pod-1", "before the bound");
  EXPECT_EQ(who(ask(lab.pod(3), Protocol::tcp, at("10.96.0.10", 80))), "pod-2") << "new ones go elsewhere";
  forward(seconds(2));
  expect(kReset, "after the bound");
}

TEST_F(Leaving, WithoutABoundAConnectionStays) {
  tell({draining({1}, {})});
  connect();
  tell({draining({2}, {})});
  forward(hours(24));
  expect("pod-1", "a day later");
  EXPECT_EQ(who(ask(lab.pod(3), Protocol::tcp, at("10.96.0.10", 80))), "pod-2");
}

TEST_F(Leaving, ABoundOfNothingResetsAtOnce) {
  tell({draining({1}, seconds(0))});
  connect();
  tell({draining({2}, seconds(0))});
  expect(kReset, "at once");
}

TEST_F(Leaving, AnEndpointThatComesBackKeepsItsConnections) {
  tell({draining({1, 2})});
  std::vector<base::UniqueFd> kept;
  while (kept.size() < 3) {
    auto c = lab.connection(lab.pod(3), at("10.96.0.10", 80));
    if (who(lab.ask_again(c.get())) == "pod-1") kept.push_back(std::move(c));
  }
  tell({draining({2})});
  forward(seconds(20));
  tell({draining({1, 2})});
  forward(seconds(100));
  for (auto& c : kept) EXPECT_EQ(who(lab.ask_again(c.get())), "pod-1");
  // gone again: the time starts anew
  tell({draining({2})});
  forward(seconds(20));
  for (auto& c : kept) EXPECT_EQ(who(lab.ask_again(c.get())), "pod-1");
  forward(seconds(20));
  for (auto& c : kept) EXPECT_EQ(lab.ask_again(c.get(), 2000), kReset);
}

TEST_F(Leaving, OthersConnectionsAreNotTouched) {
  tell({draining({1, 2, 3})});
  std::map<std::string, base::UniqueFd> by_pod;
  while (by_pod.size() < 3) {
    auto c = lab.connection(lab.outside(), at("192.168.50.1", 30080));
    by_pod[who(lab.ask_again(c.get()))] = std::move(c);
  }
  tell({draining({1, 3})});
  forward(seconds(31));
  EXPECT_EQ(lab.ask_again(by_pod["pod-2"].get(), 2000), kReset);
  for (const char* pod : {"pod-1", "pod-3"}) EXPECT_EQ(who(lab.ask_again(by_pod[pod].get())), pod);
}

// Affinity, counters and Maglev change the id that flows are marked with; their endpoint has not gone.
TEST_F(Leaving, AChangeOfAnythingElseLeavesFlowsAlone) {
  const std::vector<std::function<void(Service&)>> changes = {
      [](Service& s) { s.counters = true; },
      [](Service& s) { s.affinity = seconds(60); },
      [](Service& s) { s.algorithm = Algorithm::maglev; },
      [](Service& s) { s.internal = s.external = Policy::local; },
  };
  for (Protocol p : {Protocol::tcp, Protocol::udp})
    for (auto drain : {std::optional(seconds(30)), std::optional<seconds>()})
      for (std::size_t i = 0; i < changes.size(); ++i) {
        SCOPED_TRACE(fmt::format("{} {} {}", to_string(p), drain ? "bound" : "no bound", i));
        auto with_change = [&](std::vector<int> pods) {
          auto s = draining(std::move(pods), drain);
          changes[i](s);
          return s;
        };
        tell({draining({1}, drain)});
        connect(p);
        tell({with_change({1, 2})});
        forward(seconds(31));
        expect("pod-1", "after the change");
        // and when the endpoint goes in the end, they go
        tell({with_change({2})});
        forward(seconds(31));
        expect(p == Protocol::udp ? "pod-2" : drain ? kReset : "pod-1", "after its endpoint has gone");
        flows.clear();
      }
}

TEST_F(Leaving, AServiceThatGoesTakesItsConnectionsAlong) {
  tell({draining({1})});
  connect();
  PassInput in;
  in.changes.push_back({{"default", "web"}, std::nullopt});
  pass(std::move(in));
  forward(seconds(29));
  expect("pod-1", "before the bound");
  forward(seconds(2));
  for (auto& f : flows)
    EXPECT_THAT(lab.ask_again(f.get(), 500), ::testing::Not(::testing::StartsWith("pod"))) << "nobody answers any more";
}

TEST_F(Leaving, TheBoundIsKeptOverARestart) {
  tell({draining({1})});
  connect();
  tell({draining({2})});
  restart({draining({2})});
  expect("pod-1", "after the restart");
  forward(seconds(31));  // from the restart on: nobody knows when the endpoint went
  expect(kReset, "after the bound");
}

TEST_F(Leaving, DatagramsMoveAtOnceOrAfterTheBound) {
  tell({draining({1}, {})});
  connect(Protocol::udp);
  tell({draining({2}, {})});
  expect("pod-2", "at once");
  tell({draining({1}, {})});
  expect("pod-1", "at once, back");
  tell({draining({1})});
  tell({draining({2})});
  expect("pod-1", "draining");
  forward(seconds(31));
  expect("pod-2", "after the bound");
}

// As kube-proxy has it: who still serves keeps the flows it has.
TEST_F(Leaving, DatagramsStayWithAServingEndpointThatGetsNothingNew) {
  auto retired = [&](auto change, std::optional<seconds> drain = {}) {
    return with(draining({1, 2}, drain), [&](Endpoint& e) {
      if (e.pod == "default/pod-1") change(e);
    });
  };
  auto terminating = [](Endpoint& e) { e.ready = false, e.terminating = true; };
  for (const Service& next : {retired([](Endpoint& e) { e.weight = 0; }), retired(terminating),
                              retired([](Endpoint& e) { e.weight = 0; }, seconds(30))}) {
    tell({draining({1}, {})});
    connect(Protocol::udp);
    tell({next});
    forward(seconds(31));
    expect("pod-1", "while it serves");
    EXPECT_EQ(answers(lab.pod(3), Protocol::udp, at("10.96.0.10", 80), 20),
              (std::map<std::string, int>{{"pod-2", 20}}));
    tell({retired([](Endpoint& e) { e.ready = e.serving = false, e.terminating = true; })});
    expect("pod-2", "when it serves no longer");
  }
  tell({draining({1}, {})});
  connect(Protocol::udp);
  tell({retired(terminating, seconds(30))});
  expect("pod-1", "before the bound");
  forward(seconds(31));
  expect("pod-2", "a terminating one after the bound");
}

}  // namespace
}  // namespace trama::servicelb
