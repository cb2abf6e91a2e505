// SPDX-License-Identifier: GPL-2.0-or-later
// Links as values: words, rules with an end, and what a seed makes of frames.
#include <algorithm>
#include <cmath>
#include <cstring>

#include <gmock/gmock.h>

#include "cli/links/carrier.h"
#include "cli/links/state.h"

namespace trama::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr Nanoseconds kMs{1'000'000};
const std::vector<std::string> kNodes{"n1", "n2", "a", "a-b", "b"};

std::string said(const base::Result<std::vector<LinkKey>>& keys) {
  if (!keys) return keys.error().to_string();
  std::string text;
  for (const auto& k : *keys) text += (text.empty() ? "" : " ") + k.text();
  return text;
}

TEST(LinkWords, WhichLinkIsMeant) {
  EXPECT_EQ(said(parse_link("n1", kNodes)), "n1>switch switch>n1");
  EXPECT_EQ(said(parse_link("n1-n2", kNodes)), "n1>n2 n2>n1");
  EXPECT_EQ(said(parse_link("n2>n1", kNodes)), "n2>n1");
  EXPECT_EQ(said(parse_link("switch>n1", kNodes)), "switch>n1");
  EXPECT_EQ(said(parse_link("n1-switch", kNodes)), "n1>switch switch>n1");
  EXPECT_EQ(said(parse_link("n1-a-b", kNodes)), "n1>a-b a-b>n1");
  EXPECT_THAT(said(parse_link("a-b", kNodes)), HasSubstr("can be read in 2 ways; say A>B and B>A"));
  EXPECT_EQ(said(parse_link("a>b", kNodes)), "a>b");
  EXPECT_EQ(said(parse_link("n3", kNodes)), "there is no node \"n3\" in this lab (nodes: n1, n2, a, a-b, b)");
  EXPECT_THAT(said(parse_link("n1-n3", kNodes)), HasSubstr("expected e.g. n1-n2, n1>n2 or n1"));
  EXPECT_THAT(said(parse_link("n1>n1", kNodes)), HasSubstr("two ends"));
}

