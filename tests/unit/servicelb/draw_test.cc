// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/draw.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/nft/batch.h"

namespace trama::servicelb {
namespace {
using How = Draw::How;
using std::chrono::seconds;
using ::testing::HasSubstr;
using ::testing::Not;

Draw draw(How how, std::uint32_t slots, bool counted = false, std::uint32_t owner = 0, seconds timeout = seconds(0)) {
  Draw d;
  d.how = how, d.slots = slots, d.counted = counted, d.owner = owner, d.timeout = timeout;
  return d;
}

TEST(DrawName, SaysItAll) {
  const std::pair<Draw, const char*> names[] = {
      {draw(How::random, 1), "n1"},
      {draw(How::random, 16384), "n16384"},
      {draw(How::random, 4, true), "n4-counted"},
      {draw(How::round_robin, 4, false, 17), "rr17-n4"},
      {draw(How::round_robin, 4, true, 0xfffff), "rr1048575-n4-counted"},
      {draw(How::source_hash, 4), "source-n4"},
      {draw(How::source_hash, 4, true), "source-n4-counted"},
      {draw(How::maglev, 5003), "maglev-n5003"},
      {draw(How::maglev, 65521, true), "maglev-n65521-counted"},
      {draw(How::affinity, 4, false, 0, seconds(10800)), "affinity10800-n4"},
      {draw(How::affinity, 1, false, 0, seconds(1)), "affinity1-n1"},
  };
  for (const auto& [d, name] : names) {
    EXPECT_EQ(d.chain(), name);
    auto back = Draw::of_chain(name);
    ASSERT_TRUE(back) << name;
    EXPECT_TRUE(*back == d) << name;
  }
}

TEST(DrawName, NothingElseIsOne) {
  for (const char* name : {"",
                           "n",
                           "n0",
                           "n01",
                           "n-1",
                           "n+1",
                           "n 1",
                           " n1",
                           "n1 ",
                           "N1",
                           "n1x",
                           "n1-",
                           "n1-count",
                           "n1-counted-counted",
                           "n4294967296",
                           "n99999999999999999999",
                           "4",
                           "rr-n4",
                           "rr0-n4",
                           "rr01-n4",
                           "rr17n4",
                           "rr17-4",
                           "rr17-",
                           "rr17",
                           "source4",
                           "source-4",
                           "source-",
                           "Source-n4",
                           "maglev5003",
                           "maglev-5003",
                           "maglev-n",
                           "affinity-n4",
                           "affinity0-n4",
                           "affinity010-n4",
                           "affinity10n4",
                           "affinity10-",
                           "affinity",
                           "affinity10-rr1-n4",
                           "source-maglev-n4",
                           "services",
                           "prerouting",
                           "no-local",
                           "refuse",
                           "n4\n",
                           "n\xc2\xb2"})
    EXPECT_FALSE(Draw::of_chain(name)) << '"' << name << '"';
  EXPECT_FALSE(Draw::of_chain(std::string_view("n4\0", 3)));
}

TEST(DrawChain, EveryKindEndsInADropAndHasWhatItNeeds) {
  for (Family f : {Family::v4, Family::v6})
    for (const auto& d :
         {draw(How::random, 3), draw(How::random, 1), draw(How::random, 3, true), draw(How::round_robin, 3, false, 9),
          draw(How::source_hash, 3), draw(How::maglev, 5003), draw(How::affinity, 3, false, 0, seconds(5400)),
          draw(How::affinity, 1, false, 0, seconds(1))}) {
      auto c = draw_chain(f, d);
      SCOPED_TRACE(c.chain.name);
      EXPECT_EQ(c.chain.name, d.chain());
      EXPECT_FALSE(c.chain.base) << "no hook";
      ASSERT_GE(c.rules.size(), 2u);
      EXPECT_EQ(c.rules.back().text(), "drop") << "a packet that found nothing must not go on untranslated";
      for (const auto& r : c.rules) EXPECT_THAT(r.text(), Not(HasSubstr(f == Family::v4 ? "ip6 " : "ip saddr")));
      // with several slots, the one before the last tries slot 0, which is always there
      if (d.slots > 1) {
        EXPECT_THAT(c.rules[c.rules.size() - 2].text(), HasSubstr("numgen random mod 1 "));
      }
      if (d.how == How::affinity) {
        EXPECT_THAT(c.rules[0].text(), HasSubstr("map @affinity"));
        EXPECT_THAT(c.rules[1].text(), HasSubstr("delete @affinity")) << "an update would keep the old endpoint";
      }
    }
}

TEST(DrawChain, TheRuleSaysHow) {
  auto text = [](const Draw& d) { return draw_chain(Family::v4, d).rules[0].text(); };
  EXPECT_THAT(text(draw(How::random, 3)), HasSubstr("numgen random mod 3 map @slots"));
  EXPECT_THAT(text(draw(How::random, 3, true)), HasSubstr("numgen random mod 3 map @counted"));
  EXPECT_THAT(text(draw(How::round_robin, 3, false, 9)), HasSubstr("numgen inc mod 3 map @slots"));
  EXPECT_THAT(text(draw(How::source_hash, 3)), HasSubstr("jhash ip saddr mod 3 seed 0x"));
  EXPECT_THAT(text(draw(How::maglev, 5003)), HasSubstr("jhash ip saddr . th sport mod 5003 seed 0x"));
  EXPECT_THAT(text(draw(How::affinity, 3, false, 0, seconds(5400))), HasSubstr("timeout 1h30m"));
  EXPECT_THAT(text(draw(How::affinity, 3, false, 0, seconds(90061))), HasSubstr("timeout 1d1h1m1s"));
}

}  // namespace
}  // namespace trama::servicelb
