// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/ways.h"

#include <algorithm>
#include <tuple>

namespace trama::overlay::peers {

std::vector<WayEnds> ways_between(const World& world, const std::vector<Ip>& theirs, bool lower) {
  using Rank = std::tuple<bool, std::size_t, std::size_t>;
  std::vector<std::pair<Rank, WayEnds>> ranked;
  auto own = uplinks_of(world);
  for (std::size_t i = 0; i < own.size(); ++i)
    for (std::size_t k = 0; k < theirs.size(); ++k) {
      if (own[i].address.family() != theirs[k].family()) continue;
      bool apart = !own[i].subnet || !own[i].subnet->contains(theirs[k]);
      ranked.push_back({{apart, i + k, lower ? i : k}, {i, own[i].address, theirs[k]}});
    }
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<WayEnds> out;
  for (auto& [rank, ends] : ranked) out.push_back(ends);
  return out;
}

void WayChoice::restart(std::optional<std::size_t> kept) {
  used_ = kept.value_or(0);
  known_ = known_ && kept;
}

void WayChoice::adopt(std::size_t way) {
  if (way != used_) ++switches_;
  used_ = way;
  known_ = true;
}

std::optional<std::size_t> WayChoice::better(const std::vector<WaySight>& ways) const {
  if (!known_) {
    // In their order, each one once those before it have had their time.
    for (std::size_t i = 0; i < ways.size(); ++i) {
      if (works(ways[i].state)) return i;
      if (!ways[i].silent && ways[i].state != PathState::down) return std::nullopt;
    }
    return std::nullopt;
  }
  const auto& used = ways[used_];
  bool failed = used.silent || !works(used.state);
  bool bad = used.state == PathState::degraded && used.loss >= kBad;
  for (std::size_t i = 0; i < ways.size(); ++i) {
    const auto& w = ways[i];
    if (i == used_ || !works(w.state) || w.silent) continue;
    // Else the peer's agent may have stopped, and no way is better.
    if (failed && w.fresh) return i;
    bool fine = w.state == PathState::up && !w.doubtful && w.loss < kFine;
    if (fine && (bad || i < used_)) return i;
  }
  return std::nullopt;
}

bool WayChoice::decide(const std::vector<WaySight>& ways) {
  if (ways.empty()) return false;
  auto next = better(ways);
  if (next) adopt(*next);
  return next.has_value();
}

}  // namespace trama::overlay::peers
