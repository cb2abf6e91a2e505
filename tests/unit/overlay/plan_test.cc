// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/plan.h"

#include <random>

#include <gmock/gmock.h>

#include "overlay/fake_kernel.h"
#include "tests/support/golden.h"
#include "tests/unit/overlay/worlds.h"

namespace trama::overlay {
namespace {

using test::cidr;
using test::ip;
using test::text_of;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string run(FakeKernel& kernel, const Desired& desired) {
  for (const auto& op : plan(desired, *kernel.observe()))
    if (auto done = kernel.apply(op); !done) return to_text(op) + ": " + done.error().to_string();
  return "";
}

class PlanIn : public testing::TestWithParam<Mode> {
 protected:
  FakeKernel kernel{GetParam()};
  Desired desired = test::node(1, 3);
  void SetUp() override { kernel.world = test::empty_machine(desired, GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(Modes, PlanIn, testing::Values(Mode::nexthop, Mode::fdb),
                         [](const auto& i) { return to_text(i.param); });

TEST_P(PlanIn, FromNothingReadsAsAlways) {
  EXPECT_EQ(trama::test::golden_difference("overlay/install-" + to_text(GetParam()) + ".txt",
                                           text_of(plan(desired, kernel.world))),
            "");
}

TEST_P(PlanIn, ConvergesAndThenPlansNothing) {
  EXPECT_EQ(run(kernel, desired), "");
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
  EXPECT_THAT(problems(desired, kernel.world), IsEmpty());
}

TEST_P(PlanIn, RemovalMirrorsAndLeavesNothing) {
  auto before = kernel.world;
  ASSERT_EQ(run(kernel, desired), "");
  auto ops = plan(Desired{}, kernel.world);
  EXPECT_EQ(trama::test::golden_difference("overlay/remove-" + to_text(GetParam()) + ".txt", text_of(ops)), "");
  ASSERT_EQ(run(kernel, Desired{}), "");
  EXPECT_FALSE(kernel.world.device);
  EXPECT_FALSE(kernel.world.guards);
  EXPECT_TRUE(kernel.world.routes.empty() && kernel.world.nexthops.empty() && kernel.world.neighbours.empty() &&
              kernel.world.forwards.empty() && kernel.world.addresses.empty());
  EXPECT_TRUE(plan(Desired{}, kernel.world).empty());
  EXPECT_TRUE(plan(Desired{}, before).empty());  // never there: nothing to do
}

TEST_P(PlanIn, APeerThatMovesCostsOneForwardingChange) {
  ASSERT_EQ(run(kernel, desired), "");
  desired.peers.at("n2").underlay = ip("192.168.77.20");
  auto ops = plan(desired, kernel.world);
  ASSERT_EQ(ops.size(), 2u) << text_of(ops);
  EXPECT_EQ(to_text(ops[0]),
            "change guards: ~peer 192.168.77.2 (n2) ~pods 192.168.77.2 . 10.244.2.0/24 (n2) ~pods 192.168.77.2 . "
            "fd00:244:2::/64 (n2) +peer 192.168.77.20 (n2) +pods 192.168.77.20 . 10.244.2.0/24 (n2) +pods "
            "192.168.77.20 . fd00:244:2::/64 (n2)");
  if (GetParam() == Mode::nexthop)
    EXPECT_TRUE(std::holds_alternative<PutNexthop>(ops[1])) << text_of(ops);
  else
    EXPECT_TRUE(std::holds_alternative<PutForward>(ops[1])) << text_of(ops);
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");  // the retired elements expire by themselves
}

TEST_P(PlanIn, ARemovedPeerGoesPointersFirst) {
  ASSERT_EQ(run(kernel, desired), "");
  desired.peers.erase("n2");
  auto ops = plan(desired, kernel.world);
  std::size_t routes = 0, nexthops = 0;
  bool pointee_gone = false;
  for (const auto& op : ops) {
    if (std::holds_alternative<DeleteRoute>(op)) {
      EXPECT_FALSE(pointee_gone) << text_of(ops);
      ++routes;
    }
    if (std::holds_alternative<DeleteNexthop>(op) || std::holds_alternative<DeleteNeighbour>(op) ||
        std::holds_alternative<DeleteForward>(op)) {
      pointee_gone = true;
      ++nexthops;
    }
  }
  EXPECT_EQ(routes, 2u);
  EXPECT_GE(nexthops, 2u);
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(kernel.world.guards->pods.size(), 2u);  // nothing retired: a removed peer is out at once
}

TEST_P(PlanIn, TheGuardsStandBeforeTheDeviceGoesUp) {
  auto ops = plan(desired, kernel.world);
  auto at = [&](auto is) { return std::find_if(ops.begin(), ops.end(), is) - ops.begin(); };
  auto guards = at([](auto& o) { return std::holds_alternative<LoadGuards>(o); });
  auto fence =
      at([](auto& o) { return std::holds_alternative<AddRoute>(o) && std::get<AddRoute>(o).route.unreachable; });
  auto up = at([](auto& o) { return std::holds_alternative<overlay::SetUp>(o); });
  EXPECT_LT(guards, up);
  EXPECT_LT(fence, up);
  EXPECT_LT(up, std::ssize(ops));
}

TEST_P(PlanIn, AnyDamageIsRepairedAndOnlyThat) {
  ASSERT_EQ(run(kernel, desired), "");
  const auto whole = kernel.world;
  std::vector<std::pair<const char*, std::function<void()>>> damages = {
      {"device deleted", [&] { kernel.delete_device(); }},
      {"device down", [&] { kernel.set_down(); }},
      {"routes", [&] { kernel.world.routes.clear(); }},
      {"nexthops",
       [&] {
         for (auto id : whole.nexthops) (void)kernel.apply(DeleteNexthop{id.first});
       }},
      {"neighbours", [&] { kernel.world.neighbours.clear(); }},
      {"fdb", [&] { kernel.world.forwards.clear(); }},
      {"fdb doubled",
       [&] {
         for (auto& [mac, to] : kernel.world.forwards) to.insert(ip("192.0.2.1"));
       }},
      {"mac",
       [&] {
         kernel.world.device->mac = Mac{{2, 9, 9, 9, 9, 9}};
       }},
      {"mtu", [&] { kernel.world.device->mtu = 1280; }},
      {"port", [&] { kernel.world.device->vxlan.port = 4789; }},
      {"another kind", [&] { kernel.world.device->kind = "bridge"; }},
      {"alias", [&] { kernel.world.device->alias = ""; }},
      {"address", [&] { kernel.world.addresses.clear(); }},
      {"foreign address", [&] { kernel.world.addresses[ip("10.9.9.9")] = 24; }},
      {"guards gone", [&] { kernel.world.guards.reset(); }},
      {"guards edited", [&] { kernel.world.guards->rules += "x"; }},
      {"guard element", [&] { kernel.world.guards->pods.erase(kernel.world.guards->pods.begin()); }},
      {"foreign guard element",
       [&] {
         kernel.world.guards->peers[ip("192.0.2.9")] = {"evil", false};
       }},
      {"sysctl", [&] { kernel.world.sysctls["net/ipv4/conf/trama0/rp_filter"] = "1"; }},
      {"forwarding", [&] { kernel.world.sysctls["net/ipv4/ip_forward"] = "0"; }},
      {"fence gone", [&] { std::erase_if(kernel.world.routes, [](auto& r) { return r.second.unreachable; }); }},
      {"stale route",
       [&] {
         kernel.world.routes[{cidr("10.244.9.0/24"), 0}] = Route{cidr("10.244.9.0/24"), 0, false, 0, {}, {}, 0};
       }},
      {"route edited",
       [&] {
         for (auto& [key, route] : kernel.world.routes) route.mtu = 1000;
       }},
  };
  for (auto& [what, damage] : damages) {
    kernel.world = whole;
    damage();
    auto ops = plan(desired, kernel.world);
    bool other_mode = (std::string(what).find("fdb") == 0 && GetParam() == Mode::nexthop) ||
                      (std::string(what) == "nexthops" && GetParam() == Mode::fdb);
    EXPECT_EQ(ops.empty(), other_mode) << what;
    ASSERT_EQ(run(kernel, desired), "") << what;
    EXPECT_EQ(text_of(plan(desired, kernel.world)), "") << what;
    EXPECT_EQ(kernel.world.routes, whole.routes) << what;
    EXPECT_EQ(kernel.world.neighbours, whole.neighbours) << what;
    EXPECT_EQ(kernel.world.addresses, whole.addresses) << what;
  }
}

// Any state that any history leaves behind converges in one plan, and removal cleans it.
TEST_P(PlanIn, RandomHistoriesConverge) {
  std::mt19937 rng(116);
  for (int round = 0; round < 200; ++round) {
    auto d = test::node(1, 2 + rng() % 8, rng() % 4 != 0);
    for (auto& [name, p] : d.peers)
      if (rng() % 3 == 0) p.underlay = Ip::v4(192, 168, 99, static_cast<std::uint8_t>(1 + rng() % 200));
    if (rng() % 4 == 0) d.vni = Vni{static_cast<std::uint32_t>(100 + rng() % 3)};
    if (rng() % 4 == 0) d.underlay_mtu = 1400 + static_cast<unsigned>(rng() % 3) * 100;
    if (rng() % 5 == 0) d.underlay = Ip::v4(192, 168, 77, 201);
    if (rng() % 10 == 0) kernel.set_down();
    if (rng() % 10 == 0) kernel.delete_device();
    if (rng() % 20 == 0) d = Desired{};
    ASSERT_EQ(run(kernel, d), "") << "round " << round;
    ASSERT_EQ(text_of(plan(d, kernel.world)), "") << "round " << round;
  }
}

TEST_P(PlanIn, AShrinkingMtuReachesRoutesFirstAndAGrowingOneTheDevice) {
  ASSERT_EQ(run(kernel, desired), "");
  auto position = [](const std::vector<Op>& ops, auto is) {
    return std::find_if(ops.begin(), ops.end(), is) - ops.begin();
  };
  auto route = [](auto& o) { return std::holds_alternative<ReplaceRoute>(o); };
  auto mtu = [](auto& o) { return std::holds_alternative<SetMtu>(o); };
  kernel.world.uplinks.begin()->second.mtu = 1400;
  auto smaller = plan(desired, kernel.world);
  EXPECT_LT(position(smaller, route), position(smaller, mtu));
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(kernel.world.device->mtu, 1350u);
  kernel.world.uplinks.begin()->second.mtu = 9000;
  auto bigger = plan(desired, kernel.world);
  EXPECT_LT(position(bigger, mtu), position(bigger, route));
}

TEST(Plan, NexthopIdsSurviveAndDoNotCollide) {
  FakeKernel kernel;
  auto d = test::node(1, 1200, false);
  kernel.world = test::empty_machine(d);
  ASSERT_EQ(run(kernel, d), "");
  std::set<std::uint32_t> ids;
  for (const auto& [key, route] : kernel.world.routes)
    if (!route.unreachable) ids.insert(route.nexthop);
  EXPECT_EQ(ids.size(), 1199u);
  // A id that somebody else has taken is passed over, and what we have is found again by its gateway.
  FakeKernel second;
  second.world = test::empty_machine(d);
  second.world.foreign_nexthops = ids;
  ASSERT_EQ(run(second, d), "");
  EXPECT_EQ(second.world.nexthops.size(), 1199u);
  for (auto& [id, nexthop] : second.world.nexthops) EXPECT_FALSE(ids.count(id));
  second.world.foreign_nexthops.clear();
  EXPECT_EQ(text_of(plan(d, second.world)), "");
}

TEST(Plan, OfTwoNexthopsToOnePeerOneGoes) {
  FakeKernel kernel;
  auto d = test::node(1, 2);
  kernel.world = test::empty_machine(d);
  ASSERT_EQ(run(kernel, d), "");
  auto twin = kernel.world.nexthops.begin()->second;
  twin.id = 7;
  kernel.world.nexthops[7] = twin;
  ASSERT_EQ(run(kernel, d), "");
  EXPECT_EQ(kernel.world.nexthops.size(), 1u);
  EXPECT_EQ(text_of(plan(d, kernel.world)), "");
}

TEST(Plan, OurOwnMoveInFdbModeKeepsTheDevice) {
  FakeKernel kernel(Mode::fdb);
  auto d = test::node(1, 4);
  kernel.world = test::empty_machine(d, Mode::fdb);
  ASSERT_EQ(run(kernel, d), "");
  d.underlay = ip("192.168.77.101");
  kernel.world.uplinks[d.underlay] = Uplink{base::IfIndex{2}, "eth0", 1500};
  EXPECT_EQ(text_of(plan(d, kernel.world)), "set local 192.168.77.101 of trama0\n");
}

TEST(Plan, OurOwnMoveReplacesNexthopsAndTouchesNoRoute) {
  FakeKernel kernel;
  auto d = test::node(1, 4);
  kernel.world = test::empty_machine(d);
  ASSERT_EQ(run(kernel, d), "");
  d.underlay = ip("192.168.77.101");
  kernel.world.uplinks[d.underlay] = Uplink{base::IfIndex{2}, "eth0", 1500};
  auto ops = plan(d, kernel.world);
  EXPECT_EQ(ops.size(), 3u) << text_of(ops);
  for (auto& op : ops) EXPECT_TRUE(std::holds_alternative<PutNexthop>(op)) << to_text(op);
}

// ---- plain routes ---------------------------------------------------------------------------------------------------

const base::Mac kTheirs = *base::Mac::parse("02:00:00:00:00:22");

Desired direct(unsigned self, unsigned count) {
  auto d = test::node(self, count);
  d.direct = d.tunnel = true;
  return d;
}

TEST(PlanDirect, OneNexthopLeadsToTheLinkAndBackAndTheOtherFamilyStays) {
  FakeKernel kernel;
  auto d = direct(1, 3);
  kernel.world = test::empty_machine(d);
  ASSERT_EQ(run(kernel, d), "");
  EXPECT_EQ(kernel.world.nexthops.size(), 4u) << "two for each peer: IPv6 cannot leave the overlay here";
  auto v4 = kernel.world.routes.at({cidr("10.244.2.0/24"), 0}),
       v6 = kernel.world.routes.at({cidr("fd00:244:2::/64"), 0});
  d.peers.at("n2").direct = kTheirs;
  d.peers.at("n2").path = Path::direct;
  d.peers.at("n2").beside = Path::tunnel;
  auto ops = plan(d, kernel.world);
  EXPECT_EQ(text_of(ops),
            "change guards: +direct 02:00:00:00:00:22 . 10.244.2.0/24 (n2)\n" +
                fmt::format("put nexthop {} via 192.168.77.2 dev #2  # n2\n", v4.nexthop) +
                fmt::format("replace route fd00:244:2::/64 nhid {} src fd00:244:1:: mtu 1436  # n2\n", v6.nexthop) +
                fmt::format("put nexthop {} via {} dev trama1  # n2\n", v6.nexthop,
                            tunnel_gateway(ip("fd00:244:2::"), vtep_mac("test", "n2")).to_string()) +
                fmt::format("replace route 10.244.2.0/24 nhid {} src 10.244.1.0 mtu 1500  # n2\n", v4.nexthop));
  ASSERT_EQ(run(kernel, d), "");
  EXPECT_EQ(text_of(plan(d, kernel.world)), "");
  // A restarted agent has not decided yet: nothing changes, what the peer sends is still taken.
  auto fresh = d;
  for (auto& [name, peer] : fresh.peers) peer.path = Path::keep, peer.direct.reset(), peer.told = false;
  EXPECT_EQ(text_of(plan(fresh, kernel.world)), "");
  for (auto& [name, peer] : fresh.peers) peer.told = true;
  EXPECT_EQ(text_of(plan(fresh, kernel.world)), "change guards: -direct 02:00:00:00:00:22 . 10.244.2.0/24\n")
      << "it has said that it does not";
  // Back: smaller packets first.
  d.peers.at("n2").path = d.peers.at("n2").beside = Path::vxlan;
  auto back = text_of(plan(d, kernel.world));
  EXPECT_LT(back.find(fmt::format("10.244.2.0/24 nhid {} src 10.244.1.0 mtu 1450", v4.nexthop)),
            back.find(fmt::format("put nexthop {} via 10.244.2.0 encap", v4.nexthop)))
      << back;
  ASSERT_EQ(run(kernel, d), "");
  EXPECT_EQ(text_of(plan(d, kernel.world)), "");
  // Switched off: no rule, no element, no second nexthop is left.
  auto plain = test::node(1, 3);
  plain.tunnel = true;
  ASSERT_EQ(run(kernel, plain), "");
  EXPECT_EQ(kernel.world.nexthops.size(), 2u);
  EXPECT_TRUE(kernel.world.guards->direct.empty());
  EXPECT_EQ(kernel.world.guards->rules.find("@direct"), std::string::npos);
}

TEST(PlanDirect, OverAnIpv6LinkOneNexthopServesBothFamilies) {
  FakeKernel kernel;
  auto d = direct(1, 2);
  d.underlay = ip("fd77::1");
  d.peers.at("n2").underlay = ip("fd77::2");
  d.peers.at("n2").path = Path::direct;
  d.peers.at("n2").direct = kTheirs;
  kernel.world = test::empty_machine(d);
  ASSERT_EQ(run(kernel, d), "");
  ASSERT_EQ(kernel.world.nexthops.size(), 1u);
  EXPECT_TRUE(kernel.world.nexthops.begin()->second.direct());
  EXPECT_EQ(kernel.world.routes.at({cidr("fd00:244:2::/64"), 0}).mtu, 1500u);
  EXPECT_EQ(kernel.world.guards->direct.size(), 2u);
  EXPECT_EQ(pod_mtu(d, kernel.world), 1500u);
}

TEST(PlanDirect, EncryptionAMissingLinkAndOldKernelsForbidIt) {
  auto d = direct(1, 2);
  d.peers.at("n2").path = Path::direct;
  d.peers.at("n2").direct = kTheirs;
  auto world_after = [](Desired desired, Mode mode, bool link) {
    FakeKernel kernel(mode);
    kernel.world = test::empty_machine(desired, mode);
    if (!link) kernel.world.uplinks.clear();
    EXPECT_EQ(run(kernel, desired), "");
    for (const auto& [id, nexthop] : kernel.world.nexthops) EXPECT_FALSE(nexthop.direct());
    EXPECT_TRUE(kernel.world.guards->direct.empty());
    EXPECT_EQ(kernel.world.guards->rules.find("direct4"), std::string::npos);
    return kernel.world;
  };
  auto encrypted = d;
  encrypted.encrypt = true;
  auto world = world_after(encrypted, Mode::nexthop, true);
  EXPECT_TRUE(world.nexthops.begin()->second.tunnel);
  EXPECT_EQ(pod_mtu(encrypted, world), wanted_tunnel_mtu(encrypted, world));
  world_after(d, Mode::fdb, true);
  world_after(d, Mode::nexthop, false);
}

// From anything to anything: one round of steps, and then none.
TEST(PlanDirect, RandomHistoriesConverge) {
  std::mt19937 random(4);
  FakeKernel kernel;
  auto d = direct(1, 5);
  kernel.world = test::empty_machine(d);
  const std::array paths{Path::vxlan, Path::tunnel, Path::direct, Path::keep};
  for (int round = 0; round < 400; ++round) {
    for (auto& [name, p] : d.peers) {
      p.path = paths[random() % paths.size()];
      p.beside = random() % 2 ? Path::vxlan : Path::tunnel;
      p.direct = random() % 3 ? std::optional(kTheirs) : std::nullopt;
      if (p.direct) p.direct->octets[5] = static_cast<std::uint8_t>(name.back());
      p.mtu = random() % 2 ? 1400 : 0;
    }
    d.tunnel = random() % 5 > 0;
    d.direct = random() % 5 > 0;
    d.encrypt = random() % 7 == 0;
    if (random() % 9 == 0) kernel.delete_device();
    if (random() % 9 == 0 && kernel.world.tunnel) kernel.delete_tunnel();
    ASSERT_EQ(run(kernel, d), "") << round;
    ASSERT_EQ(text_of(plan(d, kernel.world)), "") << round;
  }
}

TEST(Plan, AMissingUplinkIsToldAndKeepsTheMtu) {
  FakeKernel kernel;
  auto d = test::node(1, 2);
  kernel.world = test::empty_machine(d);
  kernel.world.uplinks.begin()->second.mtu = 9000;
  ASSERT_EQ(run(kernel, d), "");
  kernel.world.uplinks.clear();
  EXPECT_THAT(problems(d, kernel.world), ElementsAre(HasSubstr("no interface carries 192.168.77.1")));
  EXPECT_EQ(text_of(plan(d, kernel.world)), "");
}

TEST(Plan, RpFilterIsTheStricterOfTheTwo) {
  Observed o;
  EXPECT_EQ(effective_rp_filter(o), 0u);
  o.sysctls = {{"net/ipv4/conf/all/rp_filter", "2"}, {"net/ipv4/conf/trama0/rp_filter", "0"}};
  EXPECT_EQ(effective_rp_filter(o), 2u);
}

// ---- the tunnel -----------------------------------------------------------------------------------------------------

class PlanTunnel : public testing::Test {
 protected:
  FakeKernel kernel;
  Desired desired = test::node(1, 3);
  void SetUp() override {
    kernel.world = test::empty_machine(desired);
    desired.tunnel = true;
    ASSERT_EQ(run(kernel, desired), "");
    ASSERT_EQ(text_of(plan(desired, kernel.world)), "");
  }
  std::string gateway(const char* node) const {
    return tunnel_gateway(ip("fd00:244:2::"), vtep_mac("test", node)).to_string();
  }
};

TEST_F(PlanTunnel, AChangeIsOneReplaceTheMtuShrinksBeforeAndGrowsAfter) {
  desired.peers.at("n2").path = Path::tunnel;
  auto there = plan(desired, kernel.world);
  ASSERT_EQ(there.size(), 3u) << text_of(there);
  EXPECT_THAT(to_text(there[0]), HasSubstr("mtu 1436"));
  EXPECT_THAT(to_text(there[1]), HasSubstr("mtu 1436"));
  EXPECT_THAT(to_text(there[2]), HasSubstr("via " + gateway("n2") + " dev trama1"));
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
  desired.peers.at("n2").path = Path::keep;
  EXPECT_EQ(text_of(plan(desired, kernel.world)), "") << "undecided: what is there, stays";
  desired.peers.at("n2").path = Path::vxlan;
  auto back = plan(desired, kernel.world);
  ASSERT_EQ(back.size(), 3u) << text_of(back);
  EXPECT_THAT(to_text(back[0]), HasSubstr("encap vni 116"));
  EXPECT_THAT(to_text(back[1]), HasSubstr("mtu 1450"));
  EXPECT_THAT(to_text(back[2]), HasSubstr("mtu 1450"));
}

TEST_F(PlanTunnel, EncryptionTakesNoOtherPathAndGuardsBeforeAnythingElse) {
  desired.encrypt = true;
  for (auto& [name, p] : desired.peers) p.path = Path::vxlan;
  auto ops = plan(desired, kernel.world);
  EXPECT_THAT(to_text(ops.front()), HasSubstr("encryption required but for 0 peers"));
  ASSERT_EQ(run(kernel, desired), "");
  for (const auto& [id, nexthop] : kernel.world.nexthops) EXPECT_TRUE(nexthop.tunnel);
  desired.peers.at("n3").clear = true;
  EXPECT_THAT(to_text(plan(desired, kernel.world).front()), HasSubstr("change guards: +clear "));
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_EQ(std::count_if(kernel.world.nexthops.begin(), kernel.world.nexthops.end(),
                          [](const auto& n) { return n.second.tunnel; }),
            1);
  EXPECT_EQ(pod_mtu(desired, kernel.world), 1436u);
  kernel.world.mode = Mode::fdb;
  EXPECT_THAT(problems(desired, kernel.world), testing::Contains(HasSubstr("no nexthop objects")));
}

TEST_F(PlanTunnel, DamageIsRepairedAndWithoutATunnelNothingOfItIsLeft) {
  desired.peers.at("n2").path = Path::tunnel;
  ASSERT_EQ(run(kernel, desired), "");
  const auto whole = kernel.world;
  for (auto damage : std::initializer_list<std::function<void()>>{
           [&] { kernel.delete_tunnel(); }, [&] { kernel.world.tunnel->up = false; },
           [&] { kernel.world.tunnel->carrier = false; }, [&] { kernel.world.tunnel->mtu = 9000; },
           [&] { kernel.world.tunnel_addresses.clear(); }, [&] { kernel.delete_device(); }}) {
    kernel.world = whole;
    damage();
    EXPECT_NE(text_of(plan(desired, kernel.world)), "");
    EXPECT_EQ(run(kernel, desired), "");
    EXPECT_EQ(text_of(plan(desired, kernel.world)), "");
  }
  kernel.world = whole;
  desired.tunnel = false;
  ASSERT_EQ(run(kernel, desired), "");
  EXPECT_FALSE(kernel.world.tunnel);
  for (const auto& [id, nexthop] : kernel.world.nexthops) EXPECT_FALSE(nexthop.tunnel);
  EXPECT_EQ(kernel.world.routes.size(), whole.routes.size());
  kernel.world = whole;
  ASSERT_EQ(run(kernel, Desired{}), "");
  EXPECT_FALSE(kernel.world.tunnel);
}

// ---- several uplinks

TEST(PlanOfUplinks, AnotherWayIsOneNexthopReplaceAndItsMtuComesBefore) {
  auto d = test::node(1, 2);
  auto here = test::ip("172.30.0.1"), there = test::ip("172.30.0.2");
  FakeKernel kernel;
  kernel.world = test::empty_machine(d);
  kernel.world.uplinks[here] = Uplink{base::IfIndex{3}, "eth1", 1400};
  d.further = {here};
  d.peers.at("n2").further = {there};
  auto run = [&] {
    auto ops = plan(d, *kernel.observe());
    for (const auto& op : ops)
      if (auto done = kernel.apply(op); !done) ADD_FAILURE() << to_text(op) << ": " << done.error().to_string();
    EXPECT_EQ(test::text_of(plan(d, *kernel.observe())), "");
    return test::text_of(ops);
  };
  run();
  ASSERT_EQ(kernel.world.nexthops.size(), 1u);
  EXPECT_EQ(kernel.world.nexthops.begin()->second.from, d.underlay) << "between the first addresses while nobody knows";
  EXPECT_EQ(kernel.world.device->mtu, 1450u) << "of the uplink that takes the largest";
  EXPECT_EQ(kernel.world.guards->peers.size(), 2u);
  d.peers.at("n2").way = Way{here, there};
  auto text = run();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << "two routes get smaller, then one nexthop moves\n"
                                                           << text;
  EXPECT_LT(text.find("1350"), text.find("nexthop 1")) << text;
  const auto& nexthop = kernel.world.nexthops.begin()->second;
  EXPECT_EQ(nexthop.from, here);
  EXPECT_EQ(nexthop.to, there);
  // The agent begins anew and knows nothing yet.
  d.peers.at("n2").way.reset();
  EXPECT_EQ(run(), "") << "what the kernel has, stays";
  // An address that is announced no longer is not kept, nor one that never was.
  d.peers.at("n2").further.clear();
  run();
  EXPECT_EQ(kernel.world.nexthops.begin()->second.to, d.peers.at("n2").underlay);
  d.peers.at("n2").way = Way{here, test::ip("172.30.0.99")};
  EXPECT_EQ(run(), "");
  kernel.world.uplinks.erase(here);
  auto said = problems(d, *kernel.observe());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("no interface carries 172.30.0.1, one of the addresses"), std::string::npos) << said[0];
}

TEST(PlanOfUplinks, WithoutNexthopObjectsTheFirstOneAloneIsUsedAndThatIsSaid) {
  auto d = test::node(1, 2);
  FakeKernel kernel(Mode::fdb);
  kernel.world = test::empty_machine(d, Mode::fdb);
  d.further = {test::ip("172.30.0.1")};
  d.peers.at("n2").further = {test::ip("172.30.0.2")};
  d.peers.at("n2").way = Way{test::ip("172.30.0.1"), test::ip("172.30.0.2")};
  for (const auto& op : plan(d, *kernel.observe())) ASSERT_TRUE(kernel.apply(op)) << to_text(op);
  EXPECT_EQ(kernel.world.forwards.begin()->second, std::set<Ip>{d.peers.at("n2").underlay});
  auto said = problems(d, *kernel.observe());
  ASSERT_EQ(said.size(), 1u);
  EXPECT_NE(said[0].find("of this node's addresses 192.168.77.1 alone is used"), std::string::npos) << said[0];
}

}  // namespace
}  // namespace trama::overlay
