// SPDX-License-Identifier: GPL-2.0-or-later
// What the guards stop, each beside the same packet from the right peer, and what they must let through.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/ip.h>
#include <sys/socket.h>

#include "tests/kernel/overlay/lab.h"

namespace trama::overlay {
namespace {

using base::IpPort;
using test::cidr;
using test::Host;
using test::ip;
using test::Lab;
using test::Node;
using test::Socket;
using testing::HasSubstr;

constexpr const char* kStranger = "the sender is no peer";
constexpr const char* kWrongVni = "another VNI than our 116";
constexpr const char* kNoVni = "VXLAN without a VNI";
constexpr const char* kForged = "the inner source is no pod of that peer";

void put(std::string& out, std::initializer_list<unsigned> bytes) {
  for (unsigned b : bytes) out.push_back(static_cast<char>(b));
}
void put(std::string& out, const Ip& address) {
  out.append(reinterpret_cast<const char*>(address.bytes().data()), address.size());
}
std::uint16_t sum16(const std::string& data, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < data.size(); i += 2)
    sum += static_cast<std::uint32_t>(static_cast<unsigned char>(data[i]) << 8) +
           (i + 1 < data.size() ? static_cast<unsigned char>(data[i + 1]) : 0u);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

struct Forgery {
  unsigned vni = 116, flags = 0x08;
  Mac to, from{{2, 2, 2, 2, 2, 2}};
  Ip source, destination;
  std::uint16_t port = 0;
  std::string data = "forged";
};
// What stands behind the outer UDP header: VXLAN, Ethernet, IP, UDP.
std::string vxlan(const Forgery& f) {
  std::string udp;
  auto length = static_cast<unsigned>(8 + f.data.size());
  put(udp,
      {7, 7, static_cast<unsigned>(f.port >> 8), static_cast<unsigned>(f.port & 255), length >> 8, length & 255, 0, 0});
  udp += f.data;
  std::string pseudo;
  put(pseudo, f.source);
  put(pseudo, f.destination);
  put(pseudo, {0, 17, length >> 8, length & 255});
  auto check = static_cast<std::uint16_t>(~sum16(udp, sum16(pseudo)));
  udp[6] = static_cast<char>(check >> 8), udp[7] = static_cast<char>(check);
  std::string out;
  put(out, {f.flags, 0, 0, 0, f.vni >> 16 & 255, f.vni >> 8 & 255, f.vni & 255, 0});
  for (auto o : f.to.octets) put(out, {o});
  for (auto o : f.from.octets) put(out, {o});
  if (f.source.is_v4()) {
    put(out, {0x08, 0x00});
    std::string header;
    auto total = static_cast<unsigned>(20 + udp.size());
    put(header, {0x45, 0, total >> 8, total & 255, 0, 0, 0, 0, 64, 17, 0, 0});
    put(header, f.source);
    put(header, f.destination);
    auto sum = static_cast<std::uint16_t>(~sum16(header));
    header[10] = static_cast<char>(sum >> 8), header[11] = static_cast<char>(sum);
    return out + header + udp;
  }
  put(out, {0x86, 0xdd, 0x60, 0, 0, 0, length >> 8, length & 255, 17, 64});
  put(out, f.source);
  put(out, f.destination);
  return out + udp;
}

// Node 1 under attack from the namespace of node 2, which has a peer's address, and from a stranger.
class Guards : public testing::TestWithParam<Mode> {
 protected:
  Lab lab{3, GetParam()};
  Host stranger{lab.fabric, "px", {"192.168.77.99/16"}};
  Node& n1 = lab[1];
  void SetUp() override {
    lab.converge();
    lab[2].host.shell("ip link set trama0 down");  // its own device does not disturb
  }
  Forgery forgery(const Ip& source, const Ip& destination, std::uint16_t port) {
    Forgery f;
    f.to = vtep_mac(n1.desired.cluster_id, "n1");
    f.source = source, f.destination = destination, f.port = port;
    return f;
  }
  // Whether the pod of node 1 gets it.
  bool delivered(const test::PrivateNetns& attacker, Forgery f) {
    Socket victim(n1.pod, f.source.family(), SOCK_DGRAM);
    Socket attack(attacker, Family::v4, SOCK_DGRAM);
    f.destination = f.source.is_v4() ? n1.pod4() : n1.pod6();
    f.port = victim.port();
    EXPECT_TRUE(attack.send_to({n1.desired.underlay, kDataPort}, vxlan(f)));
    return victim.receive(150).has_value();
  }
};
INSTANTIATE_TEST_SUITE_P(Modes, Guards, testing::Values(Mode::nexthop, Mode::fdb),
                         [](const auto& i) { return to_text(i.param); });

TEST_P(Guards, TheRightPacketFromTheRightPeerPasses) {
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("fd00:244:2::7"), {}, 0)));
  EXPECT_EQ(n1.counted(".*"), 0u);
}

