// SPDX-License-Identifier: GPL-2.0-or-later
// Greeting, frames, datagrams: what is accepted, and that nothing forged ever is.
#include <cstdlib>
#include <random>
#include <set>

#include <gtest/gtest.h>

#include "overlay/peers/keys.h"
#include "overlay/peers/plain.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::peers {
namespace {

using Verdict = Judgement::Verdict;

TEST(Greeting, IsJudgedAsSoonAsPossible) {
  auto whole = greeting();
  ASSERT_EQ(whole.size(), kGreetingSize);
  for (std::size_t n = 0; n < whole.size(); ++n)
    EXPECT_EQ(judge_greeting(whole.substr(0, n)).verdict, Verdict::more) << n;
  EXPECT_EQ(judge_greeting(whole).verdict, Verdict::fine);
  EXPECT_EQ(judge_greeting("weav").verdict, Verdict::more);
  EXPECT_EQ(judge_greeting("weave").verdict, Verdict::weave) << "a Weave router sends seven bytes and waits";
  EXPECT_EQ(judge_greeting("G").verdict, Verdict::foreign);
  EXPECT_EQ(judge_greeting("tramp").verdict, Verdict::foreign);
}

TEST(Greeting, VersionsMustMeet) {
  auto says = [](std::uint8_t low, std::uint8_t high) { return greeting(Versions{low, high}); };
  Versions mine{2, 4};
  EXPECT_EQ(judge_greeting(says(1, 2), mine).verdict, Verdict::fine);
  EXPECT_EQ(judge_greeting(says(4, 9), mine).verdict, Verdict::fine);
  EXPECT_EQ(judge_greeting(says(1, 1), mine).verdict, Verdict::version);
  EXPECT_EQ(judge_greeting(says(5, 9), mine).verdict, Verdict::version);
  EXPECT_EQ(judge_greeting(says(4, 3), mine).verdict, Verdict::version) << "an empty range";
  EXPECT_EQ(common_version(mine, Versions{1, 3}), 3);
}

Hello hello(const char* node = "n2") {
  Hello h;
  h.node = node;
  h.uid = std::string(32, 'b');
  h.connection = 77;
  h.udp_port = 6783;
  h.udp_index = 0xdeadbeef;
  h.capabilities = {"vxlan"};
  return h;
}

TEST(Frames, ComeOutAsTheyWentInHoweverTheyAreCut) {
  auto stream = encode_frame(FrameType::hello, encode(hello())) + encode_frame(FrameType::ping, "") +
                encode_frame(FrameType::goodbye, "x");
  for (std::size_t piece = 1; piece < 20; ++piece) {
    FrameReader reader;
    std::vector<Frame> frames;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
      reader.feed(std::string_view(stream).substr(at, piece));
      for (;;) {
        auto frame = reader.next();
        ASSERT_TRUE(frame);
        if (!*frame) break;
        frames.push_back(std::move(**frame));
      }
    }
    ASSERT_EQ(frames.size(), 3u) << piece;
    EXPECT_EQ(*parse_hello(frames[0].body), hello());
    EXPECT_EQ(frames[2].body, "x");
  }
}

TEST(Frames, SizesThatNoFrameHasAreRefusedBeforeTheyAreWaitedFor) {
  for (auto head : {std::string("\0\0\0\0", 4), std::string("\0\1\0\1", 4), std::string("\xff\xff\xff\xff", 4)}) {
    FrameReader reader;
    reader.feed(head);
    EXPECT_FALSE(reader.next());
  }
}

TEST(Hello, RefusesWhatWouldReachLogsOrFiles) {
  auto bad = [](auto change) {
    auto h = hello();
    change(h);
    return !parse_hello(encode(h));
  };
  EXPECT_TRUE(bad([](Hello& h) { h.node = ""; }));
  EXPECT_TRUE(bad([](Hello& h) { h.node = "n2\n"; }));
  EXPECT_TRUE(bad([](Hello& h) { h.node = "../n2"; }));
  EXPECT_TRUE(bad([](Hello& h) { h.node = std::string(254, 'a'); }));
  EXPECT_TRUE(bad([](Hello& h) { h.uid = "short"; }));
  EXPECT_TRUE(bad([](Hello& h) { h.capabilities = {"with blank"}; }));
  EXPECT_FALSE(bad([](Hello&) {})) << "the control";
  auto cut = encode(hello());
  for (std::size_t n = 0; n < cut.size(); ++n) EXPECT_FALSE(parse_hello(cut.substr(0, n))) << n;
  EXPECT_TRUE(parse_hello(cut + "what a later version adds"));
}

