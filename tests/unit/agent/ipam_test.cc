// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/ipam.h"

#include <set>

#include <gtest/gtest.h>

using namespace std::chrono_literals;
using trama::agent::AddressPool;
using trama::base::Cidr;
using trama::base::Ip;

namespace {

AddressPool::Time at(std::chrono::milliseconds t) { return AddressPool::Time(t); }
Cidr cidr(const char* text) { return *Cidr::parse(text); }
Ip ip(const char* text) { return *Ip::parse(text); }

std::string text(const trama::base::Result<std::vector<Ip>>& r) {
  if (!r) return r.error().to_string();
  std::string out;
  for (const auto& a : *r) out += (out.empty() ? "" : ",") + a.to_string();
  return out;
}

TEST(Ipam, HandsOutFromDotTwoUpwards) {
  AddressPool pool;
  EXPECT_FALSE(pool.assign("a", at(0ms)));  // no CIDR yet
  pool.set_cidrs({cidr("10.1.0.0/24"), cidr("fd00:1::/64")});
  EXPECT_EQ(text(pool.assign("a", at(0ms))), "10.1.0.2,fd00:1::2");
  EXPECT_EQ(text(pool.assign("b", at(0ms))), "10.1.0.3,fd00:1::3");
  EXPECT_EQ(text(pool.assign("a", at(9ms))), "10.1.0.2,fd00:1::2");
  ASSERT_NE(pool.of("b"), nullptr);
  EXPECT_EQ(pool.of("c"), nullptr);
}

TEST(Ipam, FreedAddressesGoOutLastAndAfterTheHoldDown) {
  AddressPool pool(10s);
  pool.set_cidrs({cidr("10.1.0.0/29")});  // .2 to .6
  for (auto name : {"a", "b", "c"}) ASSERT_TRUE(pool.assign(name, at(0s)));
  pool.release("b", at(1s));
  pool.release("a", at(2s));
  EXPECT_EQ(text(pool.assign("d", at(3s))), "10.1.0.5");  // never used before freed ones
  EXPECT_EQ(text(pool.assign("e", at(3s))), "10.1.0.6");
  auto held = pool.assign("f", at(10s));
  ASSERT_FALSE(held);
  EXPECT_TRUE(held.error().is(std::errc::resource_unavailable_try_again)) << held.error().to_string();
  EXPECT_EQ(text(pool.assign("f", at(11s))), "10.1.0.3");  // the one freed first
  EXPECT_FALSE(pool.assign("g", at(11s)));
  EXPECT_EQ(text(pool.assign("g", at(12s))), "10.1.0.2");
  auto full = pool.assign("h", at(99s));
  ASSERT_FALSE(full);
  EXPECT_TRUE(full.error().is(std::errc::address_not_available));
  EXPECT_EQ(full.error().to_string(), "no free pod address in 10.1.0.0/29: 5 of 5 are in use");
}

TEST(Ipam, AdoptedAddressesAreNeverGivenTwice) {
  AddressPool pool(5s);
  pool.set_cidrs({cidr("10.1.0.0/24")});
  EXPECT_TRUE(pool.adopt("old", {ip("10.1.0.3")}).empty());
  EXPECT_EQ(pool.adopt("thief", {ip("10.1.0.3")}).size(), 1u);
  pool.adopted(at(0s));
  EXPECT_EQ(text(pool.assign("old", at(0s))), "10.1.0.3");
  EXPECT_EQ(text(pool.assign("new", at(0s))), "10.1.0.4");  // .2 may have been freed just before the restart
  EXPECT_EQ(text(pool.assign("wish", at(0s), {ip("10.1.0.9"), ip("10.9.0.9")})), "10.1.0.9");
  EXPECT_EQ(text(pool.assign("wish2", at(0s), {ip("10.1.0.9")})), "10.1.0.5");
  pool.release("wish", at(1s));
  std::set<std::string> seen;
  for (int i = 0; i < 247; ++i) {
    auto got = pool.assign("p" + std::to_string(i), at(1s));
    ASSERT_TRUE(got) << i << got.error().to_string();
    EXPECT_TRUE(seen.insert(text(got)).second);
    EXPECT_NE(text(got), "10.1.0.9");
  }
}

TEST(Ipam, ReleaseIsIdempotentAndForgetsForeignRanges) {
  AddressPool pool(0s);
  pool.set_cidrs({cidr("10.1.0.0/24")});
  pool.adopt("stranger", {ip("192.0.2.7")});
  pool.release("stranger", at(0s));
  pool.release("stranger", at(0s));
  EXPECT_EQ(text(pool.assign("a", at(0s), {ip("192.0.2.7"), ip("10.1.0.0"), ip("10.1.0.1"), ip("10.1.0.255")})),
            "10.1.0.2");
}

}  // namespace
