// SPDX-License-Identifier: GPL-2.0-or-later
// What the agent makes of peers: the mesh's world, the node condition, events, pages.
#include "agent/compute/peers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/peer_pages.h"
#include "tests/unit/agent/metrics_check.h"
#include "tests/unit/agent/objects.h"

namespace trama::agent {
namespace {

using namespace overlay::peers;
using ::testing::HasSubstr;
using ::testing::Not;

api::ObjectPtr node(const std::string& name, const std::string& address, std::uint64_t revision) {
  auto text = fmt::format(R"({{"metadata":{{"name":"{}","resourceVersion":"{}"}},"status":{{"addresses":[)"
                          R"({{"type":"InternalIP","address":"{}"}}]}}}})",
                          name, revision, address);
  return object_from("nodes", text);
}

overlay::Desired two_nodes() {
  overlay::Desired d;
  d.node = "n1";
  d.cluster_id = "test";
  d.underlay = base::Ip::v4(10, 0, 0, 1);
  d.pod_cidrs = {*base::Cidr::parse("10.244.1.0/24"), *base::Cidr::parse("fd00:244:1::/64")};
  d.peers["n2"] = {"n2", base::Ip::v4(10, 0, 0, 2), {*base::Cidr::parse("10.244.2.0/24")}, overlay::Path::keep, false};
  d.peers["n3"] = {
      "n3", base::Ip::v4(10, 0, 0, 3), {*base::Cidr::parse("fd00:244:3::/64")}, overlay::Path::keep, false};
  d.peers["bad"] = {
      "bad", base::Ip::v4(10, 0, 0, 1), {*base::Cidr::parse("10.244.9.0/24")}, overlay::Path::keep, false};
  return d;
}

TEST(MeshWorld, HasWhomTheOverlayReachesAndWhoMaySpeak) {
  ClusterView::Objects nodes;
  nodes["n1"] = node("n1", "10.0.0.1", 3);
  nodes["n2"] = node("n2", "10.0.0.2", 4);
  nodes["n5"] = node("n5", "10.0.0.5", 5);  // no pods yet
  auto w = compute_mesh_world(nodes, two_nodes(), {1450, 1436, true, {*base::Cidr::parse("10.0.0.2/32")}});
  EXPECT_TRUE(w.peers.at("n2").trusted);
  EXPECT_FALSE(w.peers.at("n3").trusted);
  EXPECT_EQ(w.tunnel_mtu, 1436u);
  EXPECT_EQ(w.underlay.to_string(), "10.0.0.1");
  ASSERT_EQ(w.peers.size(), 2u) << "a refused peer is not probed";
  EXPECT_EQ(w.peers.at("n2").overlay->to_string(), "10.244.2.0");
  EXPECT_EQ(w.peers.at("n3").overlay->to_string(), "fd00:244:3::");
  ASSERT_EQ(w.members.size(), 2u) << "not ourselves";
  EXPECT_EQ(w.members[1].node, "n5");
  EXPECT_EQ(w.members[0].revision, 4u);
  EXPECT_TRUE(w.starting.empty());
}

TEST(MeshWorld, KnowsWhoSaysThatItsNetworkIsNotThereYet) {
  auto with = [](const char* name, const char* condition) {
    return object_from("nodes", fmt::format(R"({{"metadata":{{"name":"{}"}},"status":{{"addresses":[)"
                                            R"({{"type":"InternalIP","address":"10.0.0.2"}}],"conditions":[{}]}}}})",
                                            name, condition));
  };
  ClusterView::Objects nodes;
  nodes["n2"] = with("n2", R"({"type":"NetworkUnavailable","status":"True"})");
  nodes["n3"] = with("n3", R"({"type":"NetworkUnavailable","status":"False"},{"type":"Ready","status":"False"})");
  nodes["n4"] = with("n4", R"({"type":"NetworkUnavailable","status":"Unknown"})");
  MeshContext context;
  context.controller_heard = true;
  EXPECT_EQ(compute_mesh_world(nodes, two_nodes(), context).starting, (std::set<std::string>{"n2"}));
  context.controller_heard = false;
  EXPECT_TRUE(compute_mesh_world(nodes, two_nodes(), context).starting.empty()) << "that may be long ago";
}

TEST(MeshWorld, HasTheUplinksOfBothEndsAndTheKernelTheWayInUse) {
  ClusterView::Objects nodes;
  nodes["n2"] = node("n2", "10.0.0.2", 4);
  auto d = two_nodes();
  EXPECT_TRUE(compute_mesh_world(nodes, d, {1450, 0, true, {}}).uplinks.empty()) << "one alone needs nothing more";
  auto here = base::Ip::v4(10, 1, 0, 1), there = base::Ip::v4(10, 1, 0, 2);
  d.further = {here};
  d.peers.at("n2").further = {there};
  World::Uplink found{here, *base::Cidr::parse("10.1.0.0/24"), 1350, 1336};
  auto w = compute_mesh_world(nodes, d, {1450, 1436, true, {*base::Cidr::parse("10.0.0.0/24")}, std::nullopt, {found}});
  ASSERT_EQ(w.uplinks.size(), 2u);
  EXPECT_EQ(w.uplinks[0].address, d.underlay);
  EXPECT_FALSE(w.uplinks[0].subnet) << "not found yet";
  EXPECT_EQ(w.uplinks[1], found);
  EXPECT_EQ(w.peers.at("n2").further, std::vector<base::Ip>{there});
  EXPECT_FALSE(w.peers.at("n2").trusted) << "one of its addresses lies elsewhere";
  EXPECT_TRUE(w.peers.at("n3").trusted);

  MeshStatus s;
  s.node = "n1";
  PeerStatus p;
  p.node = "n2";
  p.underlay = base::Ip::v4(10, 0, 0, 2);
  p.overlay = "10.244.2.0";
  p.use = Use::vxlan;
  p.ways = {{d.underlay, p.underlay, true, PathState::up}, {here, there, false, PathState::up}};
  s.peers = {p};
  use_paths(d, s);
  EXPECT_FALSE(d.peers.at("n2").way) << "what the kernel has stays while nobody knows";
  s.peers[0].way_known = true;
  use_paths(d, s);
  EXPECT_EQ(d.peers.at("n2").way, (overlay::Way{d.underlay, p.underlay}));
  auto after = s;
  std::swap(after.peers[0].ways[0].used, after.peers[0].ways[1].used);
  after.peers[0].way_why = "10.0.0.1 -> 10.0.0.2 does not answer";
  after.peers[0].way_switches = 1;
  use_paths(d, after);
  EXPECT_EQ(d.peers.at("n2").way, (overlay::Way{here, there}));
  auto events = path_events(s, after);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_TRUE(events[0].warning);
  EXPECT_EQ(events[0].reason, "OverlayUplinkSwitched");
  EXPECT_EQ(events[0].message,
            "n2 is reached over 10.1.0.1 -> 10.1.0.2, because 10.0.0.1 -> 10.0.0.2 does not answer (number 1)");
  events = path_events(after, s);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, "OverlayUplinkRestored");
  EXPECT_THAT(overlay_connections(after), HasSubstr("(over 10.1.0.1 -> 10.1.0.2, because "));
  EXPECT_THAT(overlay_paths(after), HasSubstr("10.0.0.1 -> 10.0.0.2"));
  auto report = overlay_report(after);
  const auto& ways = report["peers"].as_array()[0].as_object()["uplinks"].as_array();
  ASSERT_EQ(ways.size(), 2u);
  EXPECT_TRUE(ways[1].at("used").as_bool());
  EXPECT_EQ(ways[1].at("to").as_string(), "10.1.0.2");
}

MeshStatus status(PathState n2, PathState n3) {
  MeshStatus s;
  s.node = "n1";
  s.underlay = base::Ip::v4(10, 0, 0, 1);
  s.port = 6783;
  s.mtu = 1450;
  for (auto [name, state] : {std::pair{"n2", n2}, {"n3", n3}}) {
    PeerStatus p;
    p.node = name;
    p.underlay = base::Ip::v4(10, 0, 0, static_cast<std::uint8_t>(name[1] - '0'));
    p.overlay = "10.244.2.0";
    p.connection = Connection::established;
    p.outbound = true;
    p.remote = p.underlay.to_string() + ":6783";
    p.version = 1;
    auto& path = p.path(PathKind::overlay);
    path.state = state;
    path.round_trip = Micros(320);
    path.mtu = 1450;
    if (state == PathState::down) path.downs = 1, path.reason = std::string("no answer from ") + name;
    s.peers.push_back(std::move(p));
  }
  return s;
}

TEST(MeshWorld, HasOurLinkWherePlainRoutesMayLeadOverIt) {
  auto d = two_nodes();
  World::Plain link{base::IfIndex{2}, *base::Mac::parse("02:00:00:00:00:01"), *base::Cidr::parse("10.0.0.0/24"), 1500};
  MeshContext context{1450, 1436, true, {}, link};
  EXPECT_FALSE(compute_mesh_world({}, d, context).plain) << "not asked for";
  d.direct = true;
  EXPECT_EQ(compute_mesh_world({}, d, context).plain, link);
  d.encrypt = true;
  EXPECT_FALSE(compute_mesh_world({}, d, context).plain);
}

TEST(UsePaths, PlainRoutesComeWithWhatIsBesideThem) {
  auto d = two_nodes();
  MeshStatus s;
  PeerStatus p;
  p.node = "n2";
  p.use = Use::direct;
  p.beside = Use::tunnel;
  p.told = true;
  p.direct = *base::Mac::parse("02:00:00:00:00:02");
  p.path(PathKind::direct).mtu = 1500;
  p.path(PathKind::tunnel).mtu = 1400;
  s.peers.push_back(p);
  use_paths(d, s);
  const auto& n2 = d.peers.at("n2");
  EXPECT_EQ(n2.path, overlay::Path::direct);
  EXPECT_EQ(n2.mtu, 1500u);
  EXPECT_EQ(n2.beside, overlay::Path::tunnel);
  EXPECT_EQ(n2.beside_mtu, 1400u);
  EXPECT_EQ(n2.direct, p.direct);
  EXPECT_EQ(d.peers.at("n3").path, overlay::Path::keep) << "nothing is known of it";
  auto before = s;
  s.peers[0].use = Use::vxlan;
  s.peers[0].why = "direct: port security";
  s.peers[0].switches = 3;
  auto events = path_events(before, s);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, "OverlayDirectLeft");
  EXPECT_EQ(events[0].message, "packets to n2 take vxlan, because of direct: port security (number 3)");
  EXPECT_EQ(path_events(s, before)[0].reason, "OverlayDirectUsed");
}

