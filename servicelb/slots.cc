// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/slots.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

namespace trama::servicelb {
namespace {
constexpr std::uint32_t kGrowthSteps = 10;
// Primes. Another number of endpoints within a step leaves the size alone: a new size moves everything.
// Smaller tables move more than they must when one endpoint goes: 2039 places move 3 % more than the share of one
// of 20.
constexpr std::uint32_t kSmallTable = 5003, kMediumTable = 20011, kLargeTable = 65521;
constexpr std::size_t kFewEndpoints = 20, kManyEndpoints = 200;

std::uint64_t mix(std::uint64_t x) {  // the finalizer of SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
  x = (x ^ x >> 27) * 0x94d049bb133111ebu;
  return x ^ x >> 31;
}
std::uint64_t hash(const base::IpPort& e) {
  std::uint64_t h = mix(e.port);
  for (std::byte b : e.ip.bytes()) h = mix(h ^ static_cast<std::uint64_t>(b));
  return h;
}
}  // namespace

std::vector<std::uint32_t> slots_each(const std::vector<Share>& shares) {
  bool growing = std::any_of(shares.begin(), shares.end(), [](const Share& s) { return s.grown < 1; });
  std::vector<std::uint64_t> want;
  std::uint64_t total = 0, common = 0;
  for (const auto& s : shares) {
    std::uint64_t n = std::max<std::uint32_t>(1, s.weight);
    if (growing)
      n = std::max<std::uint64_t>(1, static_cast<std::uint64_t>(std::llround(static_cast<double>(n * kGrowthSteps) *
                                                                             std::clamp(s.grown, 0., 1.))));
    want.push_back(n);
    total += n;
    common = std::gcd(common, n);
  }
  std::vector<std::uint32_t> out;
  for (auto n : want) {
    n /= common;
    if (total / common > kMostSlots) n = std::max<std::uint64_t>(1, n * kMostSlots / (total / common));
    out.push_back(static_cast<std::uint32_t>(n));
  }
  return out;
}

std::vector<std::uint16_t> assign_slots(const std::vector<base::IpPort>& before,
                                        const std::vector<base::IpPort>& endpoints,
                                        const std::vector<std::uint32_t>& each) {
  std::size_t n = std::accumulate(each.begin(), each.end(), std::size_t{0});
  std::map<base::IpPort, std::size_t> index;
  for (std::size_t i = 0; i < endpoints.size(); ++i) index[endpoints[i]] = i;
  std::vector<std::uint32_t> left = each;
  std::vector<std::optional<std::uint16_t>> chosen(n);
  for (std::size_t s = 0; s < std::min(n, before.size()); ++s) {
    auto it = index.find(before[s]);
    if (it == index.end() || left[it->second] == 0) continue;
    --left[it->second];
    chosen[s] = static_cast<std::uint16_t>(it->second);
  }
  std::vector<std::uint16_t> out(n);
  std::size_t next = 0;
  for (std::size_t s = 0; s < n; ++s) {
    if (!chosen[s]) {
      while (left[next % left.size()] == 0) ++next;
      --left[next % left.size()];
      chosen[s] = static_cast<std::uint16_t>(next++ % left.size());
    }
    out[s] = *chosen[s];
  }
  return out;
}

std::uint32_t maglev_size(std::size_t endpoints) {
  return endpoints <= kFewEndpoints ? kSmallTable : endpoints <= kManyEndpoints ? kMediumTable : kLargeTable;
}

std::vector<std::uint16_t> maglev_table(const std::vector<base::IpPort>& endpoints,
                                        const std::vector<std::uint32_t>& each, std::uint32_t size) {
  if (endpoints.empty()) return {};
  constexpr std::uint16_t kFree = 0xffff;
  struct Walk {
    std::uint64_t at, skip;
  };
  std::vector<Walk> walks;
  for (const auto& e : endpoints) {
    std::uint64_t h = hash(e);
    walks.push_back({h % size, mix(h) % (size - 1) + 1});
  }
  std::vector<std::uint16_t> table(size, kFree);
  std::uint32_t filled = 0;
  while (filled < size)
    for (std::size_t i = 0; i < walks.size(); ++i)
      for (std::uint32_t turn = 0; turn < each[i] && filled < size; ++turn) {
        auto& w = walks[i];
        while (table[w.at] != kFree) w.at = (w.at + w.skip) % size;
        table[w.at] = static_cast<std::uint16_t>(i);
        ++filled;
      }
  return table;
}

}  // namespace trama::servicelb
