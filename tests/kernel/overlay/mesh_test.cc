// SPDX-License-Identifier: GPL-2.0-or-later
// The mesh between nodes of a lab: real sockets, the real overlay, certificates of a real CA.
#include <gtest/gtest.h>

#include "tests/kernel/overlay/running_mesh.h"

namespace trama::overlay::test {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

const TestAuthority& authority() {
  static TestAuthority one;
  return one;
}

// A third of the real ones, where their lengths are not what is proved.
mesh::MeshOptions hasty() {
  mesh::MeshOptions o;
  o.timers.steady = milliseconds(300);
  o.timers.quick = milliseconds(60);
  o.timers.patience = milliseconds(800);
  o.other_side_first = milliseconds(200);
  o.redial = milliseconds(100);
  return o;
}

class Meshes {
 public:
  explicit Meshes(unsigned count, mesh::MeshOptions how = {}, std::optional<Mode> mode = {})
      : lab(count, mode), options_(std::move(how)) {
    lab.converge();
    for (unsigned n = 1; n <= count; ++n) start(n);
  }
  void start(unsigned n) {
    auto options = options_;
    options.node = fmt::format("n{}", n);
    auto mesh = std::make_unique<RunningMesh>(lab[n].host.netns(), options, authority().node(options.node));
    mesh->set_world(world_of(lab[n]));
    running[n] = std::move(mesh);
  }
  void stop(unsigned n) { running.erase(n); }
  RunningMesh& operator[](unsigned n) { return *running.at(n); }

  // All peers that node n knows are reached on both paths.
  bool all_up(unsigned n, int ms = 5000) {
    return (*this)[n].wait(
        [](const MeshStatus& s) {
          for (const auto& p : s.peers)
            for (auto kind : {PathKind::overlay, PathKind::control})
              if (p.path(kind).state != PathState::up) return false;
          return !s.peers.empty();
        },
        ms);
  }
  std::string table(unsigned n) { return describe(running.at(n)->status()); }
  void nft(unsigned n, const std::string& rules) {
    lab[n].host.shell(
        "nft 'add table inet test; add chain inet test in { type filter hook prerouting priority -400; }; " + rules +
        "'");
  }
  void clear_nft(unsigned n) { lab[n].host.shell("nft delete table inet test"); }

  Lab lab;
  std::map<unsigned, std::unique_ptr<RunningMesh>> running;

 private:
  mesh::MeshOptions options_;
};

double seconds_since(Clock::time_point t) { return std::chrono::duration<double>(Clock::now() - t).count(); }

bool went_down(const std::vector<std::string>& history, const std::string& what) {
  return std::any_of(history.begin(), history.end(),
                     [&](const std::string& line) { return line.find(what + " down") != line.npos; });
}

TEST(Mesh, PeersMeetAndProbeBothPaths) {
  Meshes m(3);
  for (unsigned n : {1u, 2u, 3u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  auto s = m[1].status();
  const auto* p = peer_in(s, "n2");
  ASSERT_TRUE(p);
  EXPECT_EQ(p->connection, peers::Connection::established);
  EXPECT_TRUE(p->outbound) << "the lower name dials";
  EXPECT_EQ(p->version, 1u);
  EXPECT_GT(p->path(PathKind::overlay).round_trip.count(), 0);
  EXPECT_LT(p->path(PathKind::control).round_trip.count(), 500'000);
  EXPECT_FALSE(peer_in(m[2].status(), "n1")->outbound);
  EXPECT_FALSE(s.isolated);
  EXPECT_EQ(s.forged, 0u);
}

TEST(Mesh, ADeadPeerIsNoticedWithinThreeSecondsAndComesBack) {
  Meshes m(3);
  for (unsigned n : {1u, 2u, 3u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  auto begin = Clock::now();
  m.lab[3].host.shell("ip link set eth0 down");
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n3", PathKind::overlay, PathState::down); }));
  auto took = seconds_since(begin);
  RecordProperty("seconds_to_down", std::to_string(took));
  EXPECT_LE(took, 3.0) << m.table(1);
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n3", PathKind::control, PathState::down); }));
  EXPECT_LE(seconds_since(begin), 3.2) << m.table(1);
  // Who is cut off knows that it is: all others went at once.
  EXPECT_TRUE(m[3].wait([](const MeshStatus& s) { return s.isolated; })) << m.table(3);
  EXPECT_FALSE(m[1].status().isolated);
  // The control: nobody else was touched.
  EXPECT_FALSE(went_down(m[1].history(), "n2"));
  begin = Clock::now();
  m.lab[3].host.shell("ip link set eth0 up");
  m.lab[3].converge();
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n3", PathKind::overlay, PathState::up); }, 15000))
      << m.table(1);
  EXPECT_LE(seconds_since(begin), 15.0);
  EXPECT_TRUE(m[3].wait([](const MeshStatus& s) { return !s.isolated; }));
}

TEST(Mesh, ABlockedVxlanPortIsThatPathAlone) {
  Meshes m(2, hasty());
  for (unsigned n : {1u, 2u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  auto begin = Clock::now();
  for (unsigned n : {1u, 2u}) m.nft(n, "add rule inet test in udp dport 6784 drop");
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::overlay, PathState::down); }));
  EXPECT_LE(seconds_since(begin), 3.0) << m.table(1);
  EXPECT_TRUE(m[1].wait([](const MeshStatus& s) {
    return peer_in(s, "n2")->path(PathKind::overlay).reason.find("6784 does not pass") != std::string::npos;
  })) << m.table(1);
  EXPECT_TRUE(path_is(m[1].status(), "n2", PathKind::control, PathState::up)) << m.table(1);
  EXPECT_FALSE(went_down(m[1].history(), "n2 control"));
  for (unsigned n : {1u, 2u}) m.clear_nft(n);
  begin = Clock::now();
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::overlay, PathState::up); }, 15000));
  EXPECT_LE(seconds_since(begin), 15.0);
}

