// SPDX-License-Identifier: GPL-2.0-or-later
// Random lives of a node: whatever happens, in whatever order, the rules are those of the services as they are now.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "tests/support/fake_nft.h"
#include "tests/support/nft_machine.h"
#include "tests/support/service_reference.h"

namespace trama::servicelb {
namespace {
using test::FakeNft;
using test::Fate;
using test::NftMachine;
using test::Packet;

using test::ServiceWorld;

Ip pod(int i, bool v6) { return *Ip::parse(v6 ? "fd00:244::" + std::to_string(i) : "10.244.0." + std::to_string(i)); }
Ip vip(int i, bool v6) { return *Ip::parse(v6 ? "fd00:96::" + std::to_string(i) : "10.96.0." + std::to_string(i)); }
Ip outer(int i, bool v6) {
  return *Ip::parse(v6 ? "2001:db8:1::" + std::to_string(i) : "203.0.113." + std::to_string(i));
}

class Life {
 public:
  explicit Life(unsigned seed) : random_(seed), engine_(std::make_unique<Engine>(kernel_)) {
    world_.node.service_cidrs = {*Cidr::parse("10.96.0.0/16"), *Cidr::parse("fd00:96::/112")};
    world_.node.pod_cidrs = {*Cidr::parse("10.244.0.0/16"), *Cidr::parse("fd00:244::/64")};
    world_.node.name = "here", world_.node.zone = "z1";
    world_.node.addresses = {*Ip::parse("192.0.2.1"), *Ip::parse("2001:db8::1")};
    told_node_ = world_.node;
    kernel_.counts_known = seed % 3 != 0;
  }

