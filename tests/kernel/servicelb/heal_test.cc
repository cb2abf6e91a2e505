// SPDX-License-Identifier: GPL-2.0-or-later
// The running reconciler against people with root: what they break comes back, what is theirs stays.
#include <fstream>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "servicelb/ruleset.h"
#include "tests/kernel/servicelb/running_reconciler.h"

namespace trama::servicelb {
namespace {
using std::chrono::milliseconds;
using test::facts;
using test::listing;
using test::PrivateNetns;
using test::RunningReconciler;
using test::service;
using test::sorted_lines;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using Clock = std::chrono::steady_clock;

TEST(ServiceHeal, WhateverIsBrokenComesBackAndTheRestIsNotTouched) {
  PrivateNetns ns;
  ASSERT_EQ(ns.shell("nft -f - <<'E'\n"
                     "table ip foreign {\n"
                     "set s { type ipv4_addr; elements = { 192.0.2.1 comment \"mine\" }; }\n"
                     "chain c {\n"
                     "type filter hook input priority 5; policy accept;\n"
                     "ip saddr @s counter drop comment \"not trama's\"\n"
                     "}\n}\n"
                     "table inet trama-other {\nchain x {\ncomment \"a neighbour\"\n}\n}\nE"),
            0);
  std::string foreign = listing(ns, "table ip foreign") + listing(ns, "table inet trama-other");
  RunningReconciler agent(ns);
  agent.load(200, 3);
  ASSERT_EQ(agent.failures(), 0u);
  auto want = sorted_lines(listing(ns));

  std::vector<milliseconds> times;
  const char* kBreak[] = {
      "nft delete table ip trama",
      "nft delete table ip6 trama",
      "nft flush table ip trama",
      "nft delete chain ip trama prerouting",
      "nft flush chain ip trama services",
      "nft flush chain ip6 trama n3",
      "nft flush set ip trama vips",
      "nft flush map ip trama slots",
      "nft delete element ip trama services { 10.96.1.1 . tcp . 80 }",
      "nft delete element ip6 trama vips { fd00:96::1 }",
      "nft delete element ip trama class { 0x3 }",
      "nft add element ip trama vips { 10.96.200.200 }",
      "nft add element ip trama services { 10.96.200.200 . tcp . 80 : 0x1003 }",
      "nft insert rule ip trama prerouting drop",
      "nft add chain ip trama stranger",
      "nft add table ip trama '{ flags dormant; }'",
      "nft delete element ip trama pods { 10.244.0.0/16 }",
      "nft delete table ip trama\nnft delete table ip6 trama",
  };
  for (int round = 0; round < 3; ++round)
    for (const char* command : kBreak) {
      std::string said;
      int heals = agent.heals();
      ASSERT_EQ(ns.shell(command, &said), 0) << command << "\n" << said;
      auto broken = Clock::now();
      // A report of a heal comes after its commit.
      ASSERT_TRUE(test::eventually([&] { return agent.heals() > heals; }, 5000)) << command;
      times.push_back(std::chrono::duration_cast<milliseconds>(Clock::now() - broken));
      ASSERT_TRUE(test::eventually([&] { return sorted_lines(listing(ns)) == want; }, 5000)) << command;
    }
  std::sort(times.begin(), times.end());
  std::printf("healed %zu times: median %lld ms, worst %lld ms\n", times.size(),
              static_cast<long long>(times[times.size() / 2].count()), static_cast<long long>(times.back().count()));
  RecordProperty("median_ms", static_cast<int>(times[times.size() / 2].count()));
  RecordProperty("worst_ms", static_cast<int>(times.back().count()));
  // The promise is 100 ms, kept with a factor of safety by an optimised build; the others are several times slower.
#ifdef NDEBUG
  constexpr int kPatience = 1;
#else
  constexpr int kPatience = 4;
#endif
  EXPECT_LT(times[times.size() / 2], milliseconds(100) * kPatience);
  EXPECT_LT(times.back(), milliseconds(400) * kPatience);
  EXPECT_EQ(listing(ns, "table ip foreign") + listing(ns, "table inet trama-other"), foreign);
}

TEST(ServiceHeal, ForeignCommitsAloneCostNoWrites) {
  PrivateNetns ns;
  RunningReconciler agent(ns);
  agent.load(50, 2);
  auto before = agent.operations();
  for (int i = 0; i < 20; ++i) ASSERT_EQ(ns.shell(fmt::format("nft add table ip foreign{}", i)), 0);
  agent.on_brain([&] { agent.reconciler().wake(); });
  auto g = agent.on_brain([&] { return agent.reconciler().update({"default", "nobody"}, std::nullopt); });
  agent.wait(g);
  EXPECT_EQ(agent.operations(), before);
  EXPECT_EQ(agent.heals(), 0);
}

TEST(ServiceHeal, ARestartOnAnUnchangedRulesetWritesNothing) {
  PrivateNetns ns;
  {
    RunningReconciler agent(ns);
    agent.load(300, 4);
    // a history: ids and slots are not those of a fresh start
    std::uint64_t g = 0;
    for (int i = 0; i < 50; ++i)
      g = agent.on_brain([&] { return agent.reconciler().update(service(i, 4).key, std::nullopt); });
    agent.wait(g);
    for (int i = 49; i >= 0; --i)
      g = agent.on_brain([&] { return agent.reconciler().update(service(i, i % 5).key, service(i, i % 5)); });
    agent.wait(g);
    for (int i = 0; i < 50; ++i)
      g = agent.on_brain([&] { return agent.reconciler().update(service(i, 4).key, service(i, 4)); });
    agent.wait(g);
  }
  std::string before = listing(ns);
  auto session = [&] {
    std::optional<std::uint32_t> generation;
    ns.run([&] { generation = *nft::Session::open()->generation(); });
    return *generation;
  };
  auto generation = session();
  {
    RunningReconciler agent(ns);
    agent.load(300, 4);
    EXPECT_EQ(agent.operations(), 0u) << agent.on_brain(
        [&] { return ::testing::PrintToString(agent.reconciler().last_plan()); });
  }
  EXPECT_EQ(session(), generation);
  EXPECT_EQ(listing(ns), before);
  // Control: one changed service is one change, not a rewrite.
  RunningReconciler agent(ns);
  agent.load(299, 4);
  EXPECT_GT(agent.operations(), 0u);
  EXPECT_LT(agent.operations(), 40u);
}

TEST(ServiceHeal, NothingIsWrittenBeforeTheFirstFullList) {
  PrivateNetns ns;
  RunningReconciler agent(ns);
  agent.on_brain([&] {
    agent.reconciler().set_node(facts());
    return agent.reconciler().update(service(1, 1).key, service(1, 1));
  });
  std::this_thread::sleep_for(milliseconds(150));  // three polls in which nothing may happen
  EXPECT_EQ(listing(ns), "");
  agent.load(2, 1);
  EXPECT_THAT(listing(ns), HasSubstr("default/web-0001"));
}

TEST(ServiceListing, ListsAndLoadsAndListsTheSame) {
  PrivateNetns ns;
  {
    RunningReconciler agent(ns);
    agent.load(30, 3);
  }
  std::string first = listing(ns);
  std::string path = fmt::format("/tmp/trama-listing-{}.nft", getpid());
  std::ofstream(path) << first;
  std::string said;
  ASSERT_EQ(ns.shell("nft flush ruleset && nft -f " + path, &said), 0) << said;
  unlink(path.c_str());
  EXPECT_EQ(sorted_lines(listing(ns)), sorted_lines(first));
  // every rule reads as its text says
  for (Family f : kFamilies)
    for (const auto& c : blueprint(f, Shape{}).chains)
      for (const auto& rule : c.rules) EXPECT_THAT(first, HasSubstr("\t\t" + rule.text()));
  EXPECT_THAT(first, HasSubstr("comment \"default/web-0001:http -> default/web-0001-0\""));
  // and our own agent recognises what nft has loaded: nothing but the comments of sets and chains could differ
  RunningReconciler agent(ns);
  agent.load(30, 3);
  EXPECT_EQ(agent.operations(), 0u) << agent.on_brain(
      [&] { return ::testing::PrintToString(agent.reconciler().last_plan()); });
}

// Every way of drawing, every set filled, both families.
std::vector<Service> one_of_each_kind() {
  std::vector<Service> all;
  for (int i = 0; i < 9; ++i) {
    Service s = service(i, 3);
    s.ports.push_back(s.ports[0]);
    s.ports[1].name = "dns", s.ports[1].protocol = Protocol::udp, s.ports[1].port = 53, s.ports[1].node_port += 1000;
    for (auto& p : s.ports)
      for (auto& e : p.endpoints) e.node = e.pod.ends_with("-0") ? "here" : "there";
    s.external_ips = {{Ip::v4(203, 0, 113, static_cast<std::uint8_t>(i + 1)), i % 2 == 0},
                      {*Ip::parse(fmt::format("2001:db8::{}", i + 1)), i % 2 == 0}};
    s.algorithm = static_cast<Algorithm>(i % 4);
    s.counters = i >= 4;
    if (i == 8) s.affinity = std::chrono::seconds(5400);
    if (i % 3 == 0) s.external = Policy::local;
    if (i % 4 == 0) s.source_ranges = {*Cidr::parse("192.0.2.0/24"), *Cidr::parse("2001:db8:7::/48")};
    all.push_back(s);
  }
  return all;
}

TEST(ServiceListing, EveryKindListsAndLoadsAndIsRecognised) {
  PrivateNetns ns;
  auto tell = [&](RunningReconciler& agent) {
    auto f = facts();
    f.name = "here", f.addresses = {*Ip::parse("192.0.2.1"), *Ip::parse("fd00::1")};
    f.nodeport_cidrs = {*Cidr::parse("192.0.2.0/24"), *Cidr::parse("fd00::/64")};
    agent.load(one_of_each_kind(), f);
  };
  {
    RunningReconciler agent(ns);
    tell(agent);
  }
  std::string first = listing(ns), said;
  for (const char* chain : {"rr", "source-n3", "maglev-n5003", "affinity5400-n3", "n3-counted", "maglev-n5003-counted"})
    EXPECT_THAT(first, HasSubstr(std::string("chain ") + chain));
  std::string path = fmt::format("/tmp/trama-listing-{}.nft", getpid());
  std::ofstream(path) << first;
  ASSERT_EQ(ns.shell("nft flush ruleset && nft -f " + path, &said), 0) << said;
  unlink(path.c_str());
  EXPECT_EQ(sorted_lines(listing(ns)), sorted_lines(first));
  for (Family f : kFamilies)
    for (const auto& draw :
         {Draw{Draw::How::source_hash, 3, false, 0, {}}, Draw{Draw::How::maglev, 5003, true, 0, {}},
          Draw{Draw::How::affinity, 3, false, 0, std::chrono::seconds(5400)}, Draw{Draw::How::random, 3, true, 0, {}}})
      for (const auto& rule : draw_chain(f, draw).rules) EXPECT_THAT(first, HasSubstr("\t\t" + rule.text()));
  RunningReconciler agent(ns);
  tell(agent);
  EXPECT_EQ(agent.operations(), 0u) << agent.on_brain(
      [&] { return ::testing::PrintToString(agent.reconciler().last_plan()); });
}

TEST(ServiceListing, UninstallLeavesNothing) {
  PrivateNetns ns;
  ASSERT_EQ(ns.shell("nft add table ip foreign"), 0);
  std::string before = listing(ns);
  {
    RunningReconciler agent(ns);
    agent.load(30, 3);
  }
  ns.run([&] {
    auto s = nft::Session::open();
    auto k = LinuxKernel::open(*s);
    Engine engine(**k);
    ASSERT_TRUE(engine.uninstall());
    ASSERT_TRUE(engine.uninstall()) << "twice is fine";
  });
  EXPECT_EQ(listing(ns), before);
}

}  // namespace
}  // namespace trama::servicelb
