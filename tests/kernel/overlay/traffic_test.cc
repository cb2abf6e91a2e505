// SPDX-License-Identifier: GPL-2.0-or-later
// Packets between pods of several nodes, over the real kernel.
#include <thread>

#include <gmock/gmock.h>
#include <sys/socket.h>

#include "tests/kernel/overlay/lab.h"

namespace trama::overlay {
namespace {

using test::ip;
using test::Lab;
using test::Socket;
using test::tcp_transfer;
using test::udp_round_trip;
using testing::HasSubstr;

struct Case {
  const char* name;
  Mode mode;
  Family underlay;
};
class Traffic : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Overlay, Traffic,
                         testing::Values(Case{"Nexthop", Mode::nexthop, Family::v4}, Case{"Fdb", Mode::fdb, Family::v4},
                                         Case{"NexthopOverIpv6", Mode::nexthop, Family::v6},
                                         Case{"FdbOverIpv6", Mode::fdb, Family::v6}),
                         [](const auto& i) { return i.param.name; });

std::string ping(const test::PrivateNetns& from, const Ip& to) {
  std::string out;
  return from.shell("ping -n -c 1 -W 2 " + to.to_string(), &out) == 0 ? "" : out;
}

TEST_P(Traffic, AllPairsSpeakEveryProtocol) {
  Lab lab(3, GetParam().mode, GetParam().underlay);
  // Negative control: without the overlay there is no way.
  EXPECT_NE(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 10, 200), "");
  lab.converge();
  unsigned mtu = lab[1].observe().device->mtu;
  EXPECT_EQ(mtu, GetParam().underlay == Family::v4 ? 1450u : 1430u);
  for (auto& [a, from] : lab.nodes) {
    for (auto& [b, to] : lab.nodes) {
      if (a == b) continue;
      for (const auto& address : {to->pod4(), to->pod6()}) {
        auto pair = fmt::format("n{} -> {}", a, address.to_string());
        EXPECT_EQ(ping(from->pod, address), "") << pair;
        EXPECT_EQ(ping(from->host.netns(), address), "") << pair << " from the node";
        EXPECT_EQ(udp_round_trip(from->pod, to->pod, address, 1400), "") << pair;
        EXPECT_EQ(udp_round_trip(from->pod, to->pod, address, 20'000), "") << pair << ", inner fragments";
        EXPECT_EQ(tcp_transfer(from->pod, to->pod, address, 1 << 20), "") << pair;
      }
      EXPECT_EQ(ping(from->pod, vtep_ip(to->desired.pod_cidrs[0])), "") << "pod to node";
    }
  }
  EXPECT_EQ(lab[1].counted(".*"), 0u) << lab[1].host.shell("nft list table inet trama-overlay");
  // The outer flow is not tracked.
  std::string tracked = lab[1].host.shell("cat /proc/net/nf_conntrack 2>/dev/null || true");
  EXPECT_EQ(tracked.find("dport=6784"), std::string::npos) << tracked;
}

TEST_P(Traffic, APlannedMoveLosesNothing) {
  Lab lab(3, GetParam().mode, GetParam().underlay);
  lab.converge();
  bool v4 = GetParam().underlay == Family::v4;
  auto moved = ip(v4 ? "192.168.88.2" : "fd77::88:2");
  lab[2].host.shell("ip addr add " + moved.to_string() + (v4 ? "/16 dev eth0" : "/64 dev eth0 nodad"));
  if (v4) lab[2].host.shell("sysctl -qw net.ipv4.conf.eth0.promote_secondaries=1");
  std::string out;
  std::thread train([&] { lab[1].pod.shell("ping -q -n -i 0.002 -c 500 -W 1 " + lab[2].pod4().to_string(), &out); });
  auto arrived = [&] { return std::stoul(lab[2].host.shell("awk '/trama0:/ { print $3 }' /proc/net/dev")); };
  EXPECT_TRUE(trama::test::eventually([&] { return arrived() > 50; }));  // of 500: the move comes in mid-train
  for (unsigned n : {1u, 3u}) {
    lab[n].desired.peers.at("n2").underlay = moved;
    EXPECT_EQ(lab[n].converge(), 2u) << "one step for the guards, one for the path";
  }
  lab[2].desired.underlay = moved;
  lab[2].converge();
  EXPECT_LT(arrived(), 500u);
  train.join();
  EXPECT_THAT(out, HasSubstr("500 received, 0% packet loss"));
  EXPECT_EQ(udp_round_trip(lab[2].pod, lab[1].pod, lab[1].pod6(), 1400), "");
  // And the old address is really out of use.
  lab[2].host.shell("ip addr del " + std::string(v4 ? "192.168.77.2/16" : "fd77::2/64") + " dev eth0");
  EXPECT_EQ(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1400), "");
  EXPECT_EQ(udp_round_trip(lab[3].pod, lab[2].pod, lab[2].pod6(), 1400), "");
}

TEST_P(Traffic, ARestartOnAnUnchangedWorldDoesNothing) {
  Lab lab(2, GetParam().mode, GetParam().underlay);
  lab.converge();
  auto table = lab[1].host.shell("nft list table inet trama-overlay; ip nexthop; ip -d link show trama0");
  lab[1].restart();
  EXPECT_EQ(lab[1].outstanding(), "");
  EXPECT_EQ(lab[1].host.shell("nft list table inet trama-overlay; ip nexthop; ip -d link show trama0"), table);
}

TEST_P(Traffic, MixedModesSpeakToEachOther) {
  Lab lab(2, GetParam().mode, GetParam().underlay);
  Lab other(0, {});
  Mode opposite = GetParam().mode == Mode::fdb ? Mode::nexthop : Mode::fdb;
  auto desired = lab[2].desired;
  lab.nodes.erase(2);
  lab.fabric.shell("ip link del p2");
  lab.nodes.emplace(2, std::make_unique<test::Node>(lab.fabric, 2, desired, opposite));
  lab.converge();
  EXPECT_EQ(udp_round_trip(lab[1].pod, lab[2].pod, lab[2].pod4(), 1400), "");
  EXPECT_EQ(tcp_transfer(lab[2].pod, lab[1].pod, lab[1].pod6(), 1 << 20), "");
}

TEST_P(Traffic, WhatGoesToARemovedPeerDoesNotLeak) {
  Lab lab(2, GetParam().mode, GetParam().underlay);
  lab.converge();
  lab[1].host.shell("ip route add default dev eth0; ip -6 route add default dev eth0");
  lab[1].desired.peers.clear();
  lab[1].converge();
  std::string out;
  EXPECT_NE(lab[1].host.netns().shell("ip route get " + lab[2].pod4().to_string(), &out), 0) << out;
  EXPECT_NE(lab[1].host.netns().shell("ip -6 route get " + lab[2].pod6().to_string(), &out), 0) << out;
  EXPECT_EQ(lab[1].host.netns().shell("ip route get 198.51.100.1", &out), 0) << out;  // control
}

}  // namespace
}  // namespace trama::overlay
