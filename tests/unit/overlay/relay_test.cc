// SPDX-License-Identifier: GPL-2.0-or-later
// The way over a third node, as far as it is pure: what is said about it, who is chosen, whose conversations are passed
// on, and how many conversations are begun for keys alone. What packets are put into: relaying_test.cc.
#include <gtest/gtest.h>

#include "overlay/peers/choice.h"
#include "overlay/peers/demand.h"
#include "overlay/peers/relay_choice.h"
#include "overlay/peers/session.h"
#include "overlay/peers/splices.h"

namespace trama::overlay::peers {
namespace {

using Action = Splice::Action;

// ---- what is said -----------------------------------------------------------------------------------------------

TEST(RelayWire, ComesBackAsItWasAndRefusesWhatItCannotBe) {
  std::vector<Ask> asks{{"n1", false}, {"n2", true}};
  EXPECT_EQ(*parse_asks(encode(asks)), asks);
  std::vector<Reach> reaches{{"n3", ReachState::ready, 7, 1234}, {"n4", ReachState::no, 100, 0}};
  EXPECT_EQ(*parse_reaches(encode(reaches)), reaches);
  for (auto action : {Action::open, Action::arrive, Action::close}) {
    Splice s{action, 77, "n2"};
    EXPECT_EQ(*parse_splice(encode(s)), s);
  }
  Splice data{Action::data, 5, std::string("\x16\x03\x01\0x", 5)};
  EXPECT_EQ(*parse_splice(encode(data)), data);
  for (std::size_t n = 0; n < encode(asks).size(); ++n) EXPECT_FALSE(parse_asks(encode(asks).substr(0, n))) << n;
  for (std::size_t n = 0; n < encode(reaches).size(); ++n)
    EXPECT_FALSE(parse_reaches(encode(reaches).substr(0, n))) << n;
  for (std::size_t n = 0; n < 5; ++n) EXPECT_FALSE(parse_splice(encode(data).substr(0, n))) << n;
  EXPECT_TRUE(parse_asks(encode(asks) + "of a later version")) << "passed over";
  EXPECT_FALSE(parse_splice(encode(Splice{Action::open, 1, "No Name"})));
  EXPECT_FALSE(parse_splice(encode(Splice{Action::open, 1, ""})));
  EXPECT_FALSE(parse_splice(encode(Splice{Action::data, 1, std::string(kLargestSplice + 1, 'x')})));
  EXPECT_FALSE(parse_splice(std::string("\x09\0\0\0\1", 5))) << "an action that nobody knows";
  EXPECT_EQ(parse_splice(encode(Splice{Action::close, 1, "two\nlines"}))->text, "two lines");
  reaches[0].loss = 101;
  EXPECT_FALSE(parse_reaches(encode(reaches)));
  EXPECT_EQ(parse_asks(encode(std::vector<Ask>(40, Ask{"n1"})))->size(), kMostAsked) << "bounded";
}

TEST(RelayWire, TravelsInAConversationAndBadOnesEndIt) {
  Hello a, b;
  a.node = "n1", b.node = "n2";
  a.uid = std::string(32, 'a'), b.uid = std::string(32, 'b');
  Session one(a, "n2", Millis(0)), two(b, "n1", Millis(0));
  two.receive(one.take_output(), Millis(1));
  one.receive(two.take_output(), Millis(1));
  one.send(std::vector<Ask>{{"n3", true}});
  one.send(Splice{Action::open, 2, "n3"});
  one.send_members({});
  auto events = two.receive(one.take_output(), Millis(2));
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(std::get<Session::Asked>(events[0]).asks.at(0).node, "n3");
  EXPECT_EQ(std::get<Session::Spliced>(events[1]).splice.id, 2u);
  EXPECT_TRUE(std::get<Session::Members>(events[2]).members.empty()) << "even an empty list is said";
  auto end = two.receive(encode_frame(FrameType::splice, "x"), Millis(3));
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(std::get<Session::Closed>(end[0]).why, "malformed splice");
}

// ---- who is chosen ------------------------------------------------------------------------------------------------

RelayCandidate third(const char* node, unsigned loss, int trip, ReachState reaches = ReachState::ready) {
  return {node, true, loss, Micros(trip), reaches, 0, Micros(100)};
}

TEST(RelayChoice, TakesTheBestAndKeepsItWhileItWorks) {
  RelayChoice c;
  Millis now{1000};
  EXPECT_FALSE(c.decide({}, PathState::unknown, 0, now));
  EXPECT_EQ(c.via(), "");
  std::vector<RelayCandidate> all{third("a", 0, 900), third("b", 0, 300), third("c", 40, 10),
                                  third("d", 0, 1, ReachState::no)};
  all.push_back(third("e", 0, 1));
  all.back().near = false;
  EXPECT_TRUE(c.decide(all, PathState::unknown, 0, now));
  EXPECT_EQ(c.via(), "b") << "no loss, and the shortest of those";
  all[0].round_trip = Micros(1);
  EXPECT_FALSE(c.decide(all, PathState::up, 0, now)) << "a better one is no reason";
  EXPECT_FALSE(c.decide(all, PathState::degraded, 10, now));
  EXPECT_TRUE(c.decide(all, PathState::degraded, 30, now)) << "a quarter lost is";
  EXPECT_EQ(c.via(), "a");
  // It goes: the next one, and not back to it at once.
  EXPECT_TRUE(c.decide(all, PathState::down, 0, now));
  EXPECT_EQ(c.via(), "b");
  EXPECT_TRUE(c.decide(all, PathState::down, 0, now += Millis(3000)));
  EXPECT_EQ(c.via(), "c") << "loses, but is the only one that was not tried";
  EXPECT_FALSE(c.decide({third("c", 40, 10)}, PathState::down, 0, now)) << "nobody else: who worked may work again";
  EXPECT_TRUE(c.decide(all, PathState::down, 0, now + RelayChoice::kPassedOver));
  EXPECT_EQ(c.via(), "a");
  EXPECT_TRUE(c.decide({}, PathState::up, 0, now + RelayChoice::kPassedOver)) << "it is no peer any more";
  EXPECT_EQ(c.via(), "");
}

TEST(RelayChoice, LeavesOneThatSaysItDoesNotReachThePeerAnyMore) {
  RelayChoice c;
  EXPECT_TRUE(c.decide({third("a", 0, 1), third("b", 0, 2)}, PathState::unknown, 0, Millis(0)));
  EXPECT_TRUE(c.decide({third("a", 0, 1, ReachState::no), third("b", 0, 2)}, PathState::up, 0, Millis(1)));
  EXPECT_EQ(c.via(), "b");
  RelayChoice ready;
  EXPECT_TRUE(
      ready.decide({third("a", 0, 1, ReachState::possible), third("b", 4, 9)}, PathState::unknown, 0, Millis(0)));
  EXPECT_EQ(ready.via(), "b") << "ready before possible";
}

// ---- the path choice ----------------------------------------------------------------------------------------------

TEST(Choice, AThirdNodeIsTheLastResortAndLeftForAnythingBetter) {
  PathChoice c;
  Situation s;
  s.vxlan = s.tunnel = s.relay = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan);
  s.vxlan = s.tunnel = PathState::down;
  s.vxlan_reason = "no answer from n3";
  s.tunnel_reason = "no answer either";
  EXPECT_TRUE(c.decide(s));
  EXPECT_EQ(c.use(), Use::relay);
  EXPECT_EQ(c.why(), "vxlan: no answer from n3; tunnel: no answer either");
  s.tunnel = PathState::degraded;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::relay) << "not back before it is well";
  s.tunnel = PathState::up;
  s.tunnel_doubtful = true;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::relay) << "an answer is overdue there";
  s.tunnel_doubtful = false;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel);
  s.tunnel = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::relay) << "from the tunnel, too";
  s.relay = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::relay) << "nothing works: nothing is changed";
  s.vxlan = PathState::degraded;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "bad is better than nothing";
  s.vxlan = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan);
}

