// SPDX-License-Identifier: GPL-2.0-or-later
// What peers say about WireGuard, and when packets take it.
#include "overlay/peers/wireguard.h"

#include <gmock/gmock.h>

#include "overlay/peers/choice.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::peers {
namespace {

TEST(WireguardCapability, NamesAPortAndAKeyOrNothing) {
  WireguardEnd end{base::WireguardKey::random(), 6785};
  auto text = wireguard_capability(end);
  EXPECT_LE(text.size(), 64u) << "as long as a capability may be";
  EXPECT_LE(wireguard_capability({end.key, 65535}).size(), 64u);
  EXPECT_EQ(wireguard_end({"vxlan", text}), end);
  Hello hello;
  hello.node = "n1";
  hello.uid = std::string(32, 'a');
  hello.capabilities = {"vxlan", text};
  auto heard = parse_hello(encode(hello));  // as every version takes it
  ASSERT_TRUE(heard) << heard.error().to_string();
  EXPECT_EQ(wireguard_end(heard->capabilities), end);
  base::WireguardKey counted;
  for (std::size_t i = 0; i < counted.octets.size(); ++i) counted.octets[i] = static_cast<std::uint8_t>(i);
  EXPECT_EQ(wireguard_capability({counted, 6785}), "wg.6785.aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq");
  auto key = text.substr(text.size() - 52);
  for (const std::string& rest :
       {std::string(), key, "0." + key, "65536." + key, "-1." + key, "06785." + key, std::string("6785"),
        std::string("6785."), "6785." + key.substr(1), "6785." + key + "a", "6785 ." + key,
        "6785." + std::string(52, 'a'), "6785." + key.substr(0, 51) + "b", "6785." + key.substr(0, 51) + "1"})
    EXPECT_FALSE(wireguard_end(std::vector{"wg." + rest})) << rest;
  EXPECT_EQ(wireguard_end({"wg.1.x", text}), end) << "the first that is one";
}

TEST(WireguardMtu, FollowsWhatTheTunnelHasFound) {
  EXPECT_EQ(wireguard_mtu_by_tunnel(1440, 1436, 1436), 1440u);
  EXPECT_EQ(wireguard_mtu_by_tunnel(1420, 1416, 1416), 1420u);
  EXPECT_EQ(wireguard_mtu_by_tunnel(1440, 0, 1436), 1440u) << "nothing is known";
  EXPECT_EQ(wireguard_mtu_by_tunnel(1440, 1336, 1436), 1328u) << "a whole number of 16 bytes: no padding beyond it";
  EXPECT_EQ(wireguard_mtu_by_tunnel(1280, 1336, 1436), 1280u);
  for (unsigned tunnel = 1280; tunnel < 1436; ++tunnel) {
    auto packet = wireguard_mtu_by_tunnel(1440, tunnel, 1436);
    EXPECT_LE((packet + 15) / 16 * 16 + 60, tunnel + 64) << tunnel;
  }
}

struct Wireguarded : testing::Test {
  PathChoice choice;
  Situation s;
  void SetUp() override {
    s.must_encrypt = s.offered_wireguard = true;
    s.who_demands = "n1 requires encryption";
  }
  Use use() {
    choice.decide(s);
    return choice.use();
  }
};

TEST_F(Wireguarded, IsTakenOnceItIsUpAndLeftWhenItIsDown) {
  s.tunnel = PathState::up;
  s.wireguard = PathState::probing;
  EXPECT_EQ(use(), Use::undecided) << "the kernel may have it from before";
  s.wireguard = PathState::up;
  EXPECT_EQ(use(), Use::wireguard);
  EXPECT_EQ(choice.why(), "");
  s.tunnel = PathState::down;
  EXPECT_EQ(use(), Use::wireguard);
  s.wireguard = PathState::degraded;
  s.wireguard_loss = 60;
  EXPECT_EQ(use(), Use::wireguard) << "bad is better than nothing";
  s.tunnel = PathState::up;
  EXPECT_EQ(use(), Use::tunnel);
  s.wireguard_loss = 8;
  EXPECT_EQ(use(), Use::tunnel) << "not back before it is well";
  s.wireguard = PathState::down;
  s.wireguard_reason = "UDP 6785 does not pass";
  EXPECT_EQ(use(), Use::tunnel);
  EXPECT_EQ(choice.why(), "n1 requires encryption; wireguard: UDP 6785 does not pass");
  s.wireguard = PathState::up;
  s.wireguard_reason.clear();
  EXPECT_EQ(use(), Use::wireguard);
  s.wireguard = s.tunnel = PathState::down;
  EXPECT_EQ(use(), Use::wireguard) << "nothing works: nothing is changed";
  s.relay = PathState::up;
  EXPECT_EQ(use(), Use::relay);
  s.wireguard = PathState::up;
  EXPECT_EQ(use(), Use::wireguard);
}

TEST_F(Wireguarded, IsNotTakenWhereItIsNotOfferedOrNotNeeded) {
  for (auto state : {PathState::unknown, PathState::probing, PathState::up, PathState::degraded, PathState::down})
    for (auto vxlan : {PathState::unknown, PathState::up, PathState::down}) {
      PathChoice c;
      Situation t = s;
      t.wireguard = state;
      t.vxlan = vxlan;
      t.tunnel = PathState::up;
      t.offered_wireguard = false;
      c.decide(t);
      EXPECT_EQ(c.use(), Use::tunnel);
      PathChoice clear;
      t.offered_wireguard = true;
      t.must_encrypt = false;
      clear.decide(t);
      EXPECT_NE(clear.use(), Use::wireguard);
      // And with it nothing goes in the clear, whatever is up.
      PathChoice sealed;
      t.must_encrypt = true;
      for (int i = 0; i < 3; ++i) sealed.decide(t);
      EXPECT_NE(sealed.use(), Use::vxlan);
      EXPECT_NE(sealed.use(), Use::direct);
    }
}

TEST_F(Wireguarded, WhoHasNotSpokenYetIsWaitedForAndThenNotAnyMore) {
  s.offered_wireguard = false;
  s.may_have_wireguard = true;
  EXPECT_EQ(use(), Use::undecided);
  s.may_have_wireguard = false;  // it has, and has none
  EXPECT_EQ(use(), Use::tunnel);
  s.may_have_wireguard = true;
  EXPECT_EQ(use(), Use::tunnel) << "no going back to not knowing";
}

}  // namespace
}  // namespace trama::overlay::peers