TEST(Mesh, OneWayLossIsNamedOnBothSides) {
  Meshes m(2, hasty());
  for (unsigned n : {1u, 2u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  m.nft(2, "add rule inet test in udp dport 6784 drop");  // n1 -> n2 is lost, n2 -> n1 works
  for (unsigned n : {1u, 2u})
    EXPECT_TRUE(m[n].wait([&](const MeshStatus& s) {
      const auto& path = s.peers.front().path(PathKind::overlay);
      return path.state == PathState::down && path.reason.find("what n1 sends to n2 is lost") != std::string::npos;
    })) << m.table(n);
}

// Twice its patience; with the real one, five seconds, in agent_peers_e2e_test (TRAMA_LONG=1).
TEST(Mesh, AFifthLostIsDegradedAndNeitherDownNorFlapping) {
  Meshes m(2, hasty());
  ASSERT_TRUE(m.all_up(1)) << m.table(1);
  m.nft(1, "add rule inet test in udp dport 6784 numgen random mod 100 < 20 drop");
  EXPECT_TRUE(
      m[1].wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::overlay, PathState::degraded); }, 15'000))
      << m.table(1);
  std::this_thread::sleep_for(milliseconds(4000));
  for (unsigned n : {1u, 2u}) EXPECT_FALSE(went_down(m[n].history(), "vxlan")) << m.table(n);
  EXPECT_EQ(peer_in(m[1].status(), "n2")->path(PathKind::control).state, PathState::up) << m.table(1);
  m.clear_nft(1);
  EXPECT_TRUE(m.all_up(1, 15'000)) << m.table(1);
}

TEST(Mesh, AnAgentThatIsStoppedForLongRaisesNoAlarm) {
  Meshes m(3, hasty());
  for (unsigned n : {1u, 2u, 3u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  m[1].stall(milliseconds(1600));
  std::this_thread::sleep_for(milliseconds(500));
  // It slept, and declares nobody dead.
  EXPECT_FALSE(went_down(m[1].history(), "vxlan")) << m.table(1);
  EXPECT_FALSE(went_down(m[1].history(), "control")) << m.table(1);
  EXPECT_GE(m[1].status().slept.count(), 1200);
  // The others see an agent that does not answer, and that its node is there all the same.
  for (unsigned n : {2u, 3u}) {
    EXPECT_FALSE(went_down(m[n].history(), "vxlan")) << m.table(n);
    EXPECT_TRUE(went_down(m[n].history(), "n1 control")) << "the control: it was noticed that the agent stood still";
    EXPECT_TRUE(m.all_up(n)) << m.table(n);
  }
}

TEST(Mesh, AStoppedAgentSaysSoAndItsNodeStaysReachable) {
  Meshes m(2, hasty());
  for (unsigned n : {1u, 2u}) ASSERT_TRUE(m.all_up(n)) << m.table(n);
  m.stop(2);
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) {
    const auto* p = peer_in(s, "n2");
    return p->connection != peers::Connection::established && !p->trouble.empty();
  })) << m.table(1);
  EXPECT_TRUE(m[1].wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::control, PathState::down); }));
  EXPECT_TRUE(path_is(m[1].status(), "n2", PathKind::overlay, PathState::up)) << m.table(1);
  EXPECT_NE(m.table(1).find("pods reach each other all the same"), std::string::npos) << m.table(1);
  m.start(2);
  EXPECT_TRUE(m.all_up(1, 15000)) << m.table(1);
}