TEST_P(Guards, AnotherVniIsDroppedAndCounted) {
  auto f = forgery(ip("10.244.2.7"), {}, 0);
  f.vni = 777;
  EXPECT_FALSE(delivered(lab[2].host.netns(), f));
  EXPECT_EQ(n1.counted(kWrongVni), 1u);
  f.vni = 116;
  f.flags = 0;
  EXPECT_FALSE(delivered(lab[2].host.netns(), f));
  EXPECT_EQ(n1.counted(kNoVni), 1u);
}

TEST_P(Guards, AStrangerIsDroppedAndCounted) {
  EXPECT_FALSE(delivered(stranger.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_EQ(n1.counted(kStranger), 1u);
}

// A node with a second uplink: each of its announced addresses speaks for its pods, no other does, and for no others.
TEST_P(Guards, EveryAnnouncedUplinkOfAPeerPassesAndNoOther) {
  auto second = ip("192.168.77.202"), silent = ip("192.168.77.203");
  lab[2].host.shell("ip addr add 192.168.77.202/16 dev eth0; ip addr add 192.168.77.203/16 dev eth0");
  auto from = [&](const Host& host, const Ip& outer, const char* inner) {
    Socket victim(n1.pod, Family::v4, SOCK_DGRAM);
    Socket attack(host.netns(), Family::v4, SOCK_DGRAM, IpPort{outer, 0});
    EXPECT_TRUE(attack.send_to({n1.desired.underlay, kDataPort}, vxlan(forgery(ip(inner), n1.pod4(), victim.port()))));
    return victim.receive(150).has_value();
  };
  EXPECT_FALSE(from(lab[2].host, second, "10.244.2.7")) << "the control: not announced yet";
  EXPECT_EQ(n1.counted(kStranger), 1u);
  n1.desired.peers.at("n2").further = {second};
  n1.converge();
  EXPECT_TRUE(from(lab[2].host, second, "10.244.2.7"));
  EXPECT_TRUE(from(lab[2].host, lab[2].desired.underlay, "10.244.2.7")) << "the first one as before";
  EXPECT_FALSE(from(lab[2].host, silent, "10.244.2.7")) << "an address of its that is not announced";
  EXPECT_EQ(n1.counted(kStranger), 2u);
  EXPECT_FALSE(from(lab[2].host, second, "10.244.3.7")) << "as a pod of n3";
  EXPECT_FALSE(from(lab[3].host, lab[3].desired.underlay, "10.244.2.7")) << "n3 as a pod of n2";
  EXPECT_EQ(n1.counted(kForged), 2u);
  n1.desired.peers.at("n2").further.clear();
  n1.converge();
  auto table = n1.host.shell("nft list table inet trama-overlay");
  EXPECT_NE(table.find("192.168.77.202 timeout 10s"), std::string::npos) << "kept for ten seconds, then forgotten\n"
                                                                         << table;
}

TEST_P(Guards, AForgedInnerSourceIsDroppedAndCounted) {
  std::uint64_t expected = 0;
  for (auto source : {"10.244.3.7", "10.244.1.9", "169.254.1.1", "127.0.0.1", "192.168.77.3", "fd00:244:3::7",
                      "fd00:244:1::9", "fe80::1", "::1"}) {
    EXPECT_FALSE(delivered(lab[2].host.netns(), forgery(ip(source), {}, 0))) << source;
    EXPECT_EQ(n1.counted(kForged), ++expected) << source;
  }
}

TEST_P(Guards, WhatIsNoIpIsDropped) {
  auto f = vxlan(forgery(ip("10.244.2.7"), n1.pod4(), 9));
  f[20] = 0x08, f[21] = 0x06;  // ARP
  Socket attack(lab[2].host.netns(), Family::v4, SOCK_DGRAM);
  EXPECT_TRUE(attack.send_to({n1.desired.underlay, kDataPort}, f));
  EXPECT_TRUE(trama::test::eventually([&] { return n1.counted(kForged) == 1; }));
  // Neither is what is too short to tell.
  for (std::size_t size : {0u, 1u, 8u, 16u, 22u, 30u, 40u})
    EXPECT_TRUE(attack.send_to({n1.desired.underlay, kDataPort}, f.substr(0, size)));
  EXPECT_TRUE(attack.send_to({n1.desired.underlay, kDataPort}, f));
  EXPECT_TRUE(trama::test::eventually([&] { return n1.counted(kForged) >= 2; }));
}

// The same packets get in once the guards are gone: so it is they that stop them.
TEST_P(Guards, WithoutTheGuardsTheForgeriesGetIn) {
  n1.host.shell("nft delete table inet trama-overlay");
  EXPECT_TRUE(delivered(stranger.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("10.244.3.7"), {}, 0)));
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("fd00:244:3::7"), {}, 0)));
}

