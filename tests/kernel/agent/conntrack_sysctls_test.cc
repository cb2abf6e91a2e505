// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/conntrack_sysctls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/support/private_netns.h"

namespace trama::agent {
namespace {

TEST(ConntrackSysctls, InANamespaceOfOnesOwnTheLimitIsTheMachinesAndTheTimeoutsAreOurs) {
  trama::test::PrivateNetns ns;
  // Connection tracking is there once a rule wants it.
  ASSERT_EQ(ns.shell("nft add table ip t && nft 'add chain ip t c { type filter hook input priority 0; }' && "
                     "nft add rule ip t c ct state new"),
            0);
  ASSERT_EQ(ns.shell("sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_established=1000"), 0);
  ns.run([] {
    auto read = [](const std::string& name) {
      return base::read_file("/proc/sys/net/netfilter/" + name).value_or("?");
    };
    auto limit = read("nf_conntrack_max");
    auto said = apply_conntrack_sysctls(1000);
    EXPECT_EQ(read("nf_conntrack_max"), limit);
    EXPECT_EQ(read("nf_conntrack_tcp_timeout_established"), "86400\n");
    EXPECT_EQ(read("nf_conntrack_tcp_timeout_close_wait"), "3600\n");
    EXPECT_THAT(said, testing::Contains("nf_conntrack_tcp_timeout_established: 1000 -> 86400"));
    bool low = std::stoull(limit) < wanted_conntrack_max(1000);
    EXPECT_EQ(low, std::any_of(said.begin(), said.end(),
                               [](const std::string& line) { return line.starts_with("nf_conntrack_max: left at "); }));
  });
}

}  // namespace
}  // namespace trama::agent