TEST(Mesh, FallsBackToForwardingEntriesJustTheSame) {
  Meshes m(2, hasty(), Mode::fdb);
  for (unsigned n : {1u, 2u}) EXPECT_TRUE(m.all_up(n)) << m.table(n);
}

// ---- who may speak ------------------------------------------------------------------------------------------------

// The impostor stands at each end once: n1 dials and is looked at by a server, n2 is dialed and looked at by a client.
TEST(Mesh, OnlyNodesOfThisClusterMaySpeak) {
  Lab lab(2, std::nullopt);
  lab.converge();
  TestAuthority other;
  auto nodes = [](const std::string& cn, const std::string& o = "system:nodes", int life = 3600) {
    return authority().issue({cn, o, std::chrono::seconds(life)});
  };
  for (auto [impostor, honest] : {std::pair{1u, 2u}, std::pair{2u, 1u}}) {
    auto options = hasty();
    options.node = fmt::format("n{}", honest);
    auto other_options = options;
    auto begin = [&] {
      auto mesh =
          std::make_unique<RunningMesh>(lab[honest].host.netns(), other_options, authority().node(other_options.node));
      mesh->set_world(world_of(lab[honest]));
      return mesh;
    };
    auto good = begin();
    options.node = fmt::format("n{}", impostor);
    auto own = "system:node:" + options.node;
    struct Case {
      const char* what;
      mesh::Credentials credentials;
    };
    const Case cases[] = {
        {"another CA", other.node(options.node)},
        {"the certificate of an administrator", nodes("admin", "system:masters")},
        {"of the controller", nodes("trama:controller", "system:masters")},
        {"a node's name without the nodes' group", nodes(own, "people")},
        {"a node that nobody knows", authority().node("n9")},
        {"one that has ended", nodes(own, "system:nodes", -1)},
    };
    auto refusals = [&](RunningMesh& bad) {
      auto a = good->status(), b = bad.status();
      return a.handshakes_failed + b.handshakes_failed + (b.peers.front().trouble.empty() ? 0 : 1);
    };
    auto speaks = [](const MeshStatus& s) { return s.peers.front().connection == peers::Connection::established; };
    for (const auto& c : cases) {
      auto before = good->status().handshakes_failed;
      RunningMesh bad(lab[impostor].host.netns(), options, c.credentials);
      bad.set_world(world_of(lab[impostor]));
      EXPECT_TRUE(trama::test::eventually([&] { return refusals(bad) > before; })) << c.what;
      EXPECT_FALSE(speaks(good->status())) << c.what << "\n" << describe(good->status());
    }
    good.reset();
    good = begin();  // without the patience that it has lost
    RunningMesh right(lab[impostor].host.netns(), options, authority().node(options.node));
    right.set_world(world_of(lab[impostor]));
    EXPECT_TRUE(right.wait(speaks, 15000)) << "the control\n" << describe(right.status());
    EXPECT_TRUE(good->wait(speaks));
  }
}

TEST(Mesh, WithoutACertificateTheOverlayIsWatchedAllTheSame) {
  Lab lab(2, std::nullopt);
  lab.converge();
  mesh::MeshOptions options;
  options.node = "n1";
  RunningMesh n1(lab[1].host.netns(), options, {});
  n1.set_world(world_of(lab[1]));
  EXPECT_TRUE(n1.wait([](const MeshStatus& s) { return path_is(s, "n2", PathKind::overlay, PathState::up); }))
      << describe(n1.status());
  EXPECT_EQ(n1.status().protocol_off, "no certificate");
  EXPECT_EQ(peer_in(n1.status(), "n2")->path(PathKind::control).reason, "no certificate");
}