  void step() {
    std::vector<Change> changes;
    int edits = roll(4);
    for (int i = 0; i < edits; ++i) changes.push_back(edit());
    std::optional<NodeFacts> node = std::exchange(told_node_, std::nullopt);
    if (roll(10) == 0) {
      int i = roll(5) + 1;
      for (bool v6 : {false, true}) {
        auto& pods = world_.node.local_pods;
        auto it = std::find(pods.begin(), pods.end(), pod(i, v6));
        it == pods.end() ? (void)pods.push_back(pod(i, v6)) : (void)pods.erase(it);
      }
      if (roll(2) == 0) {
        const char* ranges[] = {"192.0.2.0/24", "10.9.0.0/16", "2001:db8::/64", "2001:db8:9::1/128"};
        world_.node.nodeport_cidrs.clear();
        for (const char* r : ranges)
          if (roll(3) == 0) world_.node.nodeport_cidrs.push_back(*Cidr::parse(r));
      }
      node = world_.node;
    }
    PassInput in;
    in.look = misfortune();
    in.changes = std::move(changes), in.node = std::move(node);
    now_ += std::chrono::milliseconds(roll(10) == 0 ? 700'000 : 50);
    auto out = engine_->pass(std::move(in), now_);
    kernel_.refuse = {};
    kernel_.lose_answers = false;
    for (int i = 0; i < 20 && (!out.committed || engine_->planner().dirty()); ++i)
      out = engine_->pass({}, now_ += std::chrono::seconds(6));
    ASSERT_TRUE(out.committed) << ::testing::PrintToString(out.failures);
    ASSERT_FALSE(engine_->planner().dirty());
  }

  void check() {
    // 1. What was built change by change is what is built at once.
    FakeNft whole;
    for (Family f : kFamilies) {
      auto batch = engine_->planner().rebuild(f);
      ASSERT_TRUE(whole.commit(batch));
    }
    ASSERT_TRUE(whole.tables == kernel_.tables) << difference(whole);
    // 2. A restarted agent that knows nothing finds nothing to do.
    Engine restarted(kernel_);
    PassInput in;
    for (const auto& [key, s] : world_.services) in.changes.push_back({key, s});
    in.node = world_.node;
    auto commits = kernel_.commits;
    auto out = restarted.pass(std::move(in), now_);
    ASSERT_EQ(kernel_.commits, commits) << ::testing::PrintToString(out.plan);
    if (roll(5) == 0) {  // and it may go on from here
      engine_ = std::make_unique<Engine>(kernel_);
      PassInput again;
      for (const auto& [key, s] : world_.services) again.changes.push_back({key, s});
      again.node = world_.node;
      engine_->pass(std::move(again), now_);
    }
    // 3. Packets go where an independent reading of the services sends them.
    for (int i = 0; i < 8; ++i) {
      ask(packet());
      if (::testing::Test::HasFatalFailure()) return;
    }
  }
  Packet packet() {
    Packet p;
    bool v6 = roll(2) == 0;
    p.protocol = protocol();
    const Ip node = *Ip::parse(v6 ? "2001:db8::1" : "192.0.2.1");
    switch (roll(4)) {
      case 0: p.source = node, p.from_node = true; break;
      case 1: p.source = *Ip::parse(v6 ? "2001:db8:7::7" : "198.51.100.7"); break;
      case 2: p.source = *Ip::parse(v6 ? "2001:db8:8::8" : "198.51.100.99"); break;
      default: p.source = pod(200, v6);
    }
    int to = roll(3);
    p.to_node = to == 0;
    p.destination = to == 0 ? node : to == 1 ? outer(roll(4) + 1, v6) : vip(roll(6) + 1, v6);
    p.port = static_cast<std::uint16_t>(p.to_node ? 30000 + roll(4) : 80 + roll(2));
    return p;
  }
  void ask(const Packet& p) {
    Family f = p.destination.family();
    auto b = blueprint(f, engine_->planner().shape(f));
    auto fates = NftMachine(b, kernel_, f).all_fates(p);
    auto want = world_.ask(p);
    std::string what = p.source.to_string() + " to " + p.destination.to_string() + " " + std::to_string(p.port) + "/" +
                       to_string(p.protocol) + (p.from_node ? " from this node" : "");
    if (want.kind != Fate::Kind::translated) {
      ASSERT_EQ(fates.size(), 1u) << what;
      ASSERT_EQ(fates.begin()->first.kind, want.kind) << what << ": " << fates.begin()->first.to_string();
      return;
    }
    std::map<base::IpPort, std::uint32_t> got;
    std::uint64_t draws = 0, weights = 0;
    for (const auto& [fate, n] : fates) {
      ASSERT_EQ(fate.kind, Fate::Kind::translated) << what << " " << fate.to_string();
      ASSERT_EQ(fate.masqueraded, want.masqueraded) << what;
      got[fate.to] += static_cast<std::uint32_t>(n), draws += static_cast<std::uint64_t>(n);
    }
    for (const auto& [to, weight] : want.shares) weights += weight;
    for (const auto& [to, n] : got) ASSERT_TRUE(want.shares.contains(to)) << what << " " << to.to_string();
    for (const auto& [to, weight] : want.shares) {
      ASSERT_TRUE(got.contains(to)) << what << " never " << to.to_string();
      double share = static_cast<double>(got[to]) / static_cast<double>(draws);
      double fair = static_cast<double>(weight) / static_cast<double>(weights);
      ASSERT_NEAR(share, fair, want.exact ? 1e-9 : 0.03) << what << " " << to.to_string();
    }
  }
  FakeNft& kernel() { return kernel_; }
  std::string difference(FakeNft& want) {
    std::string out;
    for (Family f : kFamilies)
      for (std::size_t h = 0; h < kHomes; ++h) {
        const auto* set = &set_of(f, static_cast<Home>(h));
        auto &a = want.elements_of(f, set->name), &b = kernel_.elements_of(f, set->name);
        for (const auto& [key, e] : a)
          if (auto it = b.find(key); it == b.end() || !(it->second == e))
            out += "want " + set->name + " " + nft::to_text(*set, e) + "\n";
        for (const auto& [key, e] : b)
          if (auto it = a.find(key); it == a.end() || !(it->second == e))
            out += "have " + set->name + " " + nft::to_text(*set, e) + "\n";
      }
    return out;
  }

 private:
  int roll(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  Protocol protocol() {
    return std::array{Protocol::tcp, Protocol::udp, Protocol::sctp}[static_cast<std::size_t>(roll(3))];
  }

  Change edit() {
    ServiceKey key{"ns", "s" + std::to_string(roll(6))};
    auto it = world_.services.find(key);
    if (it != world_.services.end() && roll(6) == 0) {
      world_.services.erase(it);
      return {key, std::nullopt};
    }
    Service& s = world_.services[key];
    if (s.cluster_ips.empty() || roll(8) == 0) {
      s.key = key;
      s.cluster_ips.clear();
      int families = roll(3);
      if (families != 1) s.cluster_ips.push_back(vip(roll(6) + 1, false));
      if (families != 0) s.cluster_ips.push_back(vip(roll(6) + 1, true));
    }
    if (s.ports.empty() || roll(4) == 0) {
      s.ports.clear();
      int n = 1 + roll(2);
      for (int i = 0; i < n; ++i) {
        ServicePort p;
        p.name = "p" + std::to_string(i), p.protocol = protocol();
        p.port = static_cast<std::uint16_t>(80 + i);
        p.node_port = static_cast<std::uint16_t>(roll(2) == 0 ? 0 : 30000 + 2 * roll(2) + i);
        s.ports.push_back(p);
      }
    }
    if (roll(3) == 0) turn_a_knob(s);
    auto& port = s.ports[static_cast<std::size_t>(roll(static_cast<int>(s.ports.size())))];
    int changes = 1 + roll(3);
    for (int i = 0; i < changes; ++i) {
      Endpoint e;
      int n = roll(9) + 1;
      e.ip = pod(n, roll(2) == 0), e.port = static_cast<std::uint16_t>(8080 + roll(2)),
      e.pod = "ns/pod-" + std::to_string(n);
      e.node = n % 3 == 0 ? "here" : "there";
      auto at = std::find_if(port.endpoints.begin(), port.endpoints.end(),
                             [&](const Endpoint& o) { return o.ip == e.ip && o.port == e.port; });
      bool had = at != port.endpoints.end();
      if (had) port.endpoints.erase(at);
      if (had && roll(2) == 0) continue;
      if (roll(5) == 0) e.ready = false, e.terminating = roll(2) == 0, e.serving = e.terminating;
      if (roll(3) == 0) e.weight = static_cast<std::uint32_t>(roll(4));
      if (roll(2) == 0) e.zones = {roll(2) == 0 ? "z1" : "z2"};
      if (roll(8) == 0) e.nodes = {roll(2) == 0 ? "here" : "there"};
      port.endpoints.push_back(e);
    }
    if (roll(12) == 0) port.endpoints.clear();
    std::sort(port.endpoints.begin(), port.endpoints.end());
    return {key, s};
  }

  void turn_a_knob(Service& s) {
    switch (roll(8)) {
      case 0: s.internal = roll(2) == 0 ? Policy::local : Policy::cluster; break;
      case 1: s.external = roll(2) == 0 ? Policy::local : Policy::cluster; break;
      case 2: s.affinity = std::chrono::seconds(roll(3) * 60); break;
      case 3: s.algorithm = static_cast<Algorithm>(roll(4)); break;
      case 4: s.counters = roll(2) == 0; break;
      case 5:
        s.source_ranges.clear();
        if (roll(2) == 0) s.source_ranges = {*Cidr::parse("198.51.100.0/28"), *Cidr::parse("10.244.0.0/16")};
        if (roll(2) == 0) s.source_ranges.push_back(*Cidr::parse(roll(2) == 0 ? "198.51.0.0/16" : "198.51.100.7/32"));
        if (roll(2) == 0) s.source_ranges.push_back(*Cidr::parse("2001:db8:7::/48"));
        break;
      case 6: s.drain = roll(2) == 0 ? std::optional(std::chrono::seconds(roll(100))) : std::nullopt; break;
      default:
        s.external_ips.clear();
        for (bool v6 : {false, true})
          if (roll(2) == 0) s.external_ips.push_back({outer(roll(4) + 1, v6), roll(2) == 0});
    }
  }

  // Somebody else, or bad luck. Whether single elements were touched: reading them has its ration, of real time, which
  // a slow machine may have used up.
  bool misfortune() {
    switch (roll(12)) {
      case 0: {  // an element vanishes, or is changed
        Family f = kFamilies[static_cast<std::size_t>(roll(2))];
        for (const char* set : {"slots", "counted", "sticky", "picks", "inside", "outside-ports", "guarded", "allowed",
                                "services", "nodeports", "class", "vips", "ping", "hairpin", "pods"}) {
          auto& elements = kernel_.elements_of(f, set);
          if (elements.empty() || roll(3) != 0) continue;
          auto it = std::next(elements.begin(), roll(static_cast<int>(elements.size())));
          if (roll(2) == 0)
            elements.erase(it);
          else
            it->second.comment = "changed by hand";
        }
        kernel_.touched();
        return true;
      }
      case 1: kernel_.tables.clear(), kernel_.touched(); break;
      case 2: {
        auto& table = kernel_.tables[{nft::Family::ip, "trama"}];
        table.rules["services"].clear();
        kernel_.touched();
        break;
      }
      case 3: kernel_.lose_answers = true; break;
      case 4: {
        int at = roll(3);
        kernel_.refuse = [at, n = 0](const nft::Batch&) mutable -> base::Result<> {
          if (n++ == at) return base::Error::from_errno(ENOMEM, "out of memory");
          return {};
        };
        break;
      }
      default: break;
    }
    return false;
  }

  std::mt19937 random_;
  FakeNft kernel_;
  std::unique_ptr<Engine> engine_;
  ServiceWorld world_;
  std::optional<NodeFacts> told_node_;
  Clock::time_point now_{std::chrono::hours(1)};
};

class Lives : public ::testing::TestWithParam<unsigned> {};

TEST_P(Lives, IncrementalIsFullIsWhatWasAskedFor) {
  base::logger("servicelb")->set_level(spdlog::level::off);  // heals by the hundred
  Life life(GetParam());
  for (int i = 0; i < 40; ++i) {
    life.step();
    if (HasFatalFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
    life.check();
    if (HasFatalFailure()) FAIL() << "seed " << GetParam() << ", step " << i;
  }
}
// TRAMA_SEEDS=1000 for a long night.
unsigned seeds() {
  const char* n = std::getenv("TRAMA_SEEDS");
  return n ? static_cast<unsigned>(std::atoi(n)) : 10;
}
INSTANTIATE_TEST_SUITE_P(Seeds, Lives, ::testing::Range(1u, 1u + seeds()));

TEST(LivesControl, TheCheckSeesADamagedTable) {
  base::logger("servicelb")->set_level(spdlog::level::off);
  Life life(7);
  for (int i = 0; i < 30; ++i) life.step();
  auto& slots = life.kernel().elements_of(Family::v4, "slots");
  ASSERT_FALSE(slots.empty());
  slots.begin()->second.comment = "wrong";
  // gtest's own way to expect a fatal failure runs the statement in a static function
  static Life* victim;
  victim = &life;
  EXPECT_FATAL_FAILURE(victim->check(), "whole.tables == kernel_.tables");
}

}  // namespace
}  // namespace trama::servicelb