TEST(Wireguard, IsKnownToTheMeshUsedInTheKernelAndShownToPeople) {
  auto d = two_nodes();
  World::Wireguard device{base::IfIndex{9}, {base::WireguardKey::random(), 6785}, 1440};
  MeshContext context{1450, 1436, true, {}, {}, {}, device, ""};
  EXPECT_FALSE(compute_mesh_world({}, d, context).wireguard) << "nothing has to be encrypted";
  d.encrypt = d.tunnel = d.wireguard = true;
  EXPECT_EQ(compute_mesh_world({}, d, context).wireguard, device);

  auto s = status(PathState::unknown, PathState::unknown);
  s.encrypt = true;
  s.tunnel_mtu = 1436;
  s.wireguard_mtu = 1440;
  s.wireguard_port = 6785;
  s.wireguard_key = device.end.key.to_string();
  for (auto& p : s.peers) {
    p.told = p.must_encrypt = true;
    p.use = p.beside = Use::wireguard;
    p.wireguard = base::WireguardEnd{base::WireguardKey::random(), 6785};
    p.path(PathKind::wireguard).state = p.path(PathKind::tunnel).state = PathState::up;
    p.path(PathKind::wireguard).mtu = 1440;
  }
  use_paths(d, s);
  EXPECT_EQ(d.peers.at("n2").path, overlay::Path::wireguard);
  EXPECT_EQ(d.peers.at("n2").wireguard, s.peers[0].wireguard);
  EXPECT_EQ(d.peers.at("n2").mtu, 1440u);
  EXPECT_EQ(judge_paths(s)->message, "peers reached through the overlay: 2");
  EXPECT_THAT(overlay_summary(s), HasSubstr("WireGuard: 2 of 2 peers, on UDP 6785, key " + s.wireguard_key));
  EXPECT_THAT(overlay_connections(s), HasSubstr("encrypted wireguard=up n2 mtu=1440"));
  EXPECT_THAT(overlay_metrics(s), HasSubstr("trama_overlay_peers{path=\"wireguard\"} 2"));
  EXPECT_EQ(json::serialize(overlay_brief(s)["wireguarded"]), "2");
  EXPECT_THAT(json::serialize(overlay_report(s)), HasSubstr(s.peers[0].wireguard->key.to_string()));

  auto before = s;
  auto& n2 = s.peers[0];
  n2.use = n2.beside = Use::tunnel;
  n2.why = "n1 requires encryption; wireguard: UDP 6785 does not pass";
  n2.switches = 2;
  n2.path(PathKind::wireguard).state = PathState::down;
  n2.path(PathKind::wireguard).reason = "UDP 6785 does not pass";
  auto events = path_events(before, s);
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, "OverlayWireguardLeft");
  EXPECT_TRUE(events[0].warning);
  EXPECT_EQ(path_events(s, before)[0].reason, "OverlayWireguardUsed");
  EXPECT_THAT(judge_paths(s)->message, HasSubstr("by the tunnel, because WireGuard is not well: n2"));
  auto fault = json::serialize(overlay_brief(s)["faults"]);
  EXPECT_THAT(fault, HasSubstr("\"path\":\"wireguard\",\"circumvented\":true,\"port\":6785"));

  MeshStatus none;
  none.encrypt = true;
  none.wireguard_off = "this kernel has no WireGuard (CONFIG_WIREGUARD)";
  EXPECT_THAT(overlay_summary(none), HasSubstr("WireGuard: not used: this kernel has no WireGuard (CONFIG_WIREGUARD)"));
  EXPECT_THAT(overlay_report(none).at("wireguard").as_object().at("off").as_string().c_str(),
              HasSubstr("no WireGuard"));
}

