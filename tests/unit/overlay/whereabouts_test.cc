// SPDX-License-Identifier: GPL-2.0-or-later
// Where a peer is believed to be: what moves it, and what does not.
#include "overlay/peers/whereabouts.h"

#include <random>

#include <gtest/gtest.h>

#include "overlay/peers/keys.h"
#include "overlay/peers/mtu_search.h"

namespace trama::overlay::peers {
namespace {

IpPort place(const char* ip, std::uint16_t port = 6783) { return {*Ip::parse(ip), port}; }
const IpPort kHome = place("192.0.2.1"), kNat = place("198.51.100.7", 40123), kThief = place("203.0.113.9", 9);

Whereabouts at_home() {
  Whereabouts w;
  w.announce(kHome);
  return w;
}

TEST(WhereaboutsOf, APeerThatAnswersFromElsewhereHasMoved) {
  auto w = at_home();
  EXPECT_FALSE(w.heard(kHome, Millis(1000), 7)) << "nothing to ask";
  auto question = w.heard(kNat, Millis(1010), 7);
  ASSERT_TRUE(question);
  EXPECT_EQ(question->to, kNat);
  EXPECT_EQ(w.current(), kHome) << "not yet";
  EXPECT_TRUE(w.answered(kNat, question->number));
  EXPECT_EQ(w.current(), kNat);
  EXPECT_TRUE(w.elsewhere());
  EXPECT_FALSE(w.answered(kNat, question->number)) << "an answer counts once";
  EXPECT_EQ(w.moves(), 1u);
}

TEST(WhereaboutsOf, WhatIsCopiedMovesNobody) {
  auto w = at_home();
  auto question = w.heard(kThief, Millis(1000), 7);
  ASSERT_TRUE(question);
  EXPECT_FALSE(w.answered(kHome, question->number)) << "an answer from elsewhere than where it was asked";
  EXPECT_FALSE(w.answered(kThief, question->number + 1)) << "no answer to that question";
  EXPECT_EQ(w.current(), kHome);
  EXPECT_FALSE(w.heard(kHome, Millis(1200), 8)) << "it is where it was";
  EXPECT_FALSE(w.answered(kThief, question->number)) << "and that ends the matter";
  EXPECT_EQ(w.current(), kHome);
}

TEST(WhereaboutsOf, QuestionsAreFewAndTheLastPlaceCounts) {
  auto w = at_home();
  auto first = w.heard(kNat, Millis(1000), 1);
  ASSERT_TRUE(first);
  EXPECT_FALSE(w.heard(kNat, Millis(1050), 2)) << "asked just now";
  auto second = w.heard(kNat, Millis(1100), 3);
  ASSERT_TRUE(second) << "the question may have been lost";
  EXPECT_FALSE(w.answered(kNat, first->number));
  auto third = w.heard(place("198.51.100.7", 40124), Millis(1110), 4);
  ASSERT_TRUE(third) << "its NAT has changed its mind";
  EXPECT_FALSE(w.answered(kNat, second->number));
  EXPECT_TRUE(w.answered(third->to, third->number));
}

TEST(WhereaboutsOf, AnAnnouncedMoveIsFollowedUnlessItWasFoundElsewhere) {
  auto w = at_home();
  auto next = place("192.0.2.2");
  w.announce(next);
  EXPECT_EQ(w.current(), next);
  auto question = w.heard(kNat, Millis(1000), 1);
  ASSERT_TRUE(w.answered(kNat, question->number));
  w.announce(kHome);
  EXPECT_EQ(w.current(), kNat) << "it answers there";
  auto look = w.look_for(Millis(2000), 5);
  ASSERT_TRUE(look) << "but when it does not any more";
  EXPECT_EQ(look->to, kHome);
  EXPECT_FALSE(w.look_for(Millis(2500), 6));
  EXPECT_TRUE(w.answered(kHome, look->number));
  EXPECT_FALSE(w.elsewhere());
  EXPECT_FALSE(w.look_for(Millis(9000), 6)) << "it is where it announces to be";
}

TEST(WhereaboutsOf, NumbersOfQuestionsAreNobodyElses) {
  auto w = at_home();
  auto question = w.heard(kNat, Millis(1000), 0);
  EXPECT_NE(question->number, MtuSearch::kMark);
  EXPECT_EQ(question->number & Whereabouts::kMark, Whereabouts::kMark);
  EXPECT_NE(question->number & MtuSearch::kMark, 0u) << "a receiver counts it as no probe of liveness";
}

TEST(WhereaboutsOf, OnlyTheNewestDatagramSpeaks) {
  std::string secret(kExportedSize, 'k');
  auto sender = DatagramKeys::make(secret, Side::dialer, 1, 2);
  auto receiver = DatagramKeys::make(secret, Side::acceptor, 2, 1);
  auto first = sender->seal(DatagramType::probe, "a"), second = sender->seal(DatagramType::probe, "b"),
       third = sender->seal(DatagramType::probe, "c");
  EXPECT_TRUE(receiver->open(first)->newest);
  EXPECT_TRUE(receiver->open(third)->newest);
  auto late = receiver->open(second);
  ASSERT_TRUE(late) << "it opens";
  EXPECT_FALSE(late->newest) << "but was held up underway";
  EXPECT_FALSE(receiver->open(third)) << "and replays do not open at all";
}

// Whatever comes from wherever: a place counts only after an answer from there to the last question.
TEST(WhereaboutsOf, RandomHistories) {
  std::mt19937_64 random(5);
  std::vector<IpPort> places{kHome, kNat, kThief, place("192.0.2.2")};
  for (int round = 0; round < 2000; ++round) {
    auto w = at_home();
    std::optional<Whereabouts::Question> asked;
    auto expected = kHome, announced = kHome;
    Millis now{1000};
    for (int step = 0; step < 40; ++step) {
      now += Millis(random() % 300);
      const auto& where = places[random() % places.size()];
      switch (random() % 4) {
        case 0:
          if (expected == announced) expected = where;
          announced = where;
          w.announce(where);
          break;
        case 1:
          if (auto q = w.heard(where, now, random())) asked = q;
          if (where == expected) asked.reset();
          break;
        case 2:
          if (auto q = w.look_for(now, random())) asked = q;
          break;
        default: {
          auto number = asked && random() % 2 ? asked->number : random() | Whereabouts::kMark;
          bool right = asked && asked->to == where && asked->number == number;
          if (right) expected = where;
          w.answered(where, number);
          if (right) asked.reset();
        }
      }
      ASSERT_EQ(w.current(), expected) << "round " << round << " step " << step;
    }
  }
}

}  // namespace
}  // namespace trama::overlay::peers
