// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/relay_choice.h"

#include <algorithm>
#include <tuple>

namespace trama::overlay::peers {

namespace {

unsigned loss_of(const RelayCandidate& c) { return c.loss + c.loss_beyond; }

bool better(const RelayCandidate& a, const RelayCandidate& b) {
  auto rank = [](const RelayCandidate& c) {
    // A few percent more or less are no difference; whoever is ready comes first.
    return std::tuple(c.reaches == ReachState::ready ? 0 : 1, loss_of(c) / RelayChoice::kFine,
                      c.round_trip + c.round_trip_beyond);
  };
  return std::pair(rank(a), a.node) < std::pair(rank(b), b.node);
}

}  // namespace

bool RelayChoice::decide(const std::vector<RelayCandidate>& candidates, PathState through, unsigned loss, Millis now) {
  std::erase_if(passed_over_, [&](const auto& p) { return now >= p.second; });
  auto present = std::find_if(candidates.begin(), candidates.end(), [&](const auto& c) { return c.node == via_; });
  bool there = present != candidates.end() && present->near;
  if (!via_.empty() && (!there || through == PathState::down)) passed_over_[via_] = now + kPassedOver;
  const RelayCandidate* best = nullptr;
  for (const auto& c : candidates) {
    bool may = c.near && c.reaches != ReachState::no && c.node != via_ && !passed_over_.contains(c.node);
    if (may && (!best || better(c, *best))) best = &c;
  }
  bool broken = through == PathState::down || (present != candidates.end() && present->reaches == ReachState::no);
  bool stays = there && !broken && (loss < kBad || !best || loss_of(*best) >= kFine);
  // Nobody else: who worked once may work again.
  if (stays || (there && !best)) return false;
  auto next = best ? best->node : std::string();
  if (next == via_) return false;
  via_ = std::move(next);
  return true;
}

}  // namespace trama::overlay::peers