TEST(Pages, SayWhereAPeerIsAndThatPacketsGoAsTheyAre) {
  MeshStatus s;
  s.node = "n1";
  s.underlay = base::Ip::v4(10, 0, 0, 1);
  s.port = 6783;
  PeerStatus p;
  p.node = "n2";
  p.underlay = base::Ip::v4(10, 0, 0, 2);
  p.overlay = "10.244.2.0";
  p.use = Use::direct;
  p.path(PathKind::direct).state = PathState::up;
  p.path(PathKind::direct).mtu = 1500;
  p.found_at = "192.0.2.7:40123";
  p.translated = true;
  s.peers.push_back(p);
  EXPECT_THAT(overlay_connections(s), HasSubstr("direct=up n2 mtu=1500"));
  EXPECT_THAT(overlay_connections(s), HasSubstr("(behind NAT, seen as 192.0.2.7:40123)"));
  EXPECT_THAT(overlay_peers(s), HasSubstr("behind NAT, seen as 192.0.2.7:40123"));
  EXPECT_THAT(overlay_paths(s), Not(HasSubstr("direct"))) << "where there are none, nothing is said";
  s.direct_mtu = 1500;
  EXPECT_THAT(overlay_paths(s), HasSubstr("n2    direct   up"));
  s.peers[0].translated = false;
  EXPECT_THAT(overlay_peers(s), HasSubstr("moved, now at 192.0.2.7:40123"));
  auto report = json::serialize(overlay_report(s));
  EXPECT_THAT(report, HasSubstr("\"foundAt\":\"192.0.2.7:40123\""));
  EXPECT_THAT(report, HasSubstr("\"use\":\"direct\""));
}