TEST(LinkWords, MeasuresAndTheirMistakes) {
  EXPECT_EQ(parse_span("1.5s")->count(), 1'500'000'000);
  EXPECT_EQ(parse_span("500us")->count(), 500'000);
  EXPECT_EQ(*parse_share("0.05%"), 500u);
  EXPECT_EQ(*parse_rate("1.5gbit"), 1'500'000'000u);
  for (auto wrong : {"", "5", "-1ms", "1e3ms", "ms", "1 ms", "25h", "nans", "infms"})
    EXPECT_FALSE(parse_span(wrong)) << wrong;
  for (auto wrong : {"", "1", "101%", "-1%", "0.00001%"}) EXPECT_FALSE(parse_share(wrong)) << wrong;
  for (auto wrong : {"", "10", "10mbps", "1bit", "0mbit", "2000gbit"}) EXPECT_FALSE(parse_rate(wrong)) << wrong;
  EXPECT_EQ(parse_match("udp:6784")->text(), "udp:6784");
  EXPECT_EQ(parse_match("icmp")->text(), "icmp");
  for (auto wrong : {"", "udp:", "udp:0", "udp:65536", "sctp:1", "icmp:8", "tcp:80x"})
    EXPECT_FALSE(parse_match(wrong)) << wrong;

  auto all = parse_impairment({"20ms", "5ms", "1%", "2%", "10mbit"});
  ASSERT_TRUE(all);
  EXPECT_EQ(all->text(), "delay 20ms ±5ms, loss 1%, reorder 2%, 10mbit");
  auto mistake = [](ImpairmentWords w) { return parse_impairment(w).error().to_string(); };
  EXPECT_THAT(mistake({"20", "", "", "", ""}), HasSubstr("delay: expected a time such as 20ms"));
  EXPECT_THAT(mistake({"1ms", "2ms", "", "", ""}), HasSubstr("jitter: a delay of 1ms cannot vary by 2ms"));
  EXPECT_THAT(mistake({"", "", "", "1%", "1mbit"}), HasSubstr("reorder: "));
  EXPECT_THAT(mistake({}), HasSubstr("at least one of delay, loss and rate"));
}

LinkChange change(LinkChange::What what, const char* link, const char* lasting = "") {
  LinkChange c;
  c.what = what;
  c.keys = *parse_link(link, kNodes);
  c.shape.delay = 20 * kMs;
  if (*lasting) c.lasting = *parse_span(lasting);
  return c;
}
std::string text_of(const LinkState& s) {
  std::string text;
  for (const auto& r : s.rules())
    text += fmt::format("{} {}{}{}\n", r.key.text(), r.only.text(), r.cut ? " " + r.cut->text() : "",
                        r.shape ? " " + r.shape->text() : "");
  return text;
}

TEST(LinkRules, EndByThemselvesAndInTime) {
  LinkState s(7);
  ASSERT_TRUE(s.apply(change(LinkChange::What::set, "n1-n2"), 0 * kMs));
  ASSERT_TRUE(s.apply(change(LinkChange::What::cut, "n1>n2", "1s"), 10 * kMs));
  EXPECT_EQ(text_of(s), "n1>n2  down delay 20ms\nn2>n1  delay 20ms\n");
  EXPECT_EQ(*s.next(20 * kMs), 1010 * kMs);
  auto again = LinkState::parse(s.to_json_text());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->rules(), s.rules());
  EXPECT_EQ(again->seed(), 7u);
  EXPECT_FALSE(s.expire(1009 * kMs));
  EXPECT_TRUE(s.expire(1010 * kMs));
  EXPECT_EQ(text_of(s), "n1>n2  delay 20ms\nn2>n1  delay 20ms\n");
  EXPECT_FALSE(s.next(1010 * kMs));
  EXPECT_EQ(s.apply(change(LinkChange::What::mend, "n1-n2"), 2000 * kMs).error().to_string(),
            "n1>n2, n2>n1 is not down");
  ASSERT_TRUE(s.apply(change(LinkChange::What::clear, "n1>n2"), 2000 * kMs));
  EXPECT_EQ(text_of(s), "n2>n1  delay 20ms\n");
  EXPECT_FALSE(s.apply(change(LinkChange::What::clear, "n1"), 2000 * kMs));
  for (auto bad : {"", "[]", "{\"rules\": 1}", "{\"rules\": [1, {\"shape\": 3}]}"}) {
    auto parsed = LinkState::parse(bad);
    EXPECT_TRUE(!parsed || parsed->rules().empty()) << bad;
  }
}

TEST(LinkRules, ADocumentReplacesWhatADocumentSaidAndNothingElse) {
  LinkState s;
  auto document = [](const char* text) {
    LinkChange c;
    c.what = LinkChange::What::file;
    auto links = parse_links(json::parse(text), kNodes);
    EXPECT_EQ(links.index(), 0u);
    c.specs = std::get<0>(links);
    // What the service is sent is what was meant.
    auto sent = parse_change(to_json(c));
    EXPECT_EQ(sent->specs, c.specs);
    return *sent;
  };
  ASSERT_TRUE(s.apply(document(R"({"n1-n2": {"loss": "1%"}, "a>b": {"down": true}})"), 0 * kMs));
  ASSERT_TRUE(s.apply(change(LinkChange::What::set, "n1"), 0 * kMs));
  EXPECT_EQ(text_of(s), "a>b  down\nn1>n2  loss 1%\nn1>switch  delay 20ms\nn2>n1  loss 1%\nswitch>n1  delay 20ms\n");
  ASSERT_TRUE(s.apply(document(R"([{"link": "n1>n2", "only": "udp:6784", "rate": "1mbit"}])"), 0 * kMs));
  EXPECT_EQ(text_of(s), "n1>n2 udp:6784 1mbit\nn1>switch  delay 20ms\nswitch>n1  delay 20ms\n");
  ASSERT_TRUE(s.apply(document("[]"), 0 * kMs));
  EXPECT_EQ(text_of(s), "n1>switch  delay 20ms\nswitch>n1  delay 20ms\n");
}

TEST(LinkDocument, MistakesSayWhereAndWhatWasExpected) {
  auto mistake = [](const char* text) {
    auto links = parse_links(json::parse(text), kNodes);
    auto* m = std::get_if<LinkMistake>(&links);
    return m ? m->where + ": " + m->message : "none";
  };
  EXPECT_THAT(mistake("3"), HasSubstr("links: expected links, e.g. {n1-n2: {delay: 20ms"));
  EXPECT_EQ(mistake(R"({"n1-n2": {"dealy": "1ms"}})"),
            "links.n1-n2.dealy: unknown field (expected one of delay, jitter, loss, reorder, rate, only, down, flap); "
            "did you mean delay?");
  EXPECT_THAT(mistake(R"({"n1-n2": {"delay": 20}})"),
              HasSubstr("links.n1-n2.delay: expected text with a unit, got 20"));
  EXPECT_THAT(mistake(R"({"n1-n9": {"delay": "1ms"}})"), HasSubstr("links.n1-n9: \"n1-n9\" is no link"));
  EXPECT_THAT(mistake(R"([{"loss": "1%"}])"), HasSubstr("links[0]: expected an object with link"));
  EXPECT_THAT(mistake(R"([{"link": "n1", "flap": {"down": "2s"}}])"),
              HasSubstr("links[0].flap: expected {down: 2s, up: 3s}"));
  EXPECT_THAT(mistake(R"({"n1": {"only": "udp:x", "down": true}})"), HasSubstr("links.n1.only: expected udp:PORT"));
  EXPECT_THAT(mistake(R"({"n1": {}})"), HasSubstr("at least one of"));
  EXPECT_THAT(mistake(R"({"n1-n2": {"loss": "1%"}, "n2>n1": {"loss": "2%"}})"), HasSubstr("n2>n1 is described twice"));
}

// ---- what a seed makes of frames -----------------------------------------------------------------------------------

struct Seen {
  std::vector<double> delay_ms;  // in the order of arrival
  std::vector<std::size_t> order;
};
Seen run(const Impairment& shape, std::size_t frames, Nanoseconds apart, std::size_t bytes, std::uint64_t seed = 1,
         WireCounters* counters = nullptr) {
  Wire wire(seed);
  wire.shape(shape);
  std::vector<std::pair<Nanoseconds, std::size_t>> due;
  Seen seen;
  std::vector<Nanoseconds> left;
  for (std::size_t i = 0; i < frames; ++i) {
    auto now = apart * static_cast<std::int64_t>(i);
    std::erase_if(left, [&](Nanoseconds t) {
      if (t > now) return false;
      wire.leave(bytes);
      return true;
    });
    auto t = wire.offer(now, bytes);
    if (t) due.emplace_back(*t, i), left.push_back(*t);
  }
  std::stable_sort(due.begin(), due.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (auto [t, i] : due) {
    seen.order.push_back(i);
    seen.delay_ms.push_back(static_cast<double>((t - apart * static_cast<std::int64_t>(i)).count()) / 1e6);
  }
  if (counters) *counters = wire.counters();
  return seen;
}

TEST(Wire, DelayVariesWithinItsBoundsAndKeepsTheOrder) {
  Impairment i;
  i.delay = 20 * kMs, i.jitter = 5 * kMs;
  auto seen = run(i, 10'000, kMs, 100);
  ASSERT_EQ(seen.order.size(), 10'000u);
  EXPECT_TRUE(std::is_sorted(seen.order.begin(), seen.order.end()));
  auto [low, high] = std::minmax_element(seen.delay_ms.begin(), seen.delay_ms.end());
  EXPECT_GE(*low, 15.0);
  EXPECT_LE(*high, 25.0);
  // Frames a long time apart are not held up by their predecessors: equally distributed, mean 20, deviation
  // 10/sqrt(12).
  auto lone = run(i, 10'000, 100 * kMs, 100);
  double sum = 0, square = 0;
  for (double d : lone.delay_ms) sum += d, square += d * d;
  double mean = sum / 10'000, deviation = std::sqrt(square / 10'000 - mean * mean);
  EXPECT_NEAR(mean, 20, 0.15);  // five standard errors
  EXPECT_NEAR(deviation, 2.887, 0.1);
  EXPECT_EQ(run(i, 100, kMs, 100).delay_ms, run(i, 100, kMs, 100).delay_ms) << "one seed, one run";
  EXPECT_NE(run(i, 100, kMs, 100, 1).delay_ms, run(i, 100, kMs, 100, 2).delay_ms);
}

TEST(Wire, LosesTheShareItIsTold) {
  for (double percent : {0.1, 1.0, 30.0}) {
    Impairment i;
    i.loss_ppm = static_cast<std::uint32_t>(percent * 1e4);
    constexpr double n = 200'000;
    auto seen = run(i, static_cast<std::size_t>(n), kMs, 100);
    double p = percent / 100, lost = n - static_cast<double>(seen.order.size());
    EXPECT_NEAR(lost, n * p, 4 * std::sqrt(n * p * (1 - p))) << percent;
  }
  Impairment all;
  all.loss_ppm = 1'000'000;
  EXPECT_TRUE(run(all, 1000, kMs, 100).order.empty());
  EXPECT_EQ(run({}, 1000, kMs, 100).order.size(), 1000u);
}

TEST(Wire, OnlyReorderedFramesOvertake) {
  Impairment i;
  i.delay = 20 * kMs, i.reorder_ppm = 20'000;
  WireCounters counters;
  auto seen = run(i, 50'000, kMs, 100, 3, &counters);
  std::size_t early = 0;
  for (double d : seen.delay_ms) early += d == 0.0;
  EXPECT_EQ(early, counters.reordered);
  EXPECT_NEAR(static_cast<double>(early), 1000, 4 * std::sqrt(50'000 * 0.02 * 0.98));
  std::size_t last = 0;
  for (std::size_t k = 0; k < seen.order.size(); ++k) {
    if (seen.delay_ms[k] == 0.0) continue;
    EXPECT_GE(seen.order[k], last);
    last = seen.order[k];
  }
}

TEST(Wire, ARateSpreadsFramesAndDropsWhatWouldWaitTooLong) {
  Impairment i;
  i.rate = 10'000'000;  // a frame of 1250 bytes takes 1 ms
  auto fits = run(i, 1000, 2 * kMs, 1250);
  for (double d : fits.delay_ms) EXPECT_DOUBLE_EQ(d, 1.0);
  WireCounters counters;
  auto much = run(i, 4000, Nanoseconds(500'000), 1250, 1, &counters);  // twice as many as fit, for two seconds
  EXPECT_GT(counters.overflowed, 1500u);
  EXPECT_NEAR(static_cast<double>(much.order.size()), 2000 + 200, 5);  // the rate, and what waits at the end
  for (double d : much.delay_ms) EXPECT_LE(d, 202.0);
  // However fast frames come, no more wait than there is room for.
  Impairment slow;
  slow.delay = Nanoseconds(60'000'000'000);
  Wire wire(1);
  wire.shape(slow);
  for (std::size_t k = 0; k < 2 * kMostFrames; ++k) (void)wire.offer(Nanoseconds(0), 100);
  EXPECT_EQ(wire.waiting(), kMostFrames);
  EXPECT_EQ(wire.counters().overflowed, kMostFrames);
}

TEST(Wire, AFlappingLinkIsDownFirst) {
  Cut c{20 * kMs, 30 * kMs};
  std::string picture;
  for (int t = 0; t < 100; t += 5) picture += is_down_at(c, 0 * kMs, t * kMs) ? '_' : '#';
  EXPECT_EQ(picture, "____######____######");
  EXPECT_EQ(*next_flip(c, 0 * kMs, 0 * kMs), 20 * kMs);
  EXPECT_EQ(*next_flip(c, 0 * kMs, 20 * kMs), 50 * kMs);
  EXPECT_EQ(*next_flip(c, 0 * kMs, 49 * kMs), 50 * kMs);
  EXPECT_FALSE(next_flip(Cut{}, 0 * kMs, 0 * kMs));
}

// ---- frames between ports ------------------------------------------------------------------------------------------

base::Mac mac(std::uint8_t last) {
  base::Mac m;
  m.octets = {2, 0, 0, 0, 0, last};
  return m;
}
std::vector<std::byte> frame(const base::Mac& to, std::uint8_t protocol, std::uint16_t port,
                             std::uint16_t fragment = 0) {
  std::vector<std::byte> f(14 + 20 + 8 + 20);
  auto put = [&](std::size_t at, unsigned v) { f[at] = static_cast<std::byte>(v); };
  std::memcpy(f.data(), to.octets.data(), 6);
  put(12, 8), put(14, 0x45), put(20, fragment >> 8), put(21, fragment & 255), put(23, protocol);
  put(36, port >> 8), put(37, port & 255);
  return f;
}

class CarrierTest : public testing::Test {
 protected:
  CarrierTest() : carrier_({{"n1", mac(1)}, {"n2", mac(2)}, {"n3", mac(3)}, {kSwitch, mac(9)}}, 1) {}
  void rule(const char* link, const ImpairmentWords& words, const char* only = "", bool down = false) {
    auto keys = *parse_link(link, {"n1", "n2", "n3"});
    for (const auto& k : keys) {
      LinkRule r{k, {}, {}, {}, {}, {}};
      if (*only) r.only = *parse_match(only);
      if (auto shape = parse_impairment(words)) r.shape = *shape;
      if (down) r.cut = Cut{};
      rules_.push_back(r);
    }
    std::stable_sort(rules_.begin(), rules_.end(),
                     [](const auto& a, const auto& b) { return a.only.specific() > b.only.specific(); });
    carrier_.use(rules_);
  }
  // "n1>n2 at 20ms; …" of what arrives in the next minute.
  std::string arrivals() {
    std::string text;
    while (auto t = carrier_.next()) {
      carrier_.deliver(*t, [&](std::size_t from, std::size_t to, const std::vector<std::byte>&) {
        text += fmt::format("{}{}>{} at {}", text.empty() ? "" : "; ", carrier_.ports()[from].name,
                            carrier_.ports()[to].name, span_text(*t));
      });
    }
    return text;
  }

  std::vector<LinkRule> rules_;
  Carrier carrier_;
};

TEST_F(CarrierTest, TakesTheThreeLinksOneAfterTheOther) {
  rule("n1", {"1ms", "", "", "", ""});
  rule("n1-n2", {"10ms", "", "", "", ""});
  rule("switch>n2", {"100ms", "", "", "", ""});
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 17, 53));
  EXPECT_EQ(arrivals(), "n1>n2 at 111ms");
  carrier_.offer(Nanoseconds(0), 0, frame(mac(3), 17, 53));
  EXPECT_EQ(arrivals(), "n1>n3 at 1ms");
  carrier_.offer(Nanoseconds(0), 1, frame(mac(1), 17, 53));
  EXPECT_EQ(arrivals(), "n2>n1 at 11ms");
  carrier_.offer(Nanoseconds(0), 0, frame(mac(9), 17, 53));
  EXPECT_EQ(arrivals(), "n1>switch at 1ms");
  carrier_.offer(1000 * kMs, 3, frame(mac(2), 17, 53));
  EXPECT_EQ(arrivals(), "switch>n2 at 1.1s");
  // What no rule shapes is the switch's business, not ours.
  EXPECT_FALSE(carrier_.carries(2, 3));
  EXPECT_TRUE(carrier_.carries(2, 1)) << "n2's own cable is slow, whoever sends";
  carrier_.offer(Nanoseconds(0), 2, frame(mac(9), 17, 53));
  EXPECT_EQ(arrivals(), "");
}

TEST_F(CarrierTest, ABroadcastReachesEachOnce) {
  rule("n1", {"1ms", "", "", "", ""});
  rule("n1>n2", {"10ms", "", "", "", ""});
  base::Mac all;
  all.octets.fill(0xff);
  carrier_.offer(Nanoseconds(0), 0, frame(all, 17, 67));
  EXPECT_EQ(arrivals(), "n1>n3 at 1ms; n1>switch at 1ms; n1>n2 at 11ms");
  carrier_.offer(Nanoseconds(0), 1, frame(all, 17, 67));  // only n1 is behind something of ours
  EXPECT_EQ(arrivals(), "n2>n1 at 1ms");
}

TEST_F(CarrierTest, TheMostSpecificRuleShapesAndEveryCutStops) {
  rule("n1>n2", {"10ms", "", "", "", ""});
  rule("n1>n2", {"50ms", "", "", "", ""}, "udp:6784");
  rule("n1>n2", {}, "tcp:80", true);
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 17, 6784));
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 17, 6783));
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 6, 80));
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 6, 80, 100));  // a later fragment has no port
  EXPECT_EQ(arrivals(), "n1>n2 at 10ms; n1>n2 at 10ms; n1>n2 at 50ms");
  rule("n1>switch", {}, "", true);
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 17, 6784));
  EXPECT_EQ(arrivals(), "");
  std::uint64_t cut = 0;
  for (const auto& c : carrier_.counts()) cut += c.wire.cut;
  EXPECT_EQ(cut, 2u);
}

TEST_F(CarrierTest, NewRulesLeaveFramesOnTheirWayAndCountersAlone) {
  rule("n1>n2", {"10ms", "", "", "", ""});
  carrier_.offer(Nanoseconds(0), 0, frame(mac(2), 17, 1));
  carrier_.use({});
  EXPECT_FALSE(carrier_.carries(0, 1));
  EXPECT_EQ(arrivals(), "n1>n2 at 10ms");
  carrier_.offer(Nanoseconds(0), 0, std::vector<std::byte>(13));  // no frame at all
  EXPECT_EQ(carrier_.on_their_way(), 0u);
}

}  // namespace
}  // namespace trama::cli