TEST(Mesh, ANodeThatIsStartingIsWaitedForUntilItSpeaksOrSaysThatItIsReady) {
  Meshes m(3, hasty());
  ASSERT_TRUE(m.all_up(1)) << m.table(1);
  m.stop(1);
  for (unsigned n : {2u, 3u}) m.stop(n);
  // The kernel of n2 would answer, as that of n3 does.
  auto options = hasty();
  options.node = "n1";
  RunningMesh n1(m.lab[1].host.netns(), options, authority().node("n1"));
  auto world = world_of(m.lab[1]);
  world.starting = {"n2"};
  n1.set_world(world);
  auto up = [](const char* node) {
    return [node](const MeshStatus& s) { return path_is(s, node, PathKind::overlay, PathState::up); };
  };
  ASSERT_TRUE(n1.wait(up("n3"))) << describe(n1.status());
  std::this_thread::sleep_for(milliseconds(600));
  auto waiting = n1.status();
  EXPECT_EQ(peer_in(waiting, "n2")->path(PathKind::overlay).state, PathState::unknown) << describe(waiting);
  EXPECT_EQ(peer_in(waiting, "n2")->path(PathKind::overlay).reason, "it is starting");
  EXPECT_EQ(peer_in(waiting, "n2")->trouble, "") << "and is not dialed";
  EXPECT_NE(peer_in(waiting, "n3")->trouble, "") << "nobody listens there, either";
  // It dials before its Node says so.
  m.start(2);
  EXPECT_TRUE(n1.wait(up("n2"))) << describe(n1.status());
  // Or the Node says so first.
  RunningMesh again(
      m.lab[3].host.netns(),
      [&] {
        auto o = options;
        o.node = "n3";
        return o;
      }(),
      authority().node("n3"));
  auto other = world_of(m.lab[3]);
  other.peers.erase("n2");
  std::erase_if(other.members, [](const auto& member) { return member.node == "n2"; });
  other.starting = {"n1"};
  again.set_world(other);
  other.starting.clear();
  again.set_world(other);
  EXPECT_TRUE(again.wait(up("n1"))) << describe(again.status());
}

TEST(Mesh, AWeaveRouterGetsAClearRefusal) {
  Meshes m(2);
  Socket weave(m.lab[2].host.netns(), Family::v4, SOCK_STREAM, base::IpPort{m.lab[2].desired.underlay, 0});
  ASSERT_TRUE(m[1].wait([](const MeshStatus& s) { return s.listening.empty() && s.protocol_off.empty(); }));
  ASSERT_TRUE(trama::test::eventually([&] { return weave.connect_to({m.lab[1].desired.underlay, 6783}); }));
  std::string hello("weave\x01\x02", 7);
  ASSERT_EQ(send(weave.fd(), hello.data(), hello.size(), 0), 7);
  std::string answer;
  char buffer[512];
  for (ssize_t n = 0; (n = recv(weave.fd(), buffer, sizeof buffer, 0)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(n));
  EXPECT_TRUE(answer.starts_with("trama")) << answer;
  EXPECT_NE(answer.find("this is Weave Net; trama and Weave Net do not speak"), std::string::npos) << answer;
  EXPECT_TRUE(m[1].wait([](const MeshStatus& s) { return s.foreign == 1; }));
}

// ---- a bounded number of conversations, and what is said in them ----------------------------------------------------

TEST(Mesh, MembersAreLearnedFromPeersWhileTheControllerIsAway) {
  Lab lab(3, std::nullopt);
  lab.converge();
  auto options = [](const char* name) {
    mesh::MeshOptions o;
    o.node = name;
    return o;
  };
  RunningMesh n1(lab[1].host.netns(), options("n1"), authority().node("n1"));
  RunningMesh n2(lab[2].host.netns(), options("n2"), authority().node("n2"));
  RunningMesh n3(lab[3].host.netns(), options("n3"), authority().node("n3"));
  // n1 has last heard of n2 alone; n2 knows both. The controller is away.
  auto w1 = world_of(lab[1]);
  std::erase_if(w1.members, [](const auto& member) { return member.node == "n3"; });
  w1.peers.erase("n3");
  w1.controller_heard = false;
  n1.set_world(w1);
  auto w2 = world_of(lab[2]);
  w2.controller_heard = false;
  n2.set_world(w2);
  n3.set_world(world_of(lab[3]));
  EXPECT_TRUE(n1.wait([](const MeshStatus& s) {
    const auto* p = peer_in(s, "n3");
    return p && p->hearsay && p->connection == peers::Connection::established;
  })) << describe(n1.status());
  EXPECT_TRUE(trama::test::eventually([&] { return n1.members().size() == 2; })) << "worth keeping";
  // No route comes of hearsay: it is no peer of the overlay.
  EXPECT_EQ(peer_in(n1.status(), "n3")->overlay, "");
  // The controller is back and does not know it: out.
  w1.controller_heard = true;
  n1.set_world(w1);
  EXPECT_TRUE(n1.wait([](const MeshStatus& s) { return peer_in(s, "n3") == nullptr; }));
}

}  // namespace
}  // namespace trama::overlay::test