TEST(PathVerdict, SaysNothingTooEarlyAndNamesWhoIsMissing) {
  EXPECT_EQ(judge_paths(MeshStatus())->reason, "NoPeers");
  EXPECT_FALSE(judge_paths(status(PathState::up, PathState::probing)));
  auto well = judge_paths(status(PathState::up, PathState::degraded));
  ASSERT_TRUE(well);
  EXPECT_TRUE(well->holds);
  auto ill = judge_paths(status(PathState::down, PathState::probing));
  ASSERT_TRUE(ill);
  EXPECT_FALSE(ill->holds);
  EXPECT_EQ(ill->message, "not reached through the overlay: n2 (no answer from n2)");
  auto alone = status(PathState::down, PathState::down);
  alone.isolated = true;
  EXPECT_EQ(judge_paths(alone)->reason, "Isolated");
}

TEST(PathEvents, AreAboutChangesAlone) {
  auto up = status(PathState::up, PathState::up), one = status(PathState::down, PathState::up);
  EXPECT_TRUE(path_events(up, up).empty());
  EXPECT_TRUE(path_events(one, one).empty());
  auto down = path_events(up, one);
  ASSERT_EQ(down.size(), 1u);
  EXPECT_TRUE(down[0].warning);
  EXPECT_EQ(down[0].message, "vxlan to n2 is down: no answer from n2 (number 1)");
  auto back = path_events(one, up);
  ASSERT_EQ(back.size(), 1u);
  EXPECT_EQ(back[0].reason, "OverlayPathUp");
  auto both = status(PathState::down, PathState::down);
  both.isolated = true;
  auto alone = path_events(up, both);
  ASSERT_EQ(alone.size(), 2u) << "one for all paths, one for what follows";
  EXPECT_EQ(alone[0].message, "vxlan is down to n2, n3 (number 1)");
  EXPECT_EQ(alone[1].reason, "OverlayIsolated");
}