TEST(Choice, WhatMustBeEncryptedMayGoOverAThirdNodeButNeverInTheClear) {
  PathChoice c;
  Situation s;
  s.must_encrypt = true;
  s.who_demands = "n1 requires encryption";
  s.vxlan = s.relay = PathState::up;
  for (auto tunnel : {PathState::unknown, PathState::probing, PathState::down}) {
    s.tunnel = tunnel;
    c.decide(s);
    EXPECT_EQ(c.use(), Use::relay);
  }
  s.relay = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::relay);
  s.tunnel = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel);
  s.tunnel = s.relay = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel) << "nothing works, and vxlan would";
}

// ---- conversations of others ----------------------------------------------------------------------------------------

struct Desk {
  SpliceDesk desk{"n2"};
  Millis now{1000};
  std::vector<SpliceDesk::Out> say(const std::string& from, Splice s) {
    return desk.take(
        from, s, [](const std::string& to) { return to == "n9" ? "no member" : ""; }, now);
  }
};

TEST(Splices, BytesOfTwoMembersArePassedOnBothWays) {
  Desk d;
  auto out = d.say("n1", {Action::open, 4, "n3"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].to, "n3");
  EXPECT_EQ(out[0].splice.action, Action::arrive);
  EXPECT_EQ(out[0].splice.text, "n1") << "who calls";
  auto far = out[0].splice.id;
  EXPECT_TRUE(SpliceDesk::is_id_of(far, "n2", "n3"));
  out = d.say("n1", {Action::data, 4, "hello"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].to + out[0].splice.text, "n3hello");
  EXPECT_EQ(out[0].splice.id, far);
  out = d.say("n3", {Action::data, far, "welcome"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].to + out[0].splice.text, "n1welcome");
  EXPECT_EQ(out[0].splice.id, 4u);
  EXPECT_TRUE(d.say("n4", {Action::data, 4, "me too"}).empty()) << "somebody else's number";
  out = d.say("n3", {Action::close, far, "bye"});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].splice.action, Action::close);
  EXPECT_EQ(d.desk.open(), 0u);
  EXPECT_TRUE(d.say("n1", {Action::data, 4, "late"}).empty());
  EXPECT_EQ(d.desk.opened(), 1u);
}

