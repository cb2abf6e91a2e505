// SPDX-License-Identifier: GPL-2.0-or-later
// Reading what the kernel sends, with the ugly cases.
#include "base/netlink/message.h"

#include <climits>
#include <cstring>

#include <gmock/gmock.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/nexthop.h>
#include <linux/rtnetlink.h>

#include "base/netlink/exchange.h"
#include "base/netlink/rtnl.h"

namespace trama::netlink {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Bytes on the wire, put together by hand so that nothing of the code under test checks itself.
struct Wire {
  std::vector<std::byte> bytes;
  template <class T>
  Wire& put(const T& v) {
    auto* p = reinterpret_cast<const std::byte*>(&v);
    bytes.insert(bytes.end(), p, p + sizeof v);
    return *this;
  }
  Wire& raw(std::string_view text) {
    auto* p = reinterpret_cast<const std::byte*>(text.data());
    bytes.insert(bytes.end(), p, p + text.size());
    return *this;
  }
  Wire& align() {
    bytes.resize((bytes.size() + 3) & ~std::size_t{3});
    return *this;
  }
  Wire& attribute(std::uint16_t type, std::string_view value) {
    put(nlattr{static_cast<std::uint16_t>(4 + value.size()), type});
    return raw(value).align();
  }
  template <class T>
  requires std::is_integral_v<T> Wire& attribute(std::uint16_t type, T value) {
    return attribute(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
  operator Bytes() const { return bytes; }
};
Wire message(std::uint16_t type, const Wire& payload, std::uint16_t flags = 0, std::uint32_t seq = 1) {
  Wire w;
  w.put(nlmsghdr{static_cast<std::uint32_t>(16 + payload.bytes.size()), type, flags, seq, 0});
  return w.raw(payload.text()).align();
}
Step feed(Exchange& e, const Wire& w) {
  Step last = Incomplete{};
  EXPECT_TRUE(for_each_message(w, [&](const nlmsghdr& h, Bytes p) { last = e.feed(h, p); }));
  return last;
}
Step feed(const Wire& w) {
  Exchange e(1, "create link x");
  return feed(e, w);
}
Result<Reply> outcome(Step s) {
  auto* r = std::get_if<Result<Reply>>(&s);
  return r ? std::move(*r) : Result<Reply>(base::Error::from_errno(ENOMSG, "not finished"));
}

TEST(Messages, are_split_and_padded) {
  Wire two = message(20, Wire().raw("abcde"));
  two.raw(message(21, Wire().raw("xyz!")).text());
  std::vector<std::string> seen;
  EXPECT_TRUE(for_each_message(two, [&](const nlmsghdr& h, Bytes p) {
    seen.push_back(
        fmt::format("{}:{}", h.nlmsg_type, std::string_view(reinterpret_cast<const char*>(p.data()), p.size())));
  }));
  EXPECT_THAT(seen, ElementsAre("20:abcde", "21:xyz!"));
}

TEST(Messages, a_length_that_lies_ends_the_walk) {
  for (std::uint32_t length : {0u, 1u, 15u, 21u, 4096u, UINT_MAX}) {
    Wire w;
    w.put(nlmsghdr{length, 20, 0, 1, 0}).raw("abcd");
    int seen = 0;
    auto r = for_each_message(w, [&](const nlmsghdr&, Bytes) { ++seen; });
    EXPECT_FALSE(r) << length;
    EXPECT_EQ(seen, 0) << length;
  }
  Wire good = message(20, Wire());
  good.raw("left over");
  int seen = 0;
  EXPECT_FALSE(for_each_message(good, [&](const nlmsghdr&, Bytes) { ++seen; }));
  EXPECT_EQ(seen, 1);
  EXPECT_TRUE(for_each_message(Bytes{}, [&](const nlmsghdr&, Bytes) { FAIL(); }));
}

TEST(AttributeList, lookups_are_checked) {
  Wire w;
  w.attribute(1, std::uint32_t{7}).attribute(2, "web\0trailing").attribute(1, std::uint32_t{9}).attribute(4, "ab");
  w.attribute(NLA_F_NESTED | 5, Wire().attribute(1, std::uint8_t{3}).text()).attribute(6, "\x08\x00");
  auto a = Attributes::parse(w);
  ASSERT_TRUE(a);
  EXPECT_EQ(a->get<std::uint32_t>(1), 9u);  // the last one
  EXPECT_EQ(a->text(2), "web");
  EXPECT_EQ(a->get<std::uint32_t>(3), std::nullopt);
  EXPECT_EQ(a->get<std::uint32_t>(4), std::nullopt);  // too short
  EXPECT_EQ(a->nested(5).get<std::uint8_t>(1), 3);
  EXPECT_FALSE(a->nested(6).has(0));  // malformed inside: nothing
  EXPECT_FALSE(a->nested(77).has(1));
  EXPECT_EQ(a->text(77), "");
  for (unsigned length : {0u, 3u, 9u, 65535u}) {
    Wire bad;
    bad.put(nlattr{static_cast<std::uint16_t>(length), 1}).raw("abcd");
    EXPECT_FALSE(Attributes::parse(bad)) << length;
  }
}

TEST(ExchangeRules, an_acknowledgement_ends_it_with_what_came_before) {
  Exchange e(1, "find link x");
  EXPECT_TRUE(std::holds_alternative<Incomplete>(feed(e, message(RTM_NEWLINK, Wire().raw("body")))));
  auto r = outcome(feed(e, message(NLMSG_ERROR, Wire().put(nlmsgerr{0, {}}), NLM_F_CAPPED)));
  ASSERT_TRUE(r);
  ASSERT_EQ(r->size(), 1u);
  EXPECT_EQ((*r)[0].type, RTM_NEWLINK);
}

TEST(ExchangeRules, an_error_tells_the_kernels_sentence) {
  Wire capped;
  capped.put(nlmsgerr{-EBUSY, {}}).attribute(NLMSGERR_ATTR_MSG, std::string_view("device is in use\0", 17));
  auto r = outcome(feed(message(NLMSG_ERROR, capped, NLM_F_CAPPED | NLM_F_ACK_TLVS)));
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(std::errc::device_or_resource_busy));
  EXPECT_THAT(r.error().to_string(), HasSubstr("create link x (device is in use)"));
  // Not capped: the request is echoed before the attributes.
  Wire echo;
  echo.put(nlmsgerr{-EBUSY, {24, RTM_NEWLINK, 0, 1, 0}}).raw("8 bytes!");
  echo.attribute(NLMSGERR_ATTR_MSG, std::string_view("behind the echo\0", 16));
  EXPECT_THAT(outcome(feed(message(NLMSG_ERROR, echo, NLM_F_ACK_TLVS))).error().to_string(),
              HasSubstr("behind the echo"));
}

TEST(ExchangeRules, an_echo_that_lies_about_its_length_gives_no_sentence) {
  for (std::uint32_t length : {0u, 15u, 1000u, UINT_MAX}) {
    Wire w;
    w.put(nlmsgerr{-EPERM, {length, 0, 0, 0, 0}}).attribute(NLMSGERR_ATTR_MSG, "no");
    auto r = outcome(feed(message(NLMSG_ERROR, w, NLM_F_ACK_TLVS)));
    ASSERT_FALSE(r);
    EXPECT_TRUE(r.error().is(std::errc::operation_not_permitted));
    EXPECT_THAT(r.error().to_string(), ::testing::Not(HasSubstr("(no)"))) << length;
  }
}

TEST(ExchangeRules, numbers_that_are_no_errno_are_no_success) {
  for (int err : {1, EEXIST, INT_MAX, INT_MIN, -5000}) {
    auto r = outcome(feed(message(NLMSG_ERROR, Wire().put(nlmsgerr{err, {}}))));
    ASSERT_FALSE(r) << err;
    EXPECT_TRUE(r.error().is(std::errc::bad_message)) << err;
  }
  auto r = outcome(feed(message(NLMSG_ERROR, Wire().raw("abc"))));
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(std::errc::bad_message));
}

TEST(ExchangeRules, a_dump_can_fail_at_its_end) {
  Exchange e(1, "list links");
  (void)feed(e, message(RTM_NEWLINK, Wire(), NLM_F_MULTI));
  Wire end;
  end.put(std::int32_t{-ENOENT}).attribute(NLMSGERR_ATTR_MSG, std::string_view("table went away\0", 16));
  auto r = outcome(feed(e, message(NLMSG_DONE, end, NLM_F_MULTI | NLM_F_ACK_TLVS)));
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(std::errc::no_such_file_or_directory));
  EXPECT_THAT(r.error().to_string(), HasSubstr("table went away"));
  EXPECT_TRUE(outcome(feed(message(NLMSG_DONE, Wire().put(std::int32_t{0}), NLM_F_MULTI))));
  EXPECT_TRUE(outcome(feed(message(NLMSG_DONE, Wire()))));  // old kernels send none
}

