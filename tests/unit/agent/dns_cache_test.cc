// SPDX-License-Identifier: GPL-2.0-or-later
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/dns/cache.h"

namespace trama::agent::dns {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

const Cache::Time kNow = Cache::Time(std::chrono::hours(1));

void put16(Bytes& out, unsigned value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

// Messages by hand, after RFC 1035.
Bytes query(unsigned id, const std::string& label, std::uint8_t flags = 1) {
  Bytes out;
  put16(out, id);
  out.push_back(flags), out.push_back(0);
  for (unsigned count : {1u, 0u, 0u, 0u}) put16(out, count);
  out.push_back(static_cast<std::uint8_t>(label.size()));
  out.insert(out.end(), label.begin(), label.end());
  out.push_back(0);
  put16(out, 1), put16(out, 1);
  return out;
}

void add_record(Bytes& out, unsigned type, std::uint32_t life, const Bytes& data) {
  put16(out, 0xC00C);
  put16(out, type), put16(out, 1);
  put16(out, life >> 16), put16(out, life & 0xFFFF);
  put16(out, static_cast<unsigned>(data.size()));
  out.insert(out.end(), data.begin(), data.end());
}

enum Section { answer = 7, authority = 9, additional = 11 };
struct Reply {
  Bytes bytes;
  explicit Reply(const Bytes& query, unsigned code = 0) : bytes(query) {
    bytes[2] |= 0x80;
    bytes[3] = static_cast<std::uint8_t>(0x80 | code);
  }
  Reply& add(Section where, unsigned type, std::uint32_t life, const Bytes& data) {
    ++bytes[static_cast<std::size_t>(where)];
    add_record(bytes, type, life, data);
    return *this;
  }
};

const Bytes kAddress{192, 0, 2, 7};
Bytes soa(std::uint32_t negative) {
  Bytes out{0, 0};  // both names are the root
  for (std::uint32_t n : {1u, 2u, 3u, 4u, negative}) put16(out, n >> 16), put16(out, n & 0xFFFF);
  return out;
}

bool kept(const Bytes& question, const Bytes& reply, milliseconds after) {
  Cache cache;
  cache.keep(question, false, reply, kNow);
  return cache.find(question, false, kNow + after).has_value();
}

TEST(DnsCache, TheSameQuestionHasTheSameReplyWithItsOwnNumberCaseAndLesserLives) {
  Cache cache;
  auto asked = query(1, "shop");
  auto reply = Reply(asked).add(answer, 1, 20, kAddress).add(additional, 41, 0x8000, {}).bytes;
  cache.keep(asked, false, reply, kNow);
  auto found = cache.find(query(0xABCD, "sHoP"), false, kNow + milliseconds(7'900));
  ASSERT_TRUE(found && *found);
  auto expected = Reply(query(0xABCD, "sHoP")).add(answer, 1, 13, kAddress).add(additional, 41, 0x8000, {}).bytes;
  EXPECT_EQ(**found, expected) << "seven whole seconds have passed; an OPT record has no life";
}

TEST(DnsCache, OtherQuestionsAreOthers) {
  Cache cache;
  auto asked = query(1, "shop");
  cache.keep(asked, false, Reply(asked).add(answer, 1, 20, kAddress).bytes, kNow);
  EXPECT_TRUE(cache.find(asked, false, kNow)) << "the control";
  EXPECT_FALSE(cache.find(asked, true, kNow)) << "over TCP more may fit";
  EXPECT_FALSE(cache.find(query(1, "shop", 0), false, kNow)) << "without recursion";
  EXPECT_FALSE(cache.find(query(1, "shoq"), false, kNow));
  auto signatures = asked;
  signatures[11] = 1;
  signatures.insert(signatures.end(), {0, 0, 41, 4, 208, 0, 0, 0x80, 0, 0, 0});  // EDNS with DO
  EXPECT_FALSE(cache.find(signatures, false, kNow));
}

TEST(DnsCache, HoldsAsLongAsTheShortestRecordAndNeverLong) {
  auto asked = query(1, "shop");
  auto two = Reply(asked).add(answer, 1, 20, kAddress).add(answer, 1, 9, kAddress).bytes;
  EXPECT_TRUE(kept(asked, two, milliseconds(8'999)));
  EXPECT_FALSE(kept(asked, two, seconds(9)));
  auto day = Reply(asked).add(answer, 1, 86'400, kAddress).bytes;
  EXPECT_TRUE(kept(asked, day, Cache::kLongest - milliseconds(1)));
  EXPECT_FALSE(kept(asked, day, Cache::kLongest));
  EXPECT_FALSE(kept(asked, Reply(asked).add(answer, 1, 0, kAddress).bytes, {})) << "not to be kept";
  EXPECT_FALSE(kept(asked, Reply(asked).add(answer, 1, 0x80000000, kAddress).bytes, {})) << "RFC 2181: is zero";
}

TEST(DnsCache, ThatNothingIsThereHoldsAsTheZoneSays) {
  auto asked = query(1, "shop");
  for (unsigned code : {0u, 3u}) {
    auto nothing = Reply(asked, code).add(authority, 6, 3600, soa(10)).bytes;
    EXPECT_TRUE(kept(asked, nothing, milliseconds(9'999)));
    EXPECT_FALSE(kept(asked, nothing, seconds(10)));
    EXPECT_FALSE(kept(asked, Reply(asked, code).bytes, {})) << "nobody said for how long";
  }
  EXPECT_FALSE(kept(asked, Reply(asked, 2).add(authority, 6, 3600, soa(10)).bytes, {})) << "server failure";
  EXPECT_FALSE(kept(asked, Reply(asked, 5).add(answer, 1, 20, kAddress).bytes, {})) << "refused";
}

TEST(DnsCache, AFailureIsRememberedForAMoment) {
  Cache cache;
  auto asked = query(1, "shop");
  cache.keep_failure(asked, false, base::Error::text("no answer from 192.0.2.53"), kNow);
  auto found = cache.find(asked, false, kNow + Cache::kFailed - milliseconds(1));
  ASSERT_TRUE(found);
  EXPECT_THAT(found->error().to_string(), testing::HasSubstr("no answer from 192.0.2.53"));
  EXPECT_FALSE(cache.find(asked, false, kNow + Cache::kFailed));
}

TEST(DnsCache, WhatIsCutOrBrokenIsNotKept) {
  auto asked = query(1, "shop");
  auto whole = Reply(asked).add(answer, 1, 20, kAddress).add(authority, 6, 20, soa(10)).bytes;
  ASSERT_TRUE(kept(asked, whole, {})) << "the control";
  for (std::size_t size = 0; size < whole.size(); ++size)
    EXPECT_FALSE(kept(asked, Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)), {})) << size;
  auto truncated = whole;
  truncated[2] |= 0x02;
  EXPECT_FALSE(kept(asked, truncated, {})) << "the client has to ask again over TCP";
  EXPECT_FALSE(kept(asked, Reply(asked).add(answer, 16, 20, Bytes(Cache::kLargestKept)).bytes, {}));
  EXPECT_FALSE(kept(Bytes(asked.begin(), asked.begin() + 14), whole, {}));
}

TEST(DnsCache, HasABoundAndForgetsTheOldest) {
  Cache cache;
  for (int i = 0; i < 10'000; ++i) {
    auto asked = query(1, std::to_string(i));
    cache.keep(asked, false, Reply(asked).add(answer, 1, 20, kAddress).bytes, kNow);
    ASSERT_LE(cache.size(), Cache::kMost);
    ASSERT_TRUE(cache.find(asked, false, kNow));
  }
  EXPECT_TRUE(cache.find(query(1, "9500"), false, kNow));
  EXPECT_FALSE(cache.find(query(1, "1"), false, kNow));
}

}  // namespace
}  // namespace trama::agent::dns
