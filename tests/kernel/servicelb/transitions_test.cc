// SPDX-License-Identifier: GPL-2.0-or-later
// A service becomes another one while new connections pour in: none of them fails.
#include <atomic>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using std::chrono::milliseconds;
using std::chrono::seconds;
using test::at;
using test::ServiceLab;
using test::Traffic;
using test::web;
using test::with;

// New connections and flows, one after the other, from one namespace to one place.
class Flood {
 public:
  Flood(const test::PrivateNetns& from, Protocol protocol, base::IpPort to) {
    thread_ = std::thread([this, &from, protocol, to] {
      from.run([&] {
        while (!stop_) {
          // less than the second after which a lost packet would be sent again
          auto answer = ServiceLab::ask_here(protocol, to, 900);
          if (answer.starts_with("pod-"))
            ++good_;
          else
            bad_.push_back(fmt::format("{} {}: {}", to.to_string(), to_string(protocol), answer));
        }
      });
    });
  }
  ~Flood() { stop(); }
  void stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  int good() const { return good_; }
  const std::vector<std::string>& bad() const { return bad_; }  // after stop()

 private:
  std::atomic<bool> stop_{false};
  std::atomic<int> good_{0};
  std::vector<std::string> bad_;
  std::thread thread_;
};

struct Transition {
  const char* name;
  std::vector<std::function<void(Service&)>> states;  // gone through in a circle
  int fewest_rounds = 10;
  // Datagrams that an endpoint has answered while it is taken away are lost with their flow.
  bool endpoints_go = false;
};

std::vector<Transition> transitions() {
  auto weights = [](std::uint32_t a, std::uint32_t b, std::uint32_t c) {
    return [=](Service& s) {
      s = with(s, [&](Endpoint& e) { e.weight = e.pod.back() == '1' ? a : e.pod.back() == '2' ? b : c; });
    };
  };
  auto algorithm = [](Algorithm a) { return [a](Service& s) { s.algorithm = a; }; };
  auto ranges = [](std::initializer_list<const char*> list) {
    std::vector<Cidr> all;
    for (const char* r : list) all.push_back(*Cidr::parse(r));
    return [all](Service& s) { s.source_ranges = all; };
  };
  auto plain = [](Service&) {};
  return {
      {"external_policy", {plain, [](Service& s) { s.external = Policy::local; }}},
      {"internal_policy", {plain, [](Service& s) { s.internal = Policy::local; }}},
      {"affinity", {plain, [](Service& s) { s.affinity = seconds(60); }}},
      {"affinity_timeout",
       {[](Service& s) { s.affinity = seconds(60); }, [](Service& s) { s.affinity = seconds(90); }}},
      {"algorithm",
       {algorithm(Algorithm::random), algorithm(Algorithm::round_robin), algorithm(Algorithm::source_hash),
        algorithm(Algorithm::maglev), algorithm(Algorithm::round_robin)},
       3},
      {"weights", {weights(1, 1, 1), weights(5, 1, 2), weights(0, 1, 7), weights(3, 0, 0), weights(2, 2, 2)}},
      {"counters", {plain, [](Service& s) { s.counters = true; }}},
      {"source_ranges",
       {plain, ranges({"10.244.0.0/16", "192.168.50.0/24"}), ranges({"10.244.2.0/24", "192.168.0.0/16"}),
        ranges({"10.0.0.0/8", "192.168.50.2/32", "fd00::/16"})}},
      {"affinity_and_endpoints",
       {[](Service& s) {
          s = web({1, 2, 3}), s.affinity = seconds(60);
        },
        [](Service& s) {
          s = web({2, 3}), s.affinity = seconds(60);
        },
        [](Service& s) { s = web({1}), s.affinity = seconds(60); }},
       10,
       true},
      {"everything",
       {plain,
        [](Service& s) {
          s.external = Policy::local, s.affinity = seconds(60);
          s.source_ranges = {*Cidr::parse("0.0.0.0/0"), *Cidr::parse("::/0")};
        },
        [](Service& s) { s.algorithm = Algorithm::maglev, s.counters = true; }},
       3},
  };
}

class Transitions : public Traffic, public ::testing::WithParamInterface<Transition> {};

TEST_P(Transitions, LoseNoConnection) {
  std::vector<Service> states;
  for (const auto& change : GetParam().states) {
    Service s = web({1, 2, 3});
    change(s);
    s.external_ips = {{*Ip::parse("203.0.113.11"), true}};
    states.push_back(std::move(s));
  }
  tell({states[0]});
  std::vector<std::unique_ptr<Flood>> floods;
  auto flood = [&](const test::PrivateNetns& from, Protocol p, const base::IpPort& to) {
    floods.push_back(std::make_unique<Flood>(from, p, to));
  };
  flood(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80));
  flood(lab.pod(2), Protocol::tcp, at("203.0.113.11", 80));
  flood(lab.outside(), Protocol::tcp, at("203.0.113.11", 80));
  flood(lab.outside(), Protocol::tcp, at("192.168.50.1", 30080));
  flood(lab.pod(2), Protocol::tcp, at("fd00:96::10", 80));
  flood(lab.outside(), Protocol::tcp, at("fd00:50::1", 30080));
  if (!GetParam().endpoints_go) {
    flood(lab.pod(2), Protocol::udp, at("10.96.0.10", 80));
    flood(lab.outside(), Protocol::udp, at("fd00:50::1", 30080));
  }
  int rounds = 0;
  auto end = Clock::now() + milliseconds(2000);
  while (Clock::now() < end) {
    for (const auto& s : states) {
      PassInput in;
      in.changes.push_back({s.key, s});
      auto out = engine->pass(std::move(in), Clock::now());
      ASSERT_TRUE(out.committed);
      ASSERT_THAT(out.failures, ::testing::IsEmpty());
    }
    ++rounds;
  }
  int good = 0;
  for (auto& f : floods) {
    f->stop();
    good += f->good();
  }
  for (auto& f : floods) EXPECT_THAT(f->bad(), ::testing::IsEmpty());
  EXPECT_GE(rounds, GetParam().fewest_rounds);
  EXPECT_GT(good, 400);
  std::printf("%s: %d rounds, %d connections\n", GetParam().name, rounds, good);
}

INSTANTIATE_TEST_SUITE_P(All, Transitions, ::testing::ValuesIn(transitions()),
                         [](const auto& i) { return std::string(i.param.name); });

TEST_F(Traffic, AFloodSeesALostPacket) {  // or the test above would say nothing
  tell({web({1})});
  Flood flood(lab.pod(2), Protocol::tcp, at("10.96.0.10", 80));
  ASSERT_TRUE(test::eventually([&] { return flood.good() > 100; }));
  tell({web({})});
  tell({web({1})});
  int good = flood.good();
  ASSERT_TRUE(test::eventually([&] { return flood.good() > good + 100; }));
  flood.stop();
  EXPECT_FALSE(flood.bad().empty());
}

}  // namespace
}  // namespace trama::servicelb