TEST_P(Guards, ARemovedPeerIsAStrangerAtOnceAndAMovedOneNot) {
  n1.desired.peers.at("n2").underlay = ip("192.168.77.22");
  n1.converge();
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));  // still sends from the old address
  n1.desired.peers.erase("n2");
  n1.converge();
  EXPECT_FALSE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_EQ(n1.counted(kStranger), 1u);
}

TEST_P(Guards, AnExceptionToEncryptionIsAnElementAndTheTableStays) {
  n1.desired.encrypt = true;
  n1.converge();
  EXPECT_FALSE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_EQ(n1.counted("in the clear, where encryption is required"), 1u);
  n1.desired.peers.at("n2").clear = true;
  EXPECT_THAT(n1.outstanding(), HasSubstr("change guards: +clear 192.168.77.2"));
  n1.converge();
  EXPECT_EQ(n1.outstanding(), "");
  EXPECT_TRUE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_FALSE(delivered(lab[3].host.netns(), forgery(ip("10.244.3.7"), {}, 0)));
  n1.desired.peers.at("n2").clear = false;
  n1.converge();
  EXPECT_FALSE(delivered(lab[2].host.netns(), forgery(ip("10.244.2.7"), {}, 0)));
  EXPECT_EQ(n1.counted("in the clear, where encryption is required"), 3u) << "loaded once, so counted on";
}

TEST_P(Guards, OtherTrafficOfTheMachineIsLeftAlone) {
  // UDP 6784 between others that n1 only routes, and another port to n1 itself.
  Host beyond(lab.fabric, "py", {"192.168.77.98/16"});
  n1.host.shell("ip addr add 172.16.0.1/24 dev eth0; ip route add 172.16.5.5/32 via 192.168.77.98");
  beyond.shell("ip addr add 172.16.5.5/32 dev lo");
  stranger.shell("ip route add 172.16.5.5/32 via 192.168.77.1");
  Socket server(beyond.netns(), Family::v4, SOCK_DGRAM, IpPort{ip("172.16.5.5"), kDataPort});
  Socket client(stranger.netns(), Family::v4, SOCK_DGRAM);
  EXPECT_TRUE(client.send_to({ip("172.16.5.5"), kDataPort}, "routed"));
  EXPECT_TRUE(server.receive());
  Socket local(n1.host.netns(), Family::v4, SOCK_DGRAM, IpPort{n1.desired.underlay, 9999});
  EXPECT_TRUE(client.send_to({n1.desired.underlay, 9999}, "local"));
  EXPECT_TRUE(local.receive());
  EXPECT_EQ(n1.counted(".*"), 0u);
}