TEST(PeerPages, AreReadable) {
  auto s = status(PathState::up, PathState::down);
  s.peers[1].connection = Connection::waiting;
  s.peers[1].remote.clear();
  s.peers[1].trouble = "connect: Connection refused";
  EXPECT_EQ(overlay_connections(s),
            "->  10.0.0.2:6783  established  vxlan=up n2 mtu=1450 rtt=0.32ms loss=0%\n"
            "->  10.0.0.3:6783  waiting      vxlan=down n3 error: connect: Connection refused\n");
  EXPECT_THAT(overlay_summary(s), HasSubstr("Paths: 1 up, 0 degraded, 1 down, 0 not known yet\n"));
  EXPECT_THAT(overlay_peers(s), HasSubstr("n2    10.0.0.2  10.244.2.0  established  controller\n"));
  EXPECT_THAT(overlay_paths(s),
              HasSubstr("n3    vxlan    down     0s   0.32ms  1450  0%    0%   0%  1            no answer from n3\n"));
  int code = 0;
  EXPECT_EQ(overlay_ready(s, code), "1 peers down, 0 not known yet\n");
  EXPECT_EQ(code, 503);
  auto report = overlay_report(s);
  EXPECT_EQ(api::text_at(report.at("peers").as_array()[1].as_object(), "paths.vxlan.reason"), "no answer from n3");
  EXPECT_EQ(overlay_brief(s).at("faults").as_array().size(), 1u);
  EXPECT_EQ(overlay_ready(status(PathState::up, PathState::up), code), "ok\n");
  EXPECT_EQ(code, 200);
}

TEST(PeerPages, MetricsHaveNoSeriesForEachPeer) {
  auto s = status(PathState::up, PathState::down);
  auto text = overlay_metrics(s);
  EXPECT_EQ(check_metrics(text), "");
  EXPECT_THAT(text, HasSubstr("trama_overlay_paths{path=\"vxlan\",state=\"down\"} 1\n"));
  EXPECT_THAT(text, Not(HasSubstr("n2")));
}

// ---- over a third node ----------------------------------------------------------------------------------------------