TEST(Splices, RefusesWhatLeadsToNobodyOrFurther) {
  Desk d;
  auto refused = [&](const std::string& from, Splice s) {
    auto out = d.say(from, s);
    return out.size() == 1 && out[0].to == from && out[0].splice.action == Action::close && !out[0].splice.text.empty();
  };
  EXPECT_TRUE(refused("n1", {Action::open, 2, "n9"})) << "no member";
  EXPECT_TRUE(refused("n1", {Action::open, 2, "n1"})) << "itself";
  EXPECT_TRUE(refused("n1", {Action::open, 2, "n2"})) << "us";
  EXPECT_TRUE(refused("n1", {Action::open, 3, "n3"})) << "a number that we give";
  EXPECT_TRUE(d.say("n1", {Action::arrive, 2, "n3"}).empty()) << "what has arrived is not passed on again";
  EXPECT_EQ(d.desk.open(), 0u);
  EXPECT_EQ(d.desk.refused(), 5u);
  EXPECT_FALSE(refused("n1", {Action::open, 2, "n3"})) << "the control";
  EXPECT_TRUE(refused("n1", {Action::open, 2, "n3"})) << "twice the same number";
}

TEST(Splices, NumbersBytesTimeAndRateAreBounded) {
  Desk d;
  std::uint32_t id = 0;
  auto opens = [&](const std::string& from) {
    auto out = d.say(from, {Action::open, id += 2, "n3"});
    return out.at(0).splice.action == Action::arrive;
  };
  for (std::size_t i = 0; i < SpliceDesk::kEach; ++i) EXPECT_TRUE(opens("n1"));
  EXPECT_FALSE(opens("n1")) << "of one opener";
  EXPECT_TRUE(opens("n0")) << "the control: another one";
  auto ended = d.desk.tick(d.now += SpliceDesk::kLongest);
  EXPECT_EQ(ended.size(), 10u) << "both ends of each are told";
  EXPECT_EQ(d.desk.open(), 0u);
  ASSERT_TRUE(opens("n1"));
  std::size_t passed = 0;
  for (int i = 0; i < 20 && d.desk.open() > 0; ++i)
    for (const auto& out : d.say("n1", {Action::data, id, std::string(8 * 1024, 'x')}))
      if (out.splice.action == Action::data) passed += out.splice.text.size();
  EXPECT_EQ(passed, SpliceDesk::kMostBytes);
  EXPECT_EQ(d.desk.open(), 0u);
  // Opening and closing in turns is bounded, too; and comes back with time.
  auto churn = [&] {
    int n = 0;
    for (int i = 0; i < 50; ++i) {
      if (opens("n1")) ++n;
      d.say("n1", {Action::close, id, ""});
    }
    return n;
  };
  d.now += Millis(60'000);
  EXPECT_EQ(churn(), static_cast<int>(SpliceDesk::kBurst));
  EXPECT_EQ(churn(), 0);
  d.now += Millis(3'000);
  EXPECT_EQ(churn(), 3);
  // All together.
  d.now += Millis(60'000);
  for (char c = 'a'; c <= 'z'; ++c)
    for (std::size_t i = 0; i < SpliceDesk::kEach; ++i) (void)opens(std::string("m") + c);
  EXPECT_EQ(d.desk.open(), SpliceDesk::kMost);
  auto told = d.desk.gone("n3");
  EXPECT_EQ(told.size(), SpliceDesk::kMost);
  EXPECT_EQ(d.desk.open(), 0u);
}

// ---- conversations for keys alone
// -------------------------------------------------------------------------------------

TEST(Demand, KeysAreForThoseThatNeedThem) {
  EXPECT_FALSE(needs_keys(KeyNeed{}));
  KeyNeed n;
  n.must_encrypt = true;
  EXPECT_TRUE(needs_keys(n) && !keeps_conversation(n));
  n = {};
  n.sealed = true;
  EXPECT_TRUE(needs_keys(n) && !keeps_conversation(n));
  n = {};
  n.fast_silent = true;
  EXPECT_TRUE(needs_keys(n) && !keeps_conversation(n));
  n = {};
  n.asked_for = true;
  EXPECT_TRUE(needs_keys(n) && keeps_conversation(n));
}

// 199 peers at once: how many conversations are underway and how many begin in a second, with handshakes of `each`.
TEST(Demand, AClusterThatBeginsToRequireEncryptionIsNotAStorm) {
  for (auto each : {Millis(5), Millis(50), Millis(5000)}) {
    DialBudget b;
    std::vector<Millis> ends;
    std::size_t begun = 0, most = 0;
    std::map<std::int64_t, std::size_t> per_second;
    Millis now{0};
    for (; begun < 199 && now < Millis(600'000); now += Millis(100)) {
      std::erase_if(ends, [&](Millis t) {
        if (t > now) return false;
        b.ended();
        return true;
      });
      while (begun < 199 && b.begin(now)) {
        ++begun, ++per_second[now.count() / 1000];
        ends.push_back(now + each);
      }
      most = std::max(most, b.inside());
    }
    EXPECT_EQ(begun, 199u);
    EXPECT_LE(most, DialBudget::kInside);
    for (auto [second, n] : per_second) EXPECT_LE(n, DialBudget::kRate + DialBudget::kBurst) << second;
    if (each <= Millis(50)) {
      EXPECT_LE(now.count(), 15'000) << "yet all have keys soon";
    }
  }
}

}  // namespace
}  // namespace trama::overlay::peers