TEST_P(Guards, PodsSpeakAsTheirNodeOnlyBeyondTheCluster) {
  lab[2].host.shell("ip link set trama0 up");
  lab[2].converge();
  stranger.shell("ip -6 addr add fd99::99/64 dev eth0 nodad");
  n1.host.shell("ip -6 addr add fd99::1/64 dev eth0 nodad");
  auto seen_from = [&](const test::PrivateNetns& from, const test::PrivateNetns& to, const Ip& address) -> IpPort {
    Socket server(to, address.family(), SOCK_DGRAM), client(from, address.family(), SOCK_DGRAM);
    EXPECT_TRUE(client.send_to({address, server.port()}, "x"));
    auto got = server.receive();
    if (!got) return {};
    EXPECT_TRUE(server.send_to(got->second, "y"));
    EXPECT_TRUE(client.receive()) << "no way back";
    return got->second;
  };
  EXPECT_EQ(seen_from(n1.pod, lab[2].pod, lab[2].pod4()).ip, n1.pod4());
  EXPECT_EQ(seen_from(n1.pod, lab[2].pod, lab[2].pod6()).ip, n1.pod6());
  EXPECT_EQ(seen_from(n1.host.netns(), lab[2].pod, lab[2].pod4()).ip, ip("10.244.1.0"));
  for (int i = 0; i < 20; ++i) {
    auto out = seen_from(n1.pod, stranger.netns(), ip("192.168.77.99"));
    EXPECT_EQ(out.ip, n1.desired.underlay);
    EXPECT_TRUE(out.port >= 32768 && out.port <= 60999) << out.port;
  }
  EXPECT_EQ(seen_from(n1.pod, stranger.netns(), ip("fd99::99")).ip, ip("fd99::1"));
  // A local process that insists on another source is still understood by the peer.
  Socket server(lab[2].pod, Family::v4, SOCK_DGRAM);
  Socket client(n1.host.netns(), Family::v4, SOCK_DGRAM, IpPort{n1.desired.underlay, 0});
  EXPECT_TRUE(client.send_to({lab[2].pod4(), server.port()}, "x"));
  auto got = server.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->second.ip, ip("10.244.1.0"));
  // The DNS addresses stand on the same device and are nobody's source, however close to the peer they look.
  n1.desired.dns = {ip("10.244.2.250"), ip("fd00:244:2::fa")};
  n1.converge();
  EXPECT_EQ(seen_from(n1.host.netns(), lab[2].pod, lab[2].pod4()).ip, ip("10.244.1.0"));
  EXPECT_EQ(seen_from(n1.host.netns(), lab[2].pod, lab[2].pod6()).ip, ip("fd00:244:1::"));
  Socket server6(lab[2].pod, Family::v6, SOCK_DGRAM);
  Socket client6(n1.host.netns(), Family::v6, SOCK_DGRAM, IpPort{ip("fd99::1"), 0});
  EXPECT_TRUE(client6.send_to({lab[2].pod6(), server6.port()}, "x"));
  got = server6.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->second.ip, ip("fd00:244:1::"));
  // Not asked for: the pod's own address goes out.
  n1.desired.masquerade = false;
  n1.converge();
  stranger.shell("ip route add 10.244.1.0/24 via 192.168.77.1");
  EXPECT_EQ(seen_from(n1.pod, stranger.netns(), ip("192.168.77.99")).ip, n1.pod4());
}

TEST_P(Guards, TheListingIsReadBackByNftAsItIs) {
  auto listed = n1.host.shell("nft list table inet trama-overlay");
  for (auto words : {"the sender is no peer", "udp dport 6784", "another VNI than our 116", "pods of this node", "n2"})
    EXPECT_THAT(listed, HasSubstr(words));
  EXPECT_THAT(listed, testing::Not(HasSubstr("@nh")));
  auto again = n1.host.shell(
      "nft list table inet trama-overlay > /tmp/overlay-guards.$$; nft delete table inet trama-overlay; "
      "nft -f /tmp/overlay-guards.$$; rm /tmp/overlay-guards.$$; nft list table inet trama-overlay");
  EXPECT_EQ(again, listed);
  // And what nft has loaded is for us the same table.
  EXPECT_EQ(n1.observe().guards->rules, rules_text(desired_guards(n1.desired, admit(n1.desired).peers).frame));
  EXPECT_EQ(n1.outstanding(), "");
}

// The same with plain routes, whose rule looks at Ethernet addresses.
TEST_P(Guards, TheListingOfPlainRoutesIsReadBackByNftAsItIs) {
  n1.desired.direct = true;
  n1.desired.peers.at("n2").direct = *base::Mac::parse("02:00:00:00:00:22");
  if (n1.observe().mode != Mode::nexthop) {
    EXPECT_EQ(n1.outstanding(), "") << "there are none without nexthop objects";
    return;
  }
  n1.converge();
  auto listed = n1.host.shell("nft list table inet trama-overlay");
  EXPECT_THAT(listed, HasSubstr("iifname \"eth0\" ip saddr @cluster4 jump plain"));
  EXPECT_THAT(listed, HasSubstr("ether saddr . ip saddr @direct4 return"));
  EXPECT_THAT(listed, HasSubstr("02:00:00:00:00:22 . 10.244.2.0/24 comment \"n2\""));
  EXPECT_THAT(listed, HasSubstr("a pod's packet that another than its node has sent"));
  auto again = n1.host.shell(
      "nft list table inet trama-overlay > /tmp/overlay-guards.$$; nft delete table inet trama-overlay; "
      "nft -f /tmp/overlay-guards.$$; rm /tmp/overlay-guards.$$; nft list table inet trama-overlay");
  EXPECT_EQ(again, listed);
  EXPECT_EQ(n1.outstanding(), "") << "what nft has loaded is for us the same table";
  n1.desired.direct = false;
  n1.converge();
  EXPECT_THAT(n1.host.shell("nft list table inet trama-overlay"), testing::Not(HasSubstr("plain")));
}

}  // namespace
}  // namespace trama::overlay