TEST(Members, AreCutIntoFramesAndComeBackWhole) {
  std::vector<Member> many;
  for (unsigned i = 0; i < 5000; ++i)
    many.push_back(
        {fmt::format("node-{}", i), i, Ip::v4(10, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i))});
  std::vector<Member> back;
  auto frames = encode_members(many);
  EXPECT_GT(frames.size(), 1u);
  for (const auto& body : frames) {
    EXPECT_LT(body.size(), kLargestFrame);
    auto some = parse_members(body);
    ASSERT_TRUE(some);
    back.insert(back.end(), some->begin(), some->end());
  }
  EXPECT_EQ(back, many);
}

TEST(Echo, IsPaddedAndReadBack) {
  auto body = encode(EchoBody{0x1122334455667788, 42}, 1400);
  EXPECT_EQ(body.size(), 1400u);
  auto back = parse_echo(body);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->token, 0x1122334455667788u);
  EXPECT_EQ(back->sequence, 42u);
  EXPECT_FALSE(parse_echo(body.substr(0, kEchoSize - 1)));
  EXPECT_FALSE(parse_echo(std::string(100, 'x')));
}

// ---- replay window ----------------------------------------------------------------------------------------------

TEST(ReplayWindow, AgreesWithASetOverManyRandomOrders) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 20; ++round) {
    ReplayWindow window;
    std::set<std::uint64_t> taken;
    std::uint64_t highest = 0;
    for (int i = 0; i < 20'000; ++i) {
      std::uint64_t counter = highest + random() % 64;
      if (random() % 3 == 0) counter = highest > 3000 ? highest - random() % 3000 : random() % 3000;
      if (random() % 2000 == 0) counter = highest + random() % 10'000;
      bool old = highest >= ReplayWindow::kBits && counter <= highest - ReplayWindow::kBits;
      bool expected = counter != 0 && !old && !taken.contains(counter);
      ASSERT_EQ(window.fresh(counter), expected) << counter << " of " << highest;
      if (!expected) continue;
      window.take(counter);
      taken.insert(counter);
      highest = std::max(highest, counter);
    }
  }
}

// ---- attacks ----------------------------------------------------------------------------------------------------

std::string exported(unsigned seed) {
  std::mt19937 random(seed);
  std::string out(kExportedSize, '\0');
  for (char& c : out) c = static_cast<char>(random());
  return out;
}

struct Pair {
  explicit Pair(unsigned seed)
      : dialer(*DatagramKeys::make(exported(seed), Side::dialer, 11, 22)),
        acceptor(*DatagramKeys::make(exported(seed), Side::acceptor, 22, 11)) {}
  DatagramKeys dialer, acceptor;
};

TEST(Datagrams, PassBothWays) {
  Pair p(1);
  for (int i = 0; i < 100; ++i) {
    auto there = p.acceptor.open(p.dialer.seal(DatagramType::probe, "ping"));
    ASSERT_TRUE(there);
    EXPECT_EQ(there->body, "ping");
    auto back = p.dialer.open(p.acceptor.seal(DatagramType::answer, "pong"));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->type, DatagramType::answer);
  }
}