MeshStatus relayed(const std::string& via) {
  auto s = status(PathState::up, PathState::down);
  s.tunnel_mtu = 1436;
  auto& p = s.peers[1];
  p.use = Use::relay;
  p.via = via;
  p.why = "vxlan: no answer from n3; tunnel: no answer from n3";
  p.switches = 1;
  auto& path = p.path(PathKind::relay);
  path.state = PathState::up;
  path.mtu = 1392;
  path.round_trip = Micros(900);
  s.peers[0].use = Use::vxlan;
  s.tunnel.relayed_packets = 12;
  s.tunnel.relay_refused = 3;
  s.splices = 2;
  return s;
}

TEST(PeerPages, TellWhichThirdNodePacketsGoOver) {
  auto s = relayed("n2");
  EXPECT_THAT(overlay_connections(s), HasSubstr("encrypted relay=up n3 via n2 mtu=1392 rtt=0.90ms"));
  auto paths = overlay_paths(s);
  EXPECT_THAT(paths, testing::ContainsRegex("n3 +relay .* yes +via n2\n")) << "the others' reasons stand in their rows";
  EXPECT_THAT(overlay_summary(s),
              HasSubstr("Relay: 1 peers by a third node; 12 packets and 2 conversations passed on"));
  auto report = overlay_report(s);
  EXPECT_EQ(report.at("peers").at(1).at("via"), "n2");
  EXPECT_EQ(report.at("relay").at("passedOnPackets").to_number<int>(), 12);
  EXPECT_EQ(report.at("tunnel").at("dropped").at("relay_refused").to_number<int>(), 3);
  auto metrics = overlay_metrics(s);
  EXPECT_THAT(metrics, HasSubstr("trama_overlay_peers{path=\"relay\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("trama_relay_packets_total 12"));
  int code = 0;
  overlay_ready(s, code);
  EXPECT_EQ(code, 200) << "it is reached";
  auto fault = overlay_brief(s).at("faults").at(0);
  EXPECT_EQ(fault.at("via"), "n2");
  EXPECT_TRUE(fault.at("circumvented").as_bool());
  // Nothing is said of it where it is not looked at.
  auto well = status(PathState::up, PathState::up);
  well.tunnel_mtu = 1436;
  EXPECT_THAT(overlay_paths(well), Not(HasSubstr("relay")));
  well.relay_off = "switched off (--relay off)";
  EXPECT_THAT(overlay_summary(well), HasSubstr("Relay: off: switched off (--relay off)"));
}

TEST(PathVerdict, APeerByAThirdNodeIsReachedAndSaidToBe) {
  auto verdict = judge_paths(relayed("n2"));
  ASSERT_TRUE(verdict);
  EXPECT_TRUE(verdict->holds);
  EXPECT_EQ(verdict->message,
            "peers reached through the overlay: 2; by a third node, because nothing else passes: n3 over n2");
}

TEST(PathEvents, NameTheThirdNodeAndTheNextOne) {
  auto up = status(PathState::up, PathState::up);
  for (auto& p : up.peers) p.use = Use::vxlan;
  auto begin = path_events(up, relayed("n2"));
  ASSERT_EQ(begin.size(), 2u) << "the path, and what follows from it";
  EXPECT_EQ(begin[1].reason, "OverlayRelayUsed");
  EXPECT_THAT(begin[1].message, HasSubstr("packets to n3 go over n2, because of vxlan: no answer from n3"));
  EXPECT_TRUE(path_events(relayed("n2"), relayed("n2")).empty());
  auto next = path_events(relayed("n2"), relayed("n4"));
  ASSERT_EQ(next.size(), 1u);
  EXPECT_THAT(next[0].message, HasSubstr("go over n4"));
  auto end = path_events(relayed("n2"), up);
  ASSERT_EQ(end.size(), 2u);
  EXPECT_EQ(end[1].message, "packets to n3 take vxlan again (number 0)");
  EXPECT_FALSE(end[1].warning);
}

TEST(UsePaths, PacketsOverAThirdNodeGoIntoTheTunnelsDevice) {
  overlay::Desired d;
  d.peers["n3"].node = "n3";
  use_paths(d, relayed("n2"));
  EXPECT_EQ(d.peers.at("n3").path, overlay::Path::tunnel);
  EXPECT_EQ(d.peers.at("n3").mtu, 1392u);
}

}  // namespace
}  // namespace trama::agent
