// SPDX-License-Identifier: GPL-2.0-or-later
// Conversations, members, neighbours, and who is let in.
#include <random>

#include <gtest/gtest.h>

#include "overlay/peers/doorman.h"
#include "overlay/peers/members.h"
#include "overlay/peers/neighbours.h"
#include "overlay/peers/session.h"

namespace trama::overlay::peers {
namespace {

Hello hello(const std::string& node, char uid, std::uint64_t connection) {
  Hello h;
  h.node = node;
  h.uid = std::string(32, uid);
  h.connection = connection;
  h.udp_index = 5;
  return h;
}

template <class T>
const T* first(const std::vector<Session::Event>& events) {
  for (const auto& e : events)
    if (auto* found = std::get_if<T>(&e)) return found;
  return nullptr;
}

struct Both {
  Session a{hello("n1", 'a', 10), "n2", Millis(0)}, b{hello("n2", 'b', 3), "n1", Millis(0)};
  void meet() {
    auto from_a = a.take_output(), from_b = b.take_output();
    EXPECT_TRUE(first<Session::Established>(a.receive(from_b, Millis(1))));
    EXPECT_TRUE(first<Session::Established>(b.receive(from_a, Millis(1))));
  }
};

TEST(Session, MeetsAndAgreesOnTheConnection) {
  Both s;
  s.meet();
  EXPECT_EQ(s.a.id(), s.b.id());
  EXPECT_EQ(s.a.theirs().node, "n2");
  s.a.send_members({{"n3", 9, Ip::v4(10, 0, 0, 3)}});
  auto got = s.b.receive(s.a.take_output(), Millis(2));
  ASSERT_TRUE(first<Session::Members>(got));
  EXPECT_EQ(first<Session::Members>(got)->members.front().node, "n3");
  s.b.close("this agent stops");
  auto end = s.a.receive(s.b.take_output(), Millis(3));
  ASSERT_TRUE(first<Session::Closed>(end));
  EXPECT_EQ(first<Session::Closed>(end)->why, "this agent stops");
  EXPECT_TRUE(first<Session::Closed>(end)->by_them);
  EXPECT_TRUE(s.a.closed());
}

std::string refusal(Hello mine, const std::string& certified, const std::string& bytes) {
  Session s(std::move(mine), certified, Millis(0));
  auto events = s.receive(bytes, Millis(1));
  auto* closed = first<Session::Closed>(events);
  return closed ? closed->why : "";
}

TEST(Session, RefusesWhoIsNotWhoHeShouldBe) {
  auto me = hello("n1", 'a', 10);
  auto say = [](const Hello& h) { return encode_frame(FrameType::hello, encode(h)); };
  EXPECT_EQ(refusal(me, "n2", say(hello("n2", 'b', 3))), "") << "the control";
  EXPECT_NE(refusal(me, "n3", say(hello("n2", 'b', 3))).find("its certificate that it is n3"), std::string::npos);
  EXPECT_NE(refusal(me, "n1", say(hello("n1", 'b', 3))).find("second node named n1"), std::string::npos);
  EXPECT_EQ(refusal(me, "n1", say(hello("n1", 'a', 3))), "this is ourselves");
  auto lowered = hello("n2", 'b', 3);
  lowered.heard = Versions{0, 0};  // it has got another greeting than we sent
  EXPECT_NE(refusal(me, "n2", say(lowered)).find("somebody stands in between"), std::string::npos);
  EXPECT_EQ(refusal(me, "n2", encode_frame(FrameType::ping, "")), "it began without a hello");
  EXPECT_EQ(refusal(me, "n2", say(hello("n2", 'b', 3)) + say(hello("n2", 'b', 3))), "a second hello");
  EXPECT_NE(refusal(me, "n2", std::string("\xff\xff\xff\xff", 4)).find("a frame of"), std::string::npos);
  EXPECT_EQ(refusal(me, "n2", encode_frame(FrameType::members, "")), "it began without a hello");
  EXPECT_EQ(refusal(me, "n2", say(hello("n2", 'b', 3)) + encode_frame(FrameType::members, "x")),
            "malformed list of members");
  EXPECT_EQ(refusal(me, "n2", say(hello("n2", 'b', 3)) + encode_frame(static_cast<FrameType>(99), "new")), "")
      << "what a later version says is passed over";
}

TEST(Session, PingsAndGivesUpOnSilence) {
  Both s;
  s.meet();
  s.a.tick(Millis(5'000));
  EXPECT_FALSE(s.a.take_output().empty()) << "a ping";
  for (Millis t(1'000); t < Millis(60'000); t += Millis(1'000)) {
    EXPECT_FALSE(first<Session::Closed>(s.a.tick(t))) << t.count();
    s.b.receive(s.a.take_output(), t);
    EXPECT_FALSE(first<Session::Closed>(s.b.tick(t)));
    s.a.receive(s.b.take_output(), t);
  }
  auto end = s.a.tick(Millis(80'000));
  ASSERT_TRUE(first<Session::Closed>(end));
  EXPECT_EQ(first<Session::Closed>(end)->why, "nothing was heard for 15 s");
  Session mute(hello("n1", 'a', 1), "n2", Millis(0));
  EXPECT_FALSE(first<Session::Closed>(mute.tick(Millis(4'900))));
  EXPECT_TRUE(first<Session::Closed>(mute.tick(Millis(5'000))));
}

TEST(TieBreak, BothSidesKeepTheSameOfTwoCrossedConnections) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) {
    Hello a1 = hello("n1", 'a', random()), b1 = hello("n2", 'b', random());
    Hello a2 = hello("n1", 'a', random()), b2 = hello("n2", 'b', random());
    auto at_a = keep_first(connection_id(a1, b1), connection_id(a2, b2));
    auto at_b = keep_first(connection_id(b1, a1), connection_id(b2, a2));
    EXPECT_EQ(at_a, at_b);
  }
}

// ---- members ------------------------------------------------------------------------------------------------------

Member member(const char* name, std::uint64_t revision, std::uint8_t host) {
  return {name, revision, Ip::v4(10, 0, 0, host)};
}

TEST(Members, TheControllersListIsAllThereIsWhileItIsHeard) {
  MemberTable t;
  EXPECT_EQ(t.controller_says({member("n2", 5, 2)}, true).size(), 1u);
  EXPECT_TRUE(t.peer_says({member("n3", 1, 3), member("n2", 9, 9)}).empty());
  EXPECT_EQ(t.entries().size(), 1u);
  // It is away: others may add, but not change what it has said.
  EXPECT_TRUE(t.controller_says({member("n2", 5, 2)}, false).empty());
  EXPECT_EQ(t.peer_says({member("n3", 1, 3), member("n2", 9, 9)}).size(), 1u);
  EXPECT_TRUE(t.hearsay("n3"));
  EXPECT_EQ(t.entries().at("n2").underlay, Ip::v4(10, 0, 0, 2)) << "nobody moves a node that the controller has named";
  EXPECT_TRUE(t.peer_says({member("n3", 1, 4)}).empty()) << "not newer";
  EXPECT_EQ(t.peer_says({member("n3", 2, 4)}).size(), 1u);
  // It is back: what it does not know is gone.
  t.controller_says({member("n2", 5, 2)}, true);
  EXPECT_FALSE(t.entries().contains("n3"));
}

TEST(Members, FileComesBackOrNotAtAll) {
  std::vector<Member> some{member("n2", 5, 2), {"n6", 7, *Ip::parse("fd00::6")}};
  auto text = encode_file(some);
  ASSERT_TRUE(parse_file(text));
  EXPECT_EQ(*parse_file(text), some);
  for (std::size_t n = 0; n < text.size(); ++n) EXPECT_FALSE(parse_file(text.substr(0, n))) << n;
  for (std::size_t n = 0; n < text.size(); ++n) {
    auto flipped = text;
    flipped[n] = static_cast<char>(flipped[n] ^ 1);
    auto parsed = parse_file(flipped);
    EXPECT_TRUE(!parsed || *parsed == some) << n;
  }
  EXPECT_TRUE(parse_file(encode_file({})));
}

// ---- neighbours ---------------------------------------------------------------------------------------------------

std::vector<std::string> names(std::size_t n) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < n; ++i) out.push_back(fmt::format("node-{}", i));
  return out;
}

TEST(Neighbours, AreSymmetricFewAndReachEverybody) {
  for (std::size_t n : {2u, 32u, 33u, 66u, 200u, 1000u}) {
    auto all = names(n);
    std::map<std::string, std::set<std::string>> graph;
    for (const auto& self : all) {
      auto others = all;
      std::erase(others, self);
      graph[self] = neighbours(self, others);
      EXPECT_FALSE(graph[self].contains(self));
    }
    for (const auto& [self, chosen] : graph) {
      if (n <= kFullMesh)
        EXPECT_EQ(chosen.size(), n - 1);
      else
        EXPECT_LE(chosen.size(), 20u) << n;
      for (const auto& other : chosen) EXPECT_TRUE(graph[other].contains(self)) << n;
    }
    std::set<std::string> reached{all[0]}, edge{all[0]};
    std::size_t hops = 0;
    for (; reached.size() < n && hops < 20; ++hops) {
      std::set<std::string> next;
      for (const auto& at : edge) next.insert(graph[at].begin(), graph[at].end());
      std::erase_if(next, [&](const auto& x) { return reached.contains(x); });
      reached.insert(next.begin(), next.end());
      edge = std::move(next);
    }
    EXPECT_EQ(reached.size(), n);
    EXPECT_LE(hops, 7u) << n;
  }
}

// ---- the door -----------------------------------------------------------------------------------------------------

TEST(Doorman, AFloodOfStrangersTakesNothingFromMembers) {
  Doorman d;
  auto stranger = Ip::v4(192, 0, 2, 66), friendly = Ip::v4(10, 0, 0, 2);
  std::size_t in = 0;
  for (int second = 0; second < 10; ++second) {
    for (int i = 0; i < 10'000; ++i)
      if (d.enter(stranger, false, Millis(second * 1000 + i / 10))) {
        ++in;
        d.left(stranger, false);  // even if each ends at once
      }
    EXPECT_TRUE(d.enter(friendly, true, Millis(second * 1000))) << second;
    d.left(friendly, true);
  }
  EXPECT_LE(in, 130u) << "of 100,000";
  EXPECT_GE(in, 100u) << "the control: some come in";
  EXPECT_EQ(d.inside(), 0u);
}

TEST(Doorman, HalfOpenConversationsAreFew) {
  Doorman d;
  std::size_t strangers = 0, mine = 0;
  for (int i = 0; i < 1000; ++i) {
    if (d.enter(Ip::v4(192, 0, 2, static_cast<std::uint8_t>(i)), false, Millis(i * 1000))) ++strangers;
    if (d.enter(Ip::v4(10, 0, 0, 2), true, Millis(i * 1000))) ++mine;
  }
  EXPECT_EQ(strangers, Doorman::kStrangers);
  EXPECT_EQ(mine, Doorman::kEach);
  EXPECT_TRUE(d.enter(Ip::v4(10, 0, 0, 3), true, Millis(2'000'000))) << "another member";
}

}  // namespace
}  // namespace trama::overlay::peers
