// SPDX-License-Identifier: GPL-2.0-or-later
// What goes wrong between a look and a commit, on the real kernel.
#include <csignal>
#include <thread>

#include <gmock/gmock.h>
#include <sys/time.h>

#include "servicelb/ruleset.h"
#include "tests/kernel/servicelb/traffic.h"

namespace trama::servicelb {
namespace {
using test::at;
using test::Traffic;
using test::web;

// The real kernel, but somebody is faster before commits.
class Meddling : public Kernel {
 public:
  explicit Meddling(Kernel& below) : below_(below) {}
  Result<> commit(nft::Batch& batch) override {
    if (before_commit) std::exchange(before_commit, {})();
    return below_.commit(batch);
  }
  Result<std::uint64_t> epoch() override { return below_.epoch(); }
  Result<std::string> damage(const nft::Blueprint& b, std::map<std::string, std::size_t>& counts) override {
    return below_.damage(b, counts);
  }
  Result<std::vector<nft::Element>> elements(const nft::Table& table, const nft::Set& set) override {
    return below_.elements(table, set);
  }
  Result<std::size_t> forget_flows(const std::vector<FlowsOf>& stale) override { return below_.forget_flows(stale); }
  std::function<void()> before_commit;  // once

 private:
  Kernel& below_;
};

class Faults : public Traffic {
 protected:
  Faults() : meddling(*kernel) {
    engine = std::make_unique<Engine>(meddling);
    tell({web({1, 2})});
  }
  // A change, before whose commit somebody runs a command.
  void change_while(const std::string& command, std::vector<int> pods) {
    bool done = false;
    meddling.before_commit = [&] {
      std::string said;
      EXPECT_EQ(lab.node().shell(command, &said), 0) << said;
      done = true;
    };
    PassInput in;
    in.changes.push_back({{"default", "web"}, web(pods)});
    auto out = engine->pass(std::move(in), Clock::now() + ahead);
    EXPECT_TRUE(done);
    EXPECT_TRUE(test::eventually([&] {  // as the reconciler would go on
      ahead += std::chrono::seconds(1);
      out = engine->pass({}, Clock::now() + ahead);
      return out.operations == 0 && out.committed && !out.retry && !engine->planner().dirty();
    }));
    EXPECT_THAT(out.failures, ::testing::IsEmpty());
    for (auto vip : {at("10.96.0.10", 80), at("fd00:96::10", 80)}) {
      auto got = answers(lab.pod(3), Protocol::udp, vip, 60);
      ASSERT_EQ(got.size(), pods.size()) << ::testing::PrintToString(got);
      for (int pod : pods) EXPECT_TRUE(got.contains("pod-" + std::to_string(pod)));
    }
    auto look = tell({}, true);
    EXPECT_FALSE(look.healed) << "nothing was left for later";
  }
  Meddling meddling;
};

TEST_F(Faults, ATableIsDeletedBetweenLookAndCommit) {
  change_while("nft delete table ip trama", {1, 2, 3});
  change_while("nft delete table ip6 trama", {3});
  change_while("nft flush ruleset", {1, 2});
}

TEST_F(Faults, ElementsAndChainsAreDeletedBetweenLookAndCommit) {
  change_while("nft flush map ip trama slots", {1, 2, 3});
  change_while("nft flush map ip6 trama services", {2});
  change_while("nft flush map ip trama class", {2, 3});
  change_while("nft delete chain ip trama prerouting", {1});
}

// The first message of the batch that the kernel refuses lies in the middle of it.
TEST_F(Faults, AnElementOfOursIsThereAlreadyWithOtherData) {
  std::string slots = listing("map ip trama slots");
  auto end = slots.find(" . 1 ");
  ASSERT_NE(end, std::string::npos) << slots;
  auto id = slots.substr(slots.rfind("0x", end), 10);
  change_while("nft add element ip trama slots '{ " + id + " . 2 : 192.0.2.66 . 66 }'", {1, 2, 3});
}

void nothing(int) {}

TEST_F(Faults, SignalsInterruptNothing) {
  // Without SA_RESTART: every system call of this thread that waits fails with EINTR again and again.
  struct sigaction action {
  }, old_action{};
  action.sa_handler = nothing;
  ASSERT_EQ(sigaction(SIGUSR1, &action, &old_action), 0);
  std::atomic<bool> stop{false};
  std::thread pest([&, victim = pthread_self()] {
    while (!stop) {
      pthread_kill(victim, SIGUSR1);
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  });
  for (int i = 0; i < 300; ++i) {
    PassInput in;
    in.changes.push_back({{"default", "web"}, web(i % 2 ? std::vector<int>{1, 2, 3} : std::vector<int>{2})});
    in.look = i % 10 == 0;
    auto out = engine->pass(std::move(in), Clock::now());
    EXPECT_TRUE(out.committed) << ::testing::PrintToString(out.failures);
    EXPECT_FALSE(out.healed);
  }
  stop = true;
  pest.join();
  sigaction(SIGUSR1, &old_action, nullptr);
  auto look = tell({}, true);
  EXPECT_FALSE(look.healed);
  EXPECT_EQ(test::who(ask(lab.pod(3), Protocol::tcp, at("10.96.0.10", 80))).substr(0, 4), "pod-");
}

}  // namespace
}  // namespace trama::servicelb
