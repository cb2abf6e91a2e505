// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/nft/blueprint.h"

namespace trama::nft {
namespace {
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Table kTable{Family::inet, "t", "", 0};
Set ports() {
  Set s;
  s.name = "ports", s.key = {field::ip_daddr(), field::l4proto(), field::th_dport()}, s.data = {field::ct_mark()};
  return s;
}
Element port(std::uint16_t n, std::string comment = {}) {
  Element e;
  e.key = Value().ip(Ip::v4(10, 0, 0, 1)).proto(6).port(n);
  e.data = Value().mark(n), e.comment = std::move(comment);
  return e;
}

TEST(Value, FieldsArePaddedAndComparedByBytes) {
  auto v = Value().ip(Ip::v4(10, 0, 0, 1)).proto(6).port(80);
  EXPECT_EQ(v.size(), 12u);
  EXPECT_EQ(v.tight().size(), 10u);
  EXPECT_EQ(v, Value::of(v.bytes()));
  EXPECT_LT(Value().port(80), Value().port(81));
  EXPECT_THROW(Value().ip(*Ip::parse("::1")).ip(*Ip::parse("::1")).ip(*Ip::parse("::1")).ip(*Ip::parse("::1")).proto(1),
               std::length_error);
}

TEST(SetUserdata, IsWhatTheNftToolWrites) {
  // taken from tables that nft 1.0.6 had made
  auto hex = [](const std::string& s) {
    std::string out;
    for (unsigned char c : s) out += fmt::format("{:02x}", c);
    return out;
  };
  EXPECT_EQ(hex(ports().userdata()),
            "000400000000010401000000034400040d000000013c0014000407000000010c00040c00000001040c000000010e00040900000001"
            "060004100000000214"
            "000407000000010c00040b000000010402000000041400040c000000010c0004030000000104ffffffff060400000000");
  Set verdicts;
  verdicts.key = {field::ct_mark()}, verdicts.data = {field::verdict()};
  EXPECT_EQ(hex(verdicts.userdata()),
            "000401000000010400000000031400040c000000010c0004030000000104ffffffff04080004010000000100060400000000");
  Set commented;
  commented.key = {field::ip_saddr()}, commented.comment = "hello set";
  EXPECT_EQ(hex(commented.userdata()),
            "0004020000000314000407000000010c00040c00000001040b000000070a68656c6c6f2073657400");
  Set raw;
  raw.key = {field::ip_saddr(), field::raw(Base::transport, 336, 32)}, raw.interval = true;
  EXPECT_EQ(hex(raw.userdata()),
            "000400000000034600040d000000013e0014000407000000010c00040c00000001040b0000000126000407000000011e0004000000"
            "000104000000000204"
            "03000000030450010000040420000000");
  EXPECT_EQ(raw.flags(), 0x84u);
  EXPECT_EQ(raw.key_type(), 0x1c4u);
}

TEST(Batch, TextIsReadBackFromTheBytes) {
  Batch b;
  b.put_table(kTable).put_set(kTable, ports());
  b.put_element(kTable, ports(), port(80, "a \"quoted\" name"));
  b.put_element(kTable, ports(), port(81));
  b.delete_element(kTable, ports(), port(82));
  Set ranges;
  ranges.name = "ranges", ranges.key = {field::ip_saddr()}, ranges.interval = true;
  b.put_element(kTable, ranges, Element::of(*Cidr::parse("10.0.0.0/8")));
  b.put_element(kTable, ranges, Element::of(*Cidr::parse("255.255.255.255/32")));
  b.add_rule(kTable, "c", Rule("udp dport 6784 drop").add(match_dport(17, 6784)).add(drop()).comment("no"));
  EXPECT_THAT(
      b.text(),
      ElementsAre("add table inet t", "add map inet t ports { typeof ip daddr . meta l4proto . th dport : ct mark; }",
                  "add element inet t ports { 10.0.0.1 . tcp . 80 comment \"a 'quoted' name\" : 0x00000050 }",
                  "add element inet t ports { 10.0.0.1 . tcp . 81 : 0x00000051 }",
                  "delete element inet t ports { 10.0.0.1 . tcp . 82 }",
                  "add element inet t ranges { 10.0.0.0-10.255.255.255 }",
                  "add element inet t ranges { 255.255.255.255 }",
                  "add rule inet t c udp dport 6784 drop comment \"no\""));
  EXPECT_EQ(b.elements(), 5u);
  EXPECT_EQ(b.messages(), 6u);
  EXPECT_EQ(b.operations(), 8u);
  EXPECT_EQ(
      b.describe(2),
      "add element inet t ports { 10.0.0.1 . tcp . 80 comment \"a 'quoted' name\" : 0x00000050, … (2 elements) }");
  EXPECT_THAT(b.text(3).back(), HasSubstr("more messages"));
}

TEST(Batch, OneDatagramOneAcknowledgement) {
  Batch b;
  for (int i = 0; i < 5000; ++i)
    b.put_element(kTable, ports(), port(static_cast<std::uint16_t>(i), "a comment that fills the message"));
  EXPECT_GT(b.messages(), 3u);
  std::vector<nlmsghdr> headers;
  for (int sent = 0; sent < 2; ++sent) {  // a batch may be sent again
    headers.clear();
    auto ok = netlink::for_each_message(
        b.finish(100, sent == 0 ? std::optional<std::uint32_t>() : 7u), [&](const nlmsghdr& h, Bytes payload) {
          headers.push_back(h);
          if (h.nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES) return;
          (void)netlink::for_each_attribute(netlink::behind_header<nfgenmsg>(payload),
                                            [&](const netlink::Attribute& a) { EXPECT_LT(a.payload.size(), 61'000u); });
        });
    ASSERT_TRUE(ok) << ok.error().to_string();
    ASSERT_EQ(headers.size(), b.messages() + 2);
    EXPECT_EQ(headers.front().nlmsg_type, NFNL_MSG_BATCH_BEGIN);
    EXPECT_EQ(headers.front().nlmsg_len, sent == 0 ? 20u : 28u);
    EXPECT_EQ(headers.back().nlmsg_type, NFNL_MSG_BATCH_END);
    for (std::size_t i = 0; i < headers.size(); ++i) {
      EXPECT_EQ(headers[i].nlmsg_seq, 100 + i);
      EXPECT_EQ((headers[i].nlmsg_flags & NLM_F_ACK) != 0, i == b.messages());
    }
    EXPECT_EQ(headers[b.messages()].nlmsg_seq, b.last_seq(100));
  }
}

TEST(Batch, AnElementThatDoesNotFitIsABug) {
  Batch b;
  Element e;
  e.key = Value().mark(1);
  EXPECT_THROW(b.put_element(kTable, ports(), e), std::invalid_argument);
}

TEST(JoinRanges, AdjacentAndOpenRanges) {
  auto at = [](const char* ip, bool end) {
    ElementSeen s;
    s.element.key = Value().ip(*Ip::parse(ip)), s.interval_end = end;
    return s;
  };
  Set s;
  s.key = {field::ip_saddr()}, s.interval = true;
  auto joined = join_ranges({at("0.0.0.0", true), at("10.1.0.0", false), at("10.1.0.0", true), at("10.0.0.0", false),
                             at("10.2.0.0", true), at("255.0.0.0", false)},
                            4);
  std::vector<std::string> text;
  for (const auto& e : joined) text.push_back(to_text(s, e));
  EXPECT_THAT(text, ElementsAre("10.0.0.0-10.0.255.255", "10.1.0.0-10.1.255.255", "255.0.0.0-255.255.255.255"));
}

TEST(CleanComment, FitsAndQuotes) {
  EXPECT_EQ(clean_comment("a\"b\nc"), "a'b c");
  EXPECT_EQ(clean_comment(std::string(500, 'x')).size(), kMaxComment);
  std::string umlauts;
  for (int i = 0; i < 100; ++i) umlauts += "\xc3\xa4";
  auto cut = clean_comment(umlauts);
  EXPECT_EQ(cut.size(), 126u) << "never half a character";
  EXPECT_EQ(static_cast<unsigned char>(cut.back()), 0xa4);
}

TEST(RuleCode, DiffersWhenTheRuleDoes) {
  auto a = Rule("a").add(match_dport(17, 6784)).add(drop());
  auto b = Rule("b").add(match_dport(17, 6783)).add(drop());
  auto c = Rule("c").add(match_dport(17, 6784)).add(drop()).comment("only a comment");
  EXPECT_NE(a.code(), b.code());
  EXPECT_EQ(a.code(), c.code());
}

}  // namespace
}  // namespace trama::nft
