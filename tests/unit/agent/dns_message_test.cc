// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/dns/message.h"
#include "agent/dns/resolvers.h"

namespace trama::agent::dns {
namespace {

using testing::ElementsAre;

// A query as bytes, written by hand: the oracle is RFC 1035, not the library.
Bytes query(const std::string& name, std::uint16_t type, std::uint8_t flags = 1, std::uint16_t edns = 0) {
  Bytes out{0x12, 0x34, flags, 0, 0, 1, 0, 0, 0, 0, 0, static_cast<std::uint8_t>(edns ? 1 : 0)};
  std::size_t start = 0;
  while (start < name.size()) {
    auto dot = std::min(name.find('.', start), name.size());
    out.push_back(static_cast<std::uint8_t>(dot - start));
    out.insert(out.end(), name.begin() + static_cast<std::ptrdiff_t>(start),
               name.begin() + static_cast<std::ptrdiff_t>(dot));
    start = dot + 1;
  }
  for (int b : {0, type >> 8, type & 255, 0, 1}) out.push_back(static_cast<std::uint8_t>(b));
  if (edns)
    for (int b : {0, 0, 41, edns >> 8, edns & 255, 0, 0, 0, 0, 0, 0}) out.push_back(static_cast<std::uint8_t>(b));
  return out;
}

Answer addresses(int count, const std::string& name = "web.default.svc.cluster.local") {
  Answer out;
  for (int i = 0; i < count; ++i)
    out.answers.push_back(
        {name, Type::a, 5, base::Ip::v4(10, 244, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i))});
  return out;
}

TEST(DnsMessage, AQuestionIsReadInLowerCaseAndEchoedAsAsked) {
  auto q = read_query(query("WeB.Default.svc.cluster.local", 1));
  ASSERT_TRUE(q);
  EXPECT_EQ(q->question, (Question{"web.default.svc.cluster.local", Type::a}));
  EXPECT_EQ(q->refusal, Rcode::ok);
  EXPECT_FALSE(q->edns);
  auto reply = write_answer(*q, addresses(1), 512);
  std::string bytes(reply.begin(), reply.end());
  EXPECT_EQ(reply[0], 0x12);
  EXPECT_EQ(reply[1], 0x34);
  EXPECT_EQ(reply[2], 0x85) << "a reply, authoritative, recursion desired";
  EXPECT_NE(bytes.find("WeB"), std::string::npos) << "clients that vary the case check it";
}

TEST(DnsMessage, WhatCannotBeAnsweredIsRefusedAsTheRfcSays) {
  EXPECT_EQ(read_query(query("web", 1, 0x29))->refusal, Rcode::not_implemented) << "opcode UPDATE";
  EXPECT_EQ(read_query(query("web", 252))->refusal, Rcode::refused) << "a whole zone";
  auto chaos = query("version.bind", 16);
  chaos.back() = 3;
  EXPECT_EQ(read_query(chaos)->refusal, Rcode::refused);
  auto cut = query("web.default", 1);
  cut.resize(cut.size() - 3);
  ASSERT_TRUE(read_query(cut));
  EXPECT_EQ(read_query(cut)->refusal, Rcode::format);
  EXPECT_EQ(write_answer(*read_query(cut), Answer{Rcode::format, {}, {}, {}, ""}, 512).size(), 12u) << "a bare header";
  auto reply = query("web", 1, 0x81);
  EXPECT_FALSE(read_query(reply)) << "two servers must not talk to each other for ever";
  EXPECT_FALSE(read_query(std::span(reply).first(11)));
}

TEST(DnsMessage, TooLongForUdpMeansAskOverTcp) {
  auto plain = *read_query(query("web.default.svc.cluster.local", 1));
  auto fits = write_answer(plain, addresses(20), plain.udp_size);
  EXPECT_LE(fits.size(), 512u);
  EXPECT_EQ(fits[2] & 2, 0);
  EXPECT_EQ(read_answer(fits)->answers.size(), 20u);
  auto cut = write_answer(plain, addresses(60), plain.udp_size);
  EXPECT_EQ(cut[2] & 2, 2) << "the TC bit";
  EXPECT_LE(cut.size(), 512u);
  auto large = *read_query(query("web.default.svc.cluster.local", 1, 1, 4096));
  EXPECT_EQ(large.udp_size, kLargestUdpAnswer) << "never what would be fragmented";
  EXPECT_EQ(read_answer(write_answer(large, addresses(60), large.udp_size))->answers.size(), 60u);
  EXPECT_EQ(read_answer(write_answer(plain, addresses(3000), kLargestMessage))->answers.size(), 3000u) << "TCP";
}

TEST(DnsMessage, WhatIsOnlyHelpfulGoesFirst) {
  auto plain = *read_query(query("_x._tcp.web.default.svc.cluster.local", 33));
  Answer answer;
  answer.answers.push_back({"_x._tcp.web.default.svc.cluster.local", Type::srv, 5, Place{0, 100, 80, "a.b"}});
  answer.additional = addresses(60).answers;
  auto out = write_answer(plain, answer, plain.udp_size);
  EXPECT_EQ(out[2] & 2, 0) << "the answer itself is whole";
  EXPECT_EQ(out[7], 1);
  EXPECT_EQ(out[11], 0);
}

TEST(DnsMessage, EveryKindOfRecordSurvivesTheWire) {
  auto q = *read_query(query("x", 255, 1, 1232));
  Answer answer = addresses(1, "x");
  answer.answers.push_back({"x", Type::aaaa, 5, *base::Ip::parse("fd00::1")});
  answer.answers.push_back({"x", Type::cname, 5, Target{"y.example"}});
  answer.answers.push_back({"x", Type::txt, 5, Text{"1.1.0"}});
  answer.answers.push_back({"x", Type::srv, 5, Place{1, 2, 3, "y"}});
  answer.authority.push_back({"x", Type::soa, 5, Authority{"ns", "hostmaster", 7, 5}});
  auto out = write_answer(q, answer, 1232);
  EXPECT_EQ(out[7], 5) << "answers";
  EXPECT_EQ(out[9], 1) << "authority";
  EXPECT_EQ(out[11], 1) << "EDNS is answered with EDNS";
  auto back = read_answer(out);
  ASSERT_TRUE(back);
  EXPECT_EQ(back->answers.size(), 3u);
  EXPECT_EQ(back->answers[0], answer.answers[0]);
  EXPECT_EQ(back->answers[1], answer.answers[1]);
  EXPECT_EQ(back->answers[2], answer.answers[2]);
}

TEST(DnsMessage, ANameThatCannotBeWrittenCostsOnlyItself) {
  auto q = *read_query(query("x", 5));
  Answer answer;
  answer.answers.push_back({"x", Type::cname, 5, Target{std::string(64, 'a') + ".example"}});
  answer.answers.push_back({"x", Type::cname, 5, Target{"y"}});
  EXPECT_EQ(read_answer(write_answer(q, answer, 512))->answers.size(), 1u);
}

TEST(DnsMessage, OnlyTheReplyToTheVeryQuestionIsTaken) {
  auto asked = query("shop.example", 1);
  auto reply = write_answer(*read_query(asked), addresses(1, "shop.example"), 512);
  EXPECT_TRUE(answers(reply, asked));
  auto other_number = reply;
  other_number[1] ^= 1;
  EXPECT_FALSE(answers(other_number, asked));
  EXPECT_FALSE(answers(asked, asked)) << "a query is no reply";
  EXPECT_FALSE(answers(write_answer(*read_query(query("evil.example", 1)), addresses(1), 512), asked));
  EXPECT_FALSE(answers(write_answer(*read_query(query("shop.example", 28)), addresses(1), 512), asked));
  EXPECT_TRUE(answers(write_answer(*read_query(query("SHOP.example", 1)), addresses(1), 512), asked));
}

TEST(DnsResolvers, AreThoseOfTheMachineWithoutOurselves) {
  std::vector<std::string> said;
  auto text =
      "# a comment\nsearch example.org\nnameserver 10.96.0.10\nnameserver 127.0.0.53\nnameserver nonsense\n"
      "nameserver fd00::53\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n";
  for (const auto& server : servers_of(text, {*base::Ip::parse("10.96.0.10")})) said.push_back(server.to_string());
  EXPECT_THAT(said, ElementsAre("127.0.0.53:53", "[fd00::53]:53", "192.0.2.1:53"));
}

}  // namespace
}  // namespace trama::agent::dns