TEST(ExchangeRules, an_interrupted_dump_is_no_result_even_when_it_also_failed) {
  Exchange e(1, "list links");
  (void)feed(e, message(RTM_NEWLINK, Wire(), NLM_F_MULTI | NLM_F_DUMP_INTR));
  (void)feed(e, message(RTM_NEWLINK, Wire(), NLM_F_MULTI));
  EXPECT_TRUE(std::holds_alternative<Interrupted>(feed(e, message(NLMSG_DONE, Wire().put(std::int32_t{0})))));
  EXPECT_TRUE(std::holds_alternative<Interrupted>(
      feed(message(NLMSG_DONE, Wire().put(std::int32_t{-ENOENT}), NLM_F_DUMP_INTR))));
}

TEST(ExchangeRules, control_messages) {
  Exchange e(1, "x");
  EXPECT_TRUE(std::holds_alternative<Incomplete>(feed(e, message(NLMSG_NOOP, Wire()))));
  EXPECT_TRUE(std::holds_alternative<Incomplete>(feed(e, message(9, Wire()))));  // reserved
  auto r = outcome(feed(e, message(NLMSG_OVERRUN, Wire())));
  ASSERT_FALSE(r);
  EXPECT_TRUE(r.error().is(std::errc::value_too_large));
}

