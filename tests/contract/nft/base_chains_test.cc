// SPDX-License-Identifier: GPL-2.0-or-later
// What the kernel says about base chains that other programs have made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/nft/session.h"
#include "tests/support/private_netns.h"

namespace trama::nft {
namespace {
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class BaseChains : public ::testing::Test {
 protected:
  BaseChains() {
    netns.run([this] {
      auto s = Session::open();
      if (!s) throw std::runtime_error(s.error().to_string());
      session = std::make_unique<Session>(std::move(*s));
    });
  }
  void nft(const std::string& commands) {
    std::string output;
    ASSERT_EQ(netns.shell("nft -f - <<E\n" + commands + "E", &output), 0) << output;
  }
  // "inet fw in: hook 1 priority 5 drop"
  std::vector<std::string> seen() {
    auto chains = session->base_chains();
    EXPECT_TRUE(chains) << (chains ? "" : chains.error().to_string());
    std::vector<std::string> out;
    if (!chains) return out;
    for (const auto& c : *chains)
      out.push_back(fmt::format("{} {} {}: {} hook {} priority {}{}", to_string(c.family), c.table, c.chain.name,
                                c.chain.base->type == ChainType::nat     ? "nat"
                                : c.chain.base->type == ChainType::route ? "route"
                                                                         : "filter",
                                static_cast<unsigned>(c.chain.base->hook), c.chain.base->priority,
                                c.chain.base->drop ? " drop" : ""));
    return out;
  }
  test::PrivateNetns netns;
  std::unique_ptr<Session> session;
};

TEST_F(BaseChains, OfEveryFamilyWithTypeHookPriorityAndPolicy) {
  EXPECT_THAT(seen(), IsEmpty());
  nft(R"(table ip filter {
chain FORWARD {
type filter hook forward priority 0; policy drop;
}
chain helper {
}
}
table inet fw {
chain in {
type filter hook input priority 5; policy drop;
}
chain out {
type route hook output priority -150; policy accept;
}
}
table ip6 t {
chain pre {
type nat hook prerouting priority -100;
}
}
table bridge b {
chain bridged {
type filter hook forward priority -200; policy drop;
}
}
)");
  EXPECT_THAT(seen(), UnorderedElementsAre(
                          "ip filter FORWARD: filter hook 2 priority 0 drop",
                          "inet fw in: filter hook 1 priority 5 drop", "inet fw out: route hook 3 priority -150",
                          "ip6 t pre: nat hook 0 priority -100", "bridge b bridged: filter hook 2 priority -200 drop"));
}

TEST_F(BaseChains, ChangesAreSeenAndTheEpochSaysWhenToLook) {
  auto before = session->epoch();
  ASSERT_TRUE(before);
  EXPECT_EQ(*session->epoch(), *before) << "nobody has done anything";
  nft("table ip filter {\nchain FORWARD {\ntype filter hook forward priority 0; policy drop;\n}\n}\n");
  EXPECT_NE(*session->epoch(), *before);
  EXPECT_THAT(seen(), ElementsAre("ip filter FORWARD: filter hook 2 priority 0 drop"));
  nft("chain ip filter FORWARD { policy accept; }\n");
  EXPECT_THAT(seen(), ElementsAre("ip filter FORWARD: filter hook 2 priority 0"));
  nft("delete table ip filter\n");
  EXPECT_THAT(seen(), IsEmpty());
}

TEST_F(BaseChains, DormantTablesFilterNothing) {
  nft("table ip asleep {\nflags dormant\nchain c {\ntype filter hook input priority 0; policy drop;\n}\n}\n");
  EXPECT_THAT(seen(), IsEmpty());
  nft("table ip asleep {\n}\n");
  EXPECT_THAT(seen(), ElementsAre("ip asleep c: filter hook 1 priority 0 drop"));
}

TEST_F(BaseChains, RulesAndSetsOfOthersAreNotRead) {
  // a dump of these would be megabytes
  nft("table ip filter {\nset s {\ntype ipv4_addr\n}\nchain c {\ntype filter hook forward priority 0; policy drop;\nip "
      "saddr @s drop\n}\n}\nadd element ip filter s { $(seq 0 19999 | awk '{printf \"%s10.1.%d.%d\", (NR > 1 ? \", \" "
      ": "
      "\"\"), $1 / 256, $1 % 256}') }\n");
  auto started = std::chrono::steady_clock::now();
  EXPECT_THAT(seen(), ElementsAre("ip filter c: filter hook 2 priority 0 drop"));
  EXPECT_LT(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(20));
}

}  // namespace
}  // namespace trama::nft
