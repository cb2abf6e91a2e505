// SPDX-License-Identifier: GPL-2.0-or-later
// Sandboxes on the real kernel: what a person sees, what packets see, what is healed, what is left.
#include <gmock/gmock.h>

#include "base/file.h"
#include "tests/kernel/netns/node.h"

namespace trama::netns::test {
namespace {

PrivateMounts mounts;

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using trama::test::eventually;

struct SandboxTest : ::testing::Test {
  Node node;
  Sandbox web = pod("web-1", 7), db = pod("db", 8);
  void make(std::initializer_list<Sandbox> all) {
    for (const auto& s : all) node.want(s);
    ASSERT_TRUE(node.converge());
  }
};

TEST_F(SandboxTest, looks_as_designed) {
  make({web});
  EXPECT_THAT(node.shell("ip netns"), HasSubstr("default.web-1"));
  EXPECT_THAT(node.shell("ip netns"), HasSubstr("(id: "));  // it has an nsid here
  std::string link = node.shell("ip -d link show pod-default-web-1");
  EXPECT_THAT(link, HasSubstr("tr7f3a0007000@if2"));
  EXPECT_THAT(link, HasSubstr("alias trama pod=default/web-1 uid=" + web.uid));
  EXPECT_THAT(link, HasSubstr("group 7200"));
  EXPECT_THAT(link, HasSubstr("link/ether ee:ee:ee:ee:ee:ee"));
  EXPECT_THAT(link, HasSubstr("addrgenmode none"));
  EXPECT_THAT(link, HasSubstr("link-netns default.web-1"));
  EXPECT_THAT(link, HasSubstr("mtu 1450"));
  EXPECT_THAT(node.shell("ip route show proto 116"), HasSubstr("10.244.0.8 dev tr7f3a0007000 scope link"));
  EXPECT_THAT(node.shell("ip -6 route show proto 116"), HasSubstr("fd00:244::8 dev tr7f3a0007000"));
  EXPECT_THAT(node.shell("ip neigh"),
              HasSubstr("10.244.0.8 dev tr7f3a0007000 lladdr " + pod_mac(web.uid).to_string() + " PERMANENT"));
  EXPECT_THAT(node.shell("ip -6 neigh"), HasSubstr("fd00:244::8 dev tr7f3a0007000"));
  EXPECT_EQ(node.shell("cat /proc/sys/net/ipv4/conf/tr7f3a0007000/rp_filter"), "1\n");
  EXPECT_EQ(node.shell("cat /proc/sys/net/ipv4/conf/tr7f3a0007000/forwarding"), "1\n");
  EXPECT_EQ(node.shell("cat /proc/sys/net/ipv4/conf/tr7f3a0007000/send_redirects"), "0\n");
  EXPECT_EQ(node.shell("cat /proc/sys/net/ipv6/conf/tr7f3a0007000/accept_ra"), "0\n");
  EXPECT_EQ(node.shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"), "1\n1\n");

  EXPECT_THAT(node.in_pod(web, "ip -br addr show eth0"), HasSubstr("10.244.0.8/32 fd00:244::8/128"));
  EXPECT_THAT(node.in_pod(web, "ip -br link show lo"), HasSubstr("UP"));
  EXPECT_THAT(node.in_pod(web, "ip route"), HasSubstr("default via 169.254.1.1 dev eth0"));
  EXPECT_THAT(node.in_pod(web, "ip route"), HasSubstr("169.254.1.1 dev eth0 proto static scope link"));
  EXPECT_THAT(node.in_pod(web, "ip -6 route"), HasSubstr("default via fe80::1 dev eth0"));
  EXPECT_THAT(node.in_pod(web, "ip neigh"), HasSubstr("169.254.1.1 dev eth0 lladdr ee:ee:ee:ee:ee:ee PERMANENT"));
  EXPECT_THAT(node.in_pod(web, "ip link show eth0"), HasSubstr(pod_mac(web.uid).to_string()));
  EXPECT_THAT(node.in_pod(web, "ip -6 addr show eth0"), Not(HasSubstr("tentative")));
  EXPECT_EQ(
      node.in_pod(web,
                  "cd /proc/sys/net; cat ipv4/ip_unprivileged_port_start ipv4/tcp_mtu_probing ipv6/conf/all/accept_ra"),
      "0\n1\n0\n");
  EXPECT_EQ(base::read_file(node.paths.etc_netns_dir + "/default.web-1/hosts").value_or("?"), web.network.hosts);
  EXPECT_THAT(base::read_file("/proc/self/mountinfo").value_or("?"), HasSubstr("/run/netns rw"));
  EXPECT_THAT(base::read_file("/proc/self/mountinfo").value_or("?"), HasSubstr("shared:"));
}

TEST_F(SandboxTest, an_unchanged_world_plans_nothing_and_a_new_agent_adopts_everything) {
  make({web, db});
  auto before = node.observe();
  EXPECT_THAT(node.pass(), IsEmpty());
  node.restart();
  EXPECT_EQ(node.observe(), before);
  EXPECT_THAT(node.pass(), IsEmpty());
}

TEST_F(SandboxTest, pods_of_one_node_talk) {
  make({web, db});
  int code = -1;
  std::string out = node.in_pod(web, "ping -c 2 -i 0.05 -W 1 10.244.0.9", &code);
  EXPECT_EQ(code, 0) << out;
  out = node.in_pod(web, "ping -6 -c 2 -i 0.05 -W 1 fd00:244::9", &code);
  EXPECT_EQ(code, 0) << out;
}

TEST_F(SandboxTest, the_guard_is_readable_and_nft_reads_its_own_listing_back) {
  make({web, db});
  std::string list =
      node.shell("nft list table inet trama-pods | sed 's/packets [0-9]* bytes [0-9]*/packets 0 bytes 0/'");
  EXPECT_THAT(list, HasSubstr("iifname . ether saddr . ip saddr @pods4 accept"));
  EXPECT_THAT(list, HasSubstr("\"tr7f3a0007000\" . " + pod_mac(web.uid).to_string() +
                              " . 10.244.0.8 comment \"default/web-1\""));
  EXPECT_THAT(list, HasSubstr("ct count over 16384"));
  std::string again = node.shell(
      "nft list table inet trama-pods > /run/one && nft delete table inet trama-pods && nft -f /run/one && nft -s list "
      "table inet trama-pods | sed 's/counter /counter packets 0 bytes 0 /'");
  EXPECT_EQ(list, again);
  for (const auto& chain : guard_blueprint({16384}).chains)
    for (const auto& rule : chain.rules)
      EXPECT_THAT(list, HasSubstr(rule.text() + (rule.comment().empty() ? "" : " comment \"" + rule.comment() + "\"")));
}

TEST_F(SandboxTest, every_kind_of_damage_is_healed_in_one_pass) {
  make({web, db});
  std::string link = veth_name(web.uid);
  struct Damage {
    std::string by;
    bool inside;
  };
  for (const auto& d : std::vector<Damage>{
           {"ip route del 10.244.0.8", false},
           {"ip -6 route del fd00:244::8", false},
           {"ip neigh del 10.244.0.8 dev " + link, false},
           {"ip -6 neigh del fd00:244::8 dev " + link, false},
           {"ip neigh replace 10.244.0.8 lladdr 02:00:00:00:00:99 dev " + link + " nud permanent", false},
           {"ip link set " + link + " down", false},
           {"ip link set " + link + " mtu 1300", false},
           {"ip link set " + link + " group 5", false},
           {"ip link set " + link + " address 02:00:00:00:00:01", false},
           {"ip link set " + link + " alias nothing", false},
           {"ip link property del dev " + link + " altname pod-default-web-1", false},
           {"ip link del " + link, false},
           {"sysctl -qw net.ipv4.conf." + link + ".rp_filter=0", false},
           {"sysctl -qw net.ipv6.conf." + link + ".accept_ra=2", false},
           {"sysctl -qw net.ipv4.ip_forward=0", false},
           {"nft delete table inet trama-pods", false},
           {"nft flush ruleset", false},
           {"nft delete element inet trama-pods pods4 '{ \"" + link + "\" . " + pod_mac(web.uid).to_string() +
                " . 10.244.0.8 }'",
            false},
           {"nft add element inet trama-pods pods4 '{ \"" + link + "\" . 02:00:00:00:00:09 . 10.244.0.99 }'", false},
           {"nft insert rule inet trama-pods from-pod accept", false},
           {"nft flush chain inet trama-pods prerouting", false},
           {"umount /run/netns/default.web-1 && rm /run/netns/default.web-1", false},
           {"rm -r " + node.paths.etc_netns_dir + "/default.web-1", false},
           {"echo x >> " + node.paths.etc_netns_dir + "/default.web-1/hosts", false},
           {"ip link set eth0 down", true},
           {"ip link set eth0 mtu 1300", true},
           {"ip link set lo down", true},
           {"ip addr flush dev eth0", true},
           {"ip route del default", true},
           {"ip -6 route del default", true},
           {"ip neigh del 169.254.1.1 dev eth0", true},
           {"ip link del eth0", true},
           {"ip link set eth0 down; ip link set eth0 name other", true},
       }) {
    SCOPED_TRACE(d.by);
    int code = -1;
    std::string out;
    if (d.inside)
      out = node.in_pod(web, d.by, &code);
    else if (d.by.starts_with("umount"))
      code = trama::test::shell(d.by, &out);  // `ip netns exec` style tools work in other mounts
    else
      code = node.net.shell(d.by, &out);
    ASSERT_EQ(code, 0) << out;
    if (d.inside) node.kernel->inside_changed(std::nullopt);  // the monitor's hint
    EXPECT_THAT(node.pass(), Not(IsEmpty()));
    if (d.inside) node.kernel->inside_changed(std::nullopt);
    auto left = node.pass();
    // Remaking eth0 from inside takes the routes outside along; they are seen by the next look.
    if (!left.empty()) left = node.pass();
    EXPECT_THAT(left, IsEmpty());
    node.kernel->inside_changed(std::nullopt);
    EXPECT_THAT(node.pass(), IsEmpty());
    out = node.in_pod(web, "ping -c 1 -W 1 10.244.0.9 && ping -6 -c 1 -W 1 fd00:244::9", &code);
    EXPECT_EQ(code, 0) << out;
  }
}

TEST_F(SandboxTest, foreign_things_are_neither_listed_nor_touched) {
  ASSERT_EQ(
      node.run("ip netns add foreign; ip link add trunk0 type veth peer name trunk1; ip link set trunk0 alias mine up;"
               "ip link add tr00000000000 type veth peer name p0 && ip link set tr00000000000 alias theirs;"
               "nft add table inet theirs; ip route add 10.9.0.0/16 dev trunk0 proto 116"),
      0);
  make({web});
  EXPECT_EQ(node.observe().sandboxes.size(), 1u);
  node.desired = {};
  ASSERT_TRUE(node.converge());
  EXPECT_THAT(node.shell("ip netns"), HasSubstr("foreign"));
  EXPECT_THAT(node.shell("ip link"), HasSubstr("trunk0"));
  EXPECT_THAT(node.shell("ip link"), HasSubstr("tr00000000000"));
  EXPECT_THAT(node.shell("nft list tables"), HasSubstr("theirs"));
  EXPECT_THAT(node.shell("ip route"), HasSubstr("10.9.0.0/16"));
  EXPECT_EQ(node.run("ip netns del foreign"), 0);
}

TEST_F(SandboxTest, a_foreign_object_in_the_way_is_an_error_that_says_so) {
  std::vector<std::string> failures;
  ASSERT_EQ(node.run("ip netns add default.web-1; ip link add x0 type dummy 2>/dev/null || ip link add x0 type bridge; "
                     "ip link set x0 up;"
                     "ip route add 10.244.0.9/32 dev x0"),
            0);
  node.want(web);
  node.want(db);
  node.pass(&failures);
  ASSERT_EQ(failures.size(), 2u);
  EXPECT_THAT(failures[0] + failures[1], HasSubstr("/run/netns/default.web-1 is a namespace that is not ours"));
  EXPECT_THAT(failures[0] + failures[1], HasSubstr("10.244.0.9/32 is routed elsewhere"));
  EXPECT_THAT(node.shell("ip route show 10.244.0.9"), HasSubstr("x0"));
  ASSERT_EQ(node.run("ip netns del default.web-1; ip link del x0"), 0);
  EXPECT_TRUE(node.converge());
}

TEST_F(SandboxTest, a_pod_of_the_same_name_can_follow_at_once) {
  make({web});
  Sandbox next = web;
  next.uid = "99999999-0000-4000-8000-000000000001";
  node.desired = {};
  node.want(next);
  auto done = node.pass();
  EXPECT_THAT(done.front(), HasSubstr("withdraw default/web-1"));
  EXPECT_THAT(node.pass(), IsEmpty());
  EXPECT_THAT(node.shell("ip link show pod-default-web-1"), HasSubstr(veth_name(next.uid)));
}

TEST_F(SandboxTest, nothing_is_left_when_all_sandboxes_are_gone) {
  std::string before = node.shell(
      "exec 2>/dev/null; ip -d link; ip route; ip -6 route; ip neigh; ip -6 neigh; nft list ruleset; ip netns; ls "
      "/run/netns");
  make({web, db});
  node.desired = {};
  ASSERT_TRUE(node.converge());
  std::string after;
  EXPECT_TRUE(eventually([&] {
    after = node.shell(
        "exec 2>/dev/null; ip -d link; ip route; ip -6 route; ip neigh; ip -6 neigh; nft list ruleset; ip netns; ls "
        "/run/netns");
    return after == before;
  })) << before
      << "\n--- after\n"
      << after;
  std::string files;
  trama::test::shell("find " + node.paths.run_dir + " " + node.paths.etc_netns_dir + " -type f 2>/dev/null", &files);
  EXPECT_EQ(files, "");
}

}  // namespace
}  // namespace trama::netns::test