Part part_of(Request& r, std::uint16_t type) {
  auto all = r.finish(1, 0);
  Part p;
  p.type = type;
  p.payload.assign(all.begin() + 16, all.end());
  return p;
}

// What we say is what we understand: an encoder's message, read by the decoder.
TEST(Objects, what_is_encoded_is_decoded) {
  Route route;
  route.destination = *Cidr::parse("fd00:1::/64");
  route.link = {7};
  route.gateway = *Ip::parse("fe80::1");
  route.source = *Ip::parse("fd00::9");
  route.mtu = 1400, route.metric = 50, route.protocol = 116, route.table = 1000, route.onlink = true;
  auto put = put_route(route);
  EXPECT_EQ(*decode_route(part_of(put, RTM_NEWROUTE)), route);

  Neighbour n;
  n.link = {3};
  n.ip = *Ip::parse("10.0.0.9");
  n.mac = *Mac::parse("02:00:00:00:00:07");
  n.state = NUD_PERMANENT;
  auto neighbour = put_neighbour(n);
  EXPECT_EQ(*decode_neighbour(part_of(neighbour, RTM_NEWNEIGH)), n);
  Neighbour fdb = n;
  fdb.ip = Ip();
  fdb.state = NUD_PERMANENT | NUD_NOARP;
  fdb.fdb_destination = *Ip::parse("192.0.2.7");
  auto entry = put_neighbour(fdb);
  EXPECT_EQ(*decode_neighbour(part_of(entry, RTM_NEWNEIGH)), fdb);

  for (const char* outer : {"192.0.2.1", "2001:db8::1"}) {
    Nexthop h;
    h.id = 77;
    h.link = {4};
    h.protocol = 116;
    h.encap = Nexthop::Encap{{12345}, *Ip::parse(outer), {}};
    auto hop = put_nexthop(h);
    EXPECT_EQ(*decode_nexthop(part_of(hop, RTM_NEWNEXTHOP)), h) << outer;
  }
  Address a{{5}, *Ip::parse("fd00::5"), 128, 0x202, 0};
  auto address = put_address(a);
  EXPECT_EQ(*decode_address(part_of(address, RTM_NEWADDR)), a);

  Vxlan v;
  v.vni = {42}, v.port = 6784, v.local = *Ip::parse("192.0.2.9"), v.source_port_low = 32768, v.source_port_high = 60999;
  auto vxlan = create_vxlan("trama0", v, n.mac, 1400);
  auto link = decode_link(part_of(vxlan, RTM_NEWLINK));
  ASSERT_TRUE(link);
  EXPECT_EQ(link->name, "trama0");
  EXPECT_EQ(link->kind, "vxlan");
  EXPECT_EQ(link->mtu, 1400u);
  EXPECT_EQ(link->vxlan, v);
}

TEST(Objects, malformed_ones_are_errors) {
  EXPECT_FALSE(decode_link(Part{RTM_DELLINK, 0, {}}));
  EXPECT_FALSE(decode_link(Part{RTM_NEWLINK, 0, std::vector<std::byte>(3)}));
  EXPECT_FALSE(decode_address(Part{RTM_NEWADDR, 0, std::vector<std::byte>(8)}));  // no address in it
  EXPECT_FALSE(decode_neighbour(Part{RTM_NEWNEIGH, 0, std::vector<std::byte>(12)}));
  EXPECT_FALSE(decode_route(Part{RTM_NEWROUTE, 0, std::vector<std::byte>(12)}));  // family 0
  rtmsg r{};
  r.rtm_family = 2;
  r.rtm_dst_len = 33;
  Wire w;
  w.put(r);
  EXPECT_FALSE(decode_route(Part{RTM_NEWROUTE, 0, w.bytes}));
}

}  // namespace
}  // namespace trama::netlink
