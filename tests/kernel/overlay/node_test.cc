// SPDX-License-Identifier: GPL-2.0-or-later
// One node and its machine: conflicts, clean-up, settings, scale.
#include <chrono>
#include <iostream>

#include <gmock/gmock.h>
#include <sys/socket.h>

#include "overlay/port_owner.h"
#include "overlay/probe.h"
#include "tests/kernel/overlay/lab.h"

namespace trama::overlay {
namespace {

using base::IpPort;
using test::ip;
using test::Lab;
using test::Socket;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

// Of ip(8)'s complaints nothing: it looks at all pinned namespaces, and those of others come and go.
constexpr const char* kDump =
    "exec 2>/dev/null; ip -d link | sed 's/ promiscuity.*//'; ip addr; ip route show table all; ip -6 route show table "
    "all; ip rule; "
    "ip neigh show nud permanent; ip nexthop; bridge fdb; nft list ruleset";

class OverlayNode : public testing::TestWithParam<Mode> {
 protected:
  Lab lab{2, GetParam()};
  test::Node& node = lab[1];
};
INSTANTIATE_TEST_SUITE_P(Modes, OverlayNode, testing::Values(Mode::nexthop, Mode::fdb),
                         [](const auto& i) { return to_text(i.param); });

TEST_P(OverlayNode, RemovalLeavesTheMachineAsItWas) {
  // Settings of the namespace are not ours to turn off again, so they are on before.
  node.host.shell(
      "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; "
      "ip nexthop add id 5 via 192.168.77.2 dev eth0; ip route add 203.0.113.0/24 nhid 5; "
      "ip route add 198.51.100.0/24 dev eth0 proto 116; nft add table inet other");
  auto before = node.host.shell(kDump);
  lab.converge();
  EXPECT_EQ(test::udp_round_trip(node.pod, lab[2].pod, lab[2].pod4(), 100), "");
  EXPECT_NE(node.host.shell(kDump), before);
  node.desired = Desired{};
  node.converge();
  EXPECT_EQ(node.host.shell(kDump), before);
}

TEST_P(OverlayNode, ATakenPortIsExplainedAndTriedAgain) {
  auto taken = std::make_optional<Socket>(node.host.netns(), Family::v4, SOCK_DGRAM, IpPort{Ip(), kDataPort});
  EXPECT_THAT(node.apply(), Contains(AllOf(HasSubstr("UDP port 6784 is taken by pid "), HasSubstr("(overlay_"),
                                           HasSubstr("stop it"))));
  EXPECT_THAT(node.apply(), Contains(HasSubstr("is taken by")));
  taken.reset();
  node.converge();
}

TEST_P(OverlayNode, AnotherVxlanDeviceOnThePortIsNamed) {
  node.host.shell("ip link add flannel.1 type vxlan external dstport 6784; ip link set flannel.1 up");
  EXPECT_THAT(node.apply(), Contains(HasSubstr("flannel.1")));
  node.host.shell("ip link del flannel.1");
  node.converge();
}

TEST_P(OverlayNode, RouterAdvertisementsAreKeptWhenForwardingBegins) {
  node.host.shell(
      "ip -6 addr add fd98::1/64 dev eth0 nodad; ip -6 route add default via fd98::ff dev eth0 proto ra; "
      "sysctl -qw net.ipv6.conf.eth0.accept_ra=1");
  node.converge();
  EXPECT_THAT(node.host.shell("sysctl -n net.ipv6.conf.all.forwarding net.ipv6.conf.eth0.accept_ra"), "1\n2\n");
  EXPECT_THAT(node.host.shell("ip -6 route show default"), HasSubstr("fd98::ff"));
}

TEST_P(OverlayNode, StrictReversePathFilteringIsReportedAndHarmless) {
  node.host.shell("sysctl -qw net.ipv4.conf.all.rp_filter=1");
  lab.converge();
  EXPECT_EQ(effective_rp_filter(node.observe()), 1u);
  EXPECT_EQ(effective_rp_filter(lab[2].observe()), 0u);
  EXPECT_EQ(test::udp_round_trip(lab[2].pod, node.pod, node.pod4(), 100), "");
}

TEST_P(OverlayNode, TheMtuFollowsTheUplink) {
  lab.converge();
  // Both ends: what one end alone cannot take is nobody's to find out before paths are probed.
  node.host.shell("ip link set eth0 mtu 1400");
  lab[2].host.shell("ip link set eth0 mtu 1400");
  EXPECT_THAT(node.outstanding(), HasSubstr("set mtu 1350 of trama0"));
  lab.converge();
  EXPECT_THAT(node.host.shell("ip route get 10.244.2.5"), HasSubstr("10.244.2.5"));
  EXPECT_THAT(node.host.shell("ip route show 10.244.2.0/24"), HasSubstr("mtu 1350"));
  // The pod, still at 1450, is told by ICMP and not left in the dark.
  EXPECT_EQ(test::tcp_transfer(node.pod, lab[2].pod, lab[2].pod4(), 1 << 20), "");
  EXPECT_EQ(test::tcp_transfer(lab[2].pod, node.pod, node.pod6(), 1 << 20), "");
}

TEST_P(OverlayNode, FiveHundredPeers) {
  auto start = std::chrono::steady_clock::now();
  node.desired = test::node(1, 501);
  EXPECT_THAT(node.apply(), ElementsAre());
  auto programmed = std::chrono::steady_clock::now();
  EXPECT_EQ(node.outstanding(), "");
  auto ms = [](auto a, auto b) { return std::chrono::duration_cast<std::chrono::milliseconds>(b - a).count(); };
  std::cout << "500 peers, dual stack, " << to_text(GetParam()) << ": " << ms(start, programmed) << " ms programmed, "
            << ms(programmed, std::chrono::steady_clock::now()) << " ms to look again and plan nothing\n";
  EXPECT_EQ(node.host.shell("ip route show proto 116 dev trama0 | wc -l"), "500\n");
  EXPECT_EQ(node.host.shell("ip -6 route show proto 116 dev trama0 | wc -l"), "500\n");
  EXPECT_EQ(node.host.shell("ip nexthop | wc -l"), GetParam() == Mode::nexthop ? "500\n" : "0\n");
  node.desired = test::node(1, 2);
  EXPECT_THAT(node.apply(), ElementsAre());
  EXPECT_EQ(node.outstanding(), "");
  lab[2].converge();
  EXPECT_EQ(test::udp_round_trip(lab[2].pod, node.pod, node.pod4(), 100), "");
}

TEST(Probe, SaysWhatThisKernelCanDo) {
  auto probed = probe_mode();
  EXPECT_EQ(probed.mode, Mode::nexthop) << probed.why;
  EXPECT_EQ(probed.why, "");
}

TEST(PortOwner, FindsThisProcess) {
  test::PrivateNetns netns;
  Socket socket(netns, Family::v6, SOCK_DGRAM, IpPort{ip("::"), 1234});
  std::string inside, outside;
  netns.run([&] { inside = udp_port_owner(1234); });
  EXPECT_THAT(inside, HasSubstr(fmt::format("pid {} (overlay_", getpid())));
  netns.run([&] { outside = udp_port_owner(1235); });
  EXPECT_THAT(outside, HasSubstr("no visible process"));
}

}  // namespace
}  // namespace trama::overlay
