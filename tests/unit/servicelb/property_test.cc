// SPDX-License-Identifier: GPL-2.0-or-later
// Random lives of a node: whatever happens, in whatever order, the rules are those of the services as they are now.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include "servicelb/engine.h"
#include "tests/support/fake_nft.h"
#include "tests/support/nft_machine.h"

namespace trama::servicelb {
namespace {
using test::FakeNft;
using test::Fate;
using test::NftMachine;
using test::Packet;

// What the engine was told, and an answer of its own to where a packet may go.
struct World {
  std::map<ServiceKey, Service> services;
  NodeFacts node;

  static Ip pod(int i, bool v6) {
    return *Ip::parse(v6 ? "fd00:244::" + std::to_string(i) : "10.244.0." + std::to_string(i));
  }
  static Ip vip(int i, bool v6) {
    return *Ip::parse(v6 ? "fd00:96::" + std::to_string(i) : "10.96.0." + std::to_string(i));
  }

  // The endpoints that a connection may be given; nothing = nobody has this front end.
  std::optional<std::set<base::IpPort>> expected(const Packet& p) const {
    bool v4 = p.destination.is_v4();
    for (const auto& [key, s] : services) {  // smallest key first: it wins
      bool family =
          std::any_of(s.cluster_ips.begin(), s.cluster_ips.end(), [&](const Ip& ip) { return ip.is_v4() == v4; });
      for (const auto& port : s.ports) {
        bool front = p.to_node ? family && port.node_port == p.port && p.port != 0
                               : port.port == p.port &&
                                     std::count(s.cluster_ips.begin(), s.cluster_ips.end(), p.destination) > 0;
        if (!front || port.protocol != p.protocol) continue;
        std::set<base::IpPort> out;
        for (const auto& e : port.endpoints)
          if (e.ip.is_v4() == v4) out.insert({e.ip, e.port});
        return out;
      }
    }
    return std::nullopt;
  }
};

class Life {
 public:
  explicit Life(unsigned seed) : random_(seed), engine_(std::make_unique<Engine>(kernel_)) {
    world_.node.service_cidrs = {*Cidr::parse("10.96.0.0/16"), *Cidr::parse("fd00:96::/112")};
    world_.node.pod_cidrs = {*Cidr::parse("10.244.0.0/16"), *Cidr::parse("fd00:244::/64")};
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
        auto it = std::find(pods.begin(), pods.end(), World::pod(i, v6));
        it == pods.end() ? (void)pods.push_back(World::pod(i, v6)) : (void)pods.erase(it);
      }
      node = world_.node;
    }
    misfortune();
    PassInput in;
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
    for (int i = 0; i < 6; ++i) {
      Packet p;
      bool v6 = roll(2) == 0;
      p.protocol = protocol();
      p.source = World::pod(200, v6);
      p.to_node = roll(3) == 0;
      p.destination = p.to_node ? *Ip::parse(v6 ? "2001:db8::1" : "192.0.2.1") : World::vip(roll(6) + 1, v6);
      p.port = static_cast<std::uint16_t>(p.to_node ? 30000 + roll(4) : 80 + roll(2));
      Family f = p.destination.family();
      auto b = blueprint(f, engine_->planner().classes(f));
      auto fates = NftMachine(b, kernel_, f).all_fates(p);
      auto want = world_.expected(p);
      std::string what = p.destination.to_string() + " " + std::to_string(p.port) + "/" + to_string(p.protocol);
      if (!want) {
        ASSERT_EQ(fates.size(), 1u) << what;
        auto kind = fates.begin()->first.kind;
        if (p.to_node)
          ASSERT_EQ(kind, Fate::Kind::untouched) << what;
        else
          ASSERT_TRUE(kind == Fate::Kind::refused || kind == Fate::Kind::dropped) << what;
      } else if (want->empty()) {
        ASSERT_EQ(fates.size(), 1u) << what;
        ASSERT_EQ(fates.begin()->first.kind, Fate::Kind::refused) << what;
      } else {
        std::set<base::IpPort> got;
        for (const auto& [fate, draws] : fates) {
          ASSERT_EQ(fate.kind, Fate::Kind::translated) << what << " " << fate.to_string();
          ASSERT_EQ(draws, 1) << what << ": no endpoint has two slots";
          ASSERT_EQ(fate.masqueraded, p.to_node) << what;
          got.insert(fate.to);
        }
        ASSERT_EQ(got, *want) << what;
      }
    }
  }
  FakeNft& kernel() { return kernel_; }
  std::string difference(FakeNft& want) {
    std::string out;
    for (Family f : kFamilies)
      for (const auto* set : sets_of(f).all()) {
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
      if (families != 1) s.cluster_ips.push_back(World::vip(roll(6) + 1, false));
      if (families != 0) s.cluster_ips.push_back(World::vip(roll(6) + 1, true));
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
    auto& port = s.ports[static_cast<std::size_t>(roll(static_cast<int>(s.ports.size())))];
    int changes = 1 + roll(3);
    for (int i = 0; i < changes; ++i) {
      Endpoint e;
      int n = roll(9) + 1;
      e.ip = World::pod(n, roll(2) == 0), e.port = static_cast<std::uint16_t>(8080 + roll(2)),
      e.pod = "ns/pod-" + std::to_string(n);
      auto at = std::find(port.endpoints.begin(), port.endpoints.end(), e);
      at == port.endpoints.end() ? (void)port.endpoints.push_back(e) : (void)port.endpoints.erase(at);
    }
    if (roll(12) == 0) port.endpoints.clear();
    std::sort(port.endpoints.begin(), port.endpoints.end());
    return {key, s};
  }

  // Somebody else, or bad luck.
  void misfortune() {
    switch (roll(12)) {
      case 0: {  // an element vanishes, or is changed
        Family f = kFamilies[static_cast<std::size_t>(roll(2))];
        for (const char* set : {"slots", "services", "nodeports", "class", "vips", "hairpin", "pods"}) {
          auto& elements = kernel_.elements_of(f, set);
          if (elements.empty() || roll(3) != 0) continue;
          auto it = std::next(elements.begin(), roll(static_cast<int>(elements.size())));
          if (roll(2) == 0)
            elements.erase(it);
          else
            it->second.comment = "changed by hand";
        }
        kernel_.touched();
        break;
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
  }

  std::mt19937 random_;
  FakeNft kernel_;
  std::unique_ptr<Engine> engine_;
  World world_;
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