TEST(Datagrams, ForgedReplayedReflectedCrossSessionAndFlippedOnesAreAllRefused) {
  const char* longer = std::getenv("TRAMA_LONG");
  const std::size_t rounds = longer && *longer == '1' ? 1'000'000 : 100'000;
  std::mt19937_64 random(2026);
  Pair p(1), other(2);
  std::vector<std::string> seen;
  std::size_t accepted = 0, controls = 0;
  for (std::size_t i = 0; i < rounds; ++i) {
    Heartbeat beat;
    beat.sequence = i;
    auto body = encode(beat);
    auto genuine = p.dialer.seal(DatagramType::probe, body);
    std::string attack;
    switch (i % 8) {
      case 0:  // one bit, anywhere: header, body, tag
        attack = genuine;
        attack[random() % attack.size()] ^= static_cast<char>(1u << (random() % 8));
        break;
      case 1:  // cut or lengthened
        attack = genuine;
        attack.resize(random() % 2 ? random() % attack.size() : attack.size() + 1 + random() % 64, 'x');
        break;
      case 2:  // reflected to who has sent it
        if (p.dialer.open(genuine)) ++accepted;
        continue;
      case 3:  // of another session, with this session's index
        attack = other.dialer.seal(DatagramType::probe, body);
        break;
      case 4:  // made up, with the right header
        attack = encode(DatagramHeader{DatagramType::probe, 22, i + 1});
        for (int n = 0; n < 60; ++n) attack += static_cast<char>(random());
        break;
      case 5:  // replayed, out of all that were taken
        if (seen.empty()) continue;
        attack = seen[random() % seen.size()];
        break;
      case 6:  // the counter of another one
        attack = genuine;
        attack[15] = static_cast<char>(attack[15] + 1);
        break;
      default:  // the body of one under the header of another
        attack = seen.empty() ? genuine.substr(0, 20) : genuine.substr(0, 16) + seen.back().substr(16);
    }
    if (p.acceptor.open(attack)) ++accepted;
    // The control: what is genuine is taken, whatever came before it.
    if (p.acceptor.open(genuine)) ++controls;
    if (seen.size() < 5'000)
      seen.push_back(genuine);
    else
      seen[random() % seen.size()] = genuine;
  }
  EXPECT_EQ(accepted, 0u) << "of " << rounds;
  EXPECT_GE(controls, rounds * 6 / 8);
  EXPECT_EQ(p.acceptor.opened(), controls);
}

TEST(Heartbeats, SayWhereTheyComeFromAndWhereTheOtherSideIsSeen) {
  Heartbeat beat;
  beat.sequence = 9;
  EXPECT_EQ(*parse_heartbeat(encode(beat)), beat);
  beat.mine = base::IpPort{*Ip::parse("10.9.1.2"), 6783};
  EXPECT_EQ(*parse_heartbeat(encode(beat)), beat);
  beat.seen = base::IpPort{*Ip::parse("fd00::1"), 40123};
  auto whole = encode(beat);
  EXPECT_EQ(*parse_heartbeat(whole), beat);
  EXPECT_EQ(*parse_heartbeat(encode(beat, 1400)), beat) << "however large";
  // Without them it is what an earlier version says; cut in between it is nothing.
  auto bare = encode(Heartbeat{9, {}, {}, {}});
  EXPECT_FALSE(parse_heartbeat(bare.substr(0, bare.size() - 2))->mine);
  for (std::size_t n = bare.size() - 1; n < whole.size(); ++n) {
    auto cut = parse_heartbeat(whole.substr(0, n));
    bool at_a_seam = n == bare.size() - 2 + 7;
    EXPECT_EQ(static_cast<bool>(cut), at_a_seam) << n;
  }
}

TEST(PlainCapability, NamesAStationOrNothing) {
  auto mac = *base::Mac::parse("02:aa:0b:cc:0d:ff");
  EXPECT_EQ(plain_capability(mac), "direct.02aa0bcc0dff");
  EXPECT_EQ(plain_mac({"vxlan", plain_capability(mac), "tunnel"}), mac);
  for (const char* odd :
       {"direct", "direct.", "direct.02aa0bcc0df", "direct.02aa0bcc0dffa", "direct.02AA0BCC0DFF", "direct.02aa0bcc0dfg",
        "direct.000000000000", "direct.ffffffffffff", "direct.01005e000001", "xdirect.02aa0bcc0dff"})
    EXPECT_FALSE(plain_mac({odd})) << odd;
  auto said = hello();
  said.capabilities.push_back(plain_capability(mac));
  EXPECT_EQ(plain_mac(parse_hello(encode(said))->capabilities), mac) << "it passes as a capability";
}

}  // namespace
}  // namespace trama::overlay::peers
