// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/slots.h"

#include <map>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace trama::servicelb {
namespace {
using base::IpPort;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using Each = std::vector<std::uint32_t>;

IpPort at(int i, std::uint16_t port = 80) {
  return {base::Ip::v4(10, 244, static_cast<std::uint8_t>(i / 250), static_cast<std::uint8_t>(i % 250 + 1)), port};
}
std::vector<IpPort> first(int n) {
  std::vector<IpPort> out;
  for (int i = 0; i < n; ++i) out.push_back(at(i));
  return out;
}
std::vector<IpPort> owners(const std::vector<IpPort>& endpoints, const std::vector<std::uint16_t>& slots) {
  std::vector<IpPort> out;
  for (auto s : slots) out.push_back(endpoints.at(s));
  return out;
}
template <class T>
std::map<T, int> count(const std::vector<T>& list) {
  std::map<T, int> out;
  for (const auto& x : list) ++out[x];
  return out;
}

// ---- how many slots -------------------------------------------------------------------------------------------------

TEST(SlotsEach, AsFewAsSayIt) {
  EXPECT_THAT(slots_each({}), IsEmpty());
  EXPECT_THAT(slots_each({{1, 1}}), ElementsAre(1));
  EXPECT_THAT(slots_each({{7, 1}}), ElementsAre(1)) << "alone, every weight is the same";
  EXPECT_THAT(slots_each({{1, 1}, {1, 1}, {1, 1}}), ElementsAre(1, 1, 1));
  EXPECT_THAT(slots_each({{2, 1}, {4, 1}}), ElementsAre(1, 2));
  EXPECT_THAT(slots_each({{2, 1}, {3, 1}}), ElementsAre(2, 3));
  EXPECT_THAT(slots_each({{100, 1}, {50, 1}, {250, 1}}), ElementsAre(2, 1, 5));
}

TEST(SlotsEach, WhoGrowsHasPartOfItsWeight) {
  EXPECT_THAT(slots_each({{1, 1}, {1, 0.5}}), ElementsAre(2, 1));
  EXPECT_THAT(slots_each({{1, 1}, {1, 0.1}}), ElementsAre(10, 1));
  EXPECT_THAT(slots_each({{1, 1}, {1, 0}}), ElementsAre(10, 1)) << "never nothing: it would not grow";
  EXPECT_THAT(slots_each({{1, 1}, {4, 0.5}}), ElementsAre(1, 2));
  EXPECT_THAT(slots_each({{1, 1}, {1, -3}, {1, 7}}), ElementsAre(10, 1, 10)) << "clocks may say anything";
}

TEST(SlotsEach, AtMostSoManyInAll) {
  auto each = slots_each({{1'000'000, 1}, {1, 1}, {500'000, 1}});
  EXPECT_LE(std::accumulate(each.begin(), each.end(), std::uint64_t{0}), kMostSlots + 3);
  EXPECT_GE(each[1], 1u);
  EXPECT_NEAR(static_cast<double>(each[0]) / each[2], 2, 0.01);
  each = slots_each({{0xffffffff, 1}, {0xffffffff, 0.5}});
  EXPECT_THAT(each, ElementsAre(2, 1));
}

// ---- who has which --------------------------------------------------------------------------------------------------

TEST(AssignSlots, FreshOnesAlternate) {
  EXPECT_THAT(assign_slots({}, first(3), {1, 1, 1}), ElementsAre(0, 1, 2));
  EXPECT_THAT(assign_slots({}, first(2), {3, 1}), ElementsAre(0, 1, 0, 0));
  EXPECT_THAT(assign_slots({}, first(3), {2, 2, 2}), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(assign_slots({}, {}, {}), IsEmpty());
}

TEST(AssignSlots, EndpointsKeepTheirs) {
  auto e = first(4);
  std::vector<IpPort> before = {e[2], e[0], e[1]};
  EXPECT_THAT(owners(e, assign_slots(before, e, {1, 1, 1, 1})), ElementsAre(e[2], e[0], e[1], e[3])) << "one comes";
  EXPECT_THAT(owners({e[0], e[2]}, assign_slots(before, {e[0], e[2]}, {1, 1})), ElementsAre(e[2], e[0])) << "one goes";
  // the one in the last slot stays: it moves into the hole, the others do not move
  EXPECT_THAT(owners({e[0], e[1]}, assign_slots(before, {e[0], e[1]}, {1, 1})), ElementsAre(e[1], e[0]));
  EXPECT_THAT(owners({e[0], e[1], e[3]}, assign_slots(before, {e[0], e[1], e[3]}, {1, 1, 1})),
              ElementsAre(e[3], e[0], e[1]))
      << "one is replaced";
}

// Whatever happened: every endpoint has its number of slots, and nobody moves without need.
TEST(AssignSlots, Property) {
  std::mt19937 random(1);
  std::vector<IpPort> before;
  for (int round = 0; round < 3000; ++round) {
    std::vector<IpPort> endpoints;
    Each each;
    for (int i = 0; i < 12; ++i)
      if (random() % 3 != 0) {
        endpoints.push_back(at(i));
        each.push_back(random() % 4 == 0 ? 1 + static_cast<std::uint32_t>(random() % 5) : 1);
      }
    if (endpoints.empty()) continue;
    auto slots = assign_slots(before, endpoints, each);
    ASSERT_EQ(assign_slots(before, endpoints, each), slots) << "deterministic";
    auto now = owners(endpoints, slots);
    auto have = count(now);
    for (std::size_t i = 0; i < endpoints.size(); ++i)
      ASSERT_EQ(have[endpoints[i]], static_cast<int>(each[i])) << "round " << round;
    // of the slots an endpoint had below the new number it keeps as many as it gets
    std::map<IpPort, int> had, kept;
    for (std::size_t s = 0; s < std::min(before.size(), now.size()); ++s) {
      ++had[before[s]];
      kept[before[s]] += before[s] == now[s];
    }
    for (std::size_t i = 0; i < endpoints.size(); ++i)
      ASSERT_EQ(kept[endpoints[i]], std::min(had[endpoints[i]], static_cast<int>(each[i]))) << "round " << round;
    before = std::move(now);
    if (random() % 50 == 0) before.clear();
  }
}

// ---- Maglev ---------------------------------------------------------------------------------------------------------

bool is_prime(std::uint32_t n) {
  for (std::uint32_t d = 2; d * d <= n; ++d)
    if (n % d == 0) return false;
  return n > 1;
}

TEST(Maglev, SizesArePrimeAndAHundredTimesTheEndpoints) {
  std::uint32_t before = 0;
  for (std::size_t n : {1, 2, 10, 20, 21, 100, 200, 201, 500, 600, 655, 5000}) {
    auto size = maglev_size(n);
    EXPECT_TRUE(is_prime(size)) << size;
    EXPECT_GE(size, before);
    EXPECT_LE(size, 0x10000u) << "slots are 16 bits";
    if (n <= 655) {
      EXPECT_GE(size, 100 * n - 50) << n;
    }
    before = size;
  }
}

// The pseudocode of the paper (section 3.4), with permutation lists written out as the paper does. Weighted endpoints
// have so many turns. The two hash functions are the only thing taken over: what they say is read off the tables of
// single endpoints, below.
struct Permutation {
  std::uint64_t offset, skip;
};
std::vector<std::uint16_t> from_the_paper(const std::vector<Permutation>& hashes, const Each& turns,
                                          std::uint32_t size) {
  std::vector<std::vector<std::uint32_t>> permutation(hashes.size());
  for (std::size_t i = 0; i < hashes.size(); ++i)
    for (std::uint32_t j = 0; j < size; ++j)
      permutation[i].push_back(static_cast<std::uint32_t>((hashes[i].offset + j * hashes[i].skip) % size));
  std::vector<std::size_t> next(hashes.size());
  std::vector<int> entry(size, -1);
  std::uint32_t n = 0;
  for (;;)
    for (std::size_t i = 0; i < hashes.size(); ++i)
      for (std::uint32_t turn = 0; turn < turns[i]; ++turn) {
        std::uint32_t c = permutation[i][next[i]];
        while (entry[c] >= 0) c = permutation[i][++next[i]];
        entry[c] = static_cast<int>(i);
        ++next[i];
        if (++n == size) return {entry.begin(), entry.end()};
      }
}
// Against an endpoint that has a very great weight, an endpoint's first choices show: it has one place, its first, in
// a table of two where it goes first; and its second where it has two turns.
Permutation permutation_of(const IpPort& e, const IpPort& filler, std::uint32_t size) {
  auto places = [&](std::uint32_t turns) {
    auto table = maglev_table({e, filler}, {turns, size}, size);
    std::vector<std::uint32_t> out;
    for (std::uint32_t i = 0; i < size; ++i)
      if (table[i] == 0) out.push_back(i);
    return out;
  };
  auto one = places(1), two = places(2);
  EXPECT_EQ(one.size(), 1u);
  EXPECT_EQ(two.size(), 2u);
  std::uint64_t second = two[0] == one[0] ? two[1] : two[0];
  return {one[0], (second + size - one[0]) % size};
}

TEST(Maglev, IsThePapersTable) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    int n = 1 + static_cast<int>(random() % 20);
    auto size = round % 3 == 0 ? 251u : maglev_size(static_cast<std::size_t>(n));
    std::vector<IpPort> endpoints;
    Each turns;
    std::vector<Permutation> hashes;
    for (int i = 0; i < n; ++i) {
      endpoints.push_back(at(static_cast<int>(random() % 5000), static_cast<std::uint16_t>(i)));
      turns.push_back(round % 2 ? 1 : 1 + random() % 4);
      hashes.push_back(permutation_of(endpoints.back(), at(7777), size));
    }
    ASSERT_EQ(maglev_table(endpoints, turns, size), from_the_paper(hashes, turns, size)) << "round " << round;
  }
}

TEST(Maglev, SharesAreFairAndWeighted) {
  for (int n : {1, 2, 3, 7, 20, 50, 200, 600}) {
    auto size = maglev_size(static_cast<std::size_t>(n));
    auto table = maglev_table(first(n), Each(static_cast<std::size_t>(n), 1), size);
    ASSERT_EQ(table.size(), size);
    auto have = count(table);
    ASSERT_EQ(have.size(), static_cast<std::size_t>(n));
    for (const auto& [i, k] : have) EXPECT_NEAR(k, static_cast<double>(size) / n, 1) << n;
  }
  Each weights = {1, 2, 3, 4};
  auto have = count(maglev_table(first(4), weights, 5003));
  for (std::uint16_t i = 0; i < 4; ++i) EXPECT_NEAR(have[i], 5003. * weights[i] / 10, 4) << i;
}

TEST(Maglev, TheSameOnEveryCallAndNode) {
  auto e = first(17);
  Each each(17, 1);
  EXPECT_EQ(maglev_table(e, each, 5003), maglev_table(e, each, 5003));
  // what it says must never change: nodes of several versions share a service
  std::uint64_t sum = 0;
  for (auto i : maglev_table(e, each, 5003)) sum = sum * 31 + i;
  EXPECT_EQ(sum, 3114048500738742458u);
}

TEST(Maglev, OneThatGoesMovesLittleElse) {
  std::mt19937 random(3);
  double worst = 0;
  for (int n : {2, 3, 5, 10, 20, 50, 100, 200}) {
    auto endpoints = first(n);
    auto size = maglev_size(static_cast<std::size_t>(n));
    auto before = owners(endpoints, maglev_table(endpoints, Each(endpoints.size(), 1), size));
    for (int round = 0; round < std::min(n, 10); ++round) {
      auto fewer = endpoints;
      fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(random() % fewer.size()));
      auto after = owners(fewer, maglev_table(fewer, Each(fewer.size(), 1), size));
      int moved = 0;
      for (std::size_t i = 0; i < size; ++i) moved += !(before[i] == after[i]);
      double share = static_cast<double>(moved) / size;
      EXPECT_LE(share, 1. / n + 0.02) << "of " << n;
      worst = std::max(worst, share - 1. / n);
    }
  }
  RecordProperty("worst_excess_per_mille", static_cast<int>(worst * 1000));
  std::printf("at most %.2f %% more than the endpoint's own share moved\n", worst * 100);
}

}  // namespace
}  // namespace trama::servicelb
