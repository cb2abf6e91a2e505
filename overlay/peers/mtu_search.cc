// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/mtu_search.h"

#include <algorithm>

namespace trama::overlay::peers {

const char* to_string(MtuState state) {
  switch (state) {
    case MtuState::whole: return "whole";
    case MtuState::suspected: return "suspected";
    case MtuState::searching: return "searching";
    case MtuState::settled: return "settled";
  }
  return "?";
}

void MtuSearch::resize(unsigned largest, Millis now) {
  if (largest == largest_) return;
  bool first = largest_ == 0;
  largest_ = largest;
  base_ = std::min(kBase, largest);
  waiting_.clear();
  unanswered_.clear();
  if (first || largest <= used_) {
    used_ = passes_ = largest, fails_ = largest + 1;
    state_ = MtuState::whole;
  } else {
    // More may pass now, on the way as well. Until that is known, what passed is used.
    search_from(used_, largest, now);
  }
}

void MtuSearch::sent(Millis now) {
  unanswered_.push_back(now);
  if (unanswered_.size() > kRemembered) unanswered_.pop_front();
}

void MtuSearch::answered(Millis now) {
  unanswered_.clear();
  bool was_away = now - last_answer_ > timers_.slow * 3;
  last_answer_ = now;
  if (state_ == MtuState::settled && was_away) settled_at_ = now - timers_.raise;  // it may be another path by now
  if (state_ != MtuState::suspected) return;
  state_ = used_ == largest_ ? MtuState::whole : MtuState::settled;
  waiting_.clear();
}

std::optional<MtuSearch::Probe> MtuSearch::due(Millis now) {
  if (largest_ == 0) return std::nullopt;
  judge(now);
  bool long_dead = state_ == MtuState::suspected && now - suspected_since_ > timers_.slow * 3;
  if (now - last_sent_ < (long_dead ? timers_.slow : timers_.quick)) return std::nullopt;
  switch (state_) {
    case MtuState::suspected: return probe(base_, now);
    case MtuState::searching: return probe(trying_, now);
    case MtuState::settled:
      if (now - settled_at_ < timers_.raise) break;
      search_from(used_, largest_, now);
      return probe(trying_, now);
    case MtuState::whole: break;
  }
  if (used_ == base_ || (cut_ == 0 && now - verified_ < timers_.verify)) return std::nullopt;
  return probe(used_, now);
}

bool MtuSearch::answered(std::uint64_t sequence, Millis now) {
  auto it = std::find_if(waiting_.begin(), waiting_.end(), [&](const Waiting& w) { return w.sequence == sequence; });
  if (it == waiting_.end()) return false;
  auto size = it->size;
  waiting_.erase(it);
  if (state_ == MtuState::suspected) small_passes_ = true;
  if (size == used_) {
    cut_ = 0;
    verified_ = now;
  }
  if (state_ == MtuState::searching && size > passes_) passed(size, now);
  return true;
}

void MtuSearch::judge(Millis now) {
  while (!waiting_.empty() && now - waiting_.front().sent >= timers_.quick) {
    auto size = waiting_.front().size;
    waiting_.pop_front();
    if (state_ == MtuState::searching && size == trying_ && ++lost_ >= timers_.tries) failed(size, now);
    bool well = state_ == MtuState::whole || state_ == MtuState::settled;
    if (well && size == used_ && ++cut_ >= timers_.tries && unanswered_.empty()) {
      used_ = base_;  // probes of liveness come back, so somebody cuts them in pieces
      search_from(base_, size, now);
    }
  }
  auto lost = std::count_if(unanswered_.begin(), unanswered_.end(), [&](Millis t) { return now - t >= timers_.quick; });
  if (used_ == base_ || lost == 0) return;
  bool hole = lost >= static_cast<std::ptrdiff_t>(timers_.hole);
  if (state_ == MtuState::searching ? hole : state_ != MtuState::suspected) {
    state_ = MtuState::suspected;
    suspected_since_ = now;
    small_passes_ = false;
    waiting_.clear();
  }
  if (state_ == MtuState::suspected && hole && small_passes_) {
    // It may have been bad luck: what was used is tried first.
    auto before = used_;
    used_ = base_;
    search_from(base_, before, now);
  }
}

void MtuSearch::search_from(unsigned passes, unsigned try_first, Millis now) {
  state_ = MtuState::searching;
  passes_ = passes;
  fails_ = largest_ + 1;
  trying_ = try_first;
  lost_ = cut_ = 0;
  waiting_.clear();
  unanswered_.clear();
  if (passes_ >= largest_) settle(now);
}

void MtuSearch::passed(unsigned size, Millis now) {
  passes_ = size;
  lost_ = 0;
  waiting_.clear();
  settle(now);
}

void MtuSearch::failed(unsigned size, Millis now) {
  fails_ = size;
  lost_ = 0;
  waiting_.clear();
  settle(now);
}

// Either the result, or the next size to try: the largest while nothing is known to fail; when that does and more than
// is used was asked for, the least that would be worth it; else the middle.
void MtuSearch::settle(Millis now) {
  if (passes_ < largest_ && fails_ - passes_ > timers_.precise) {
    bool raising = passes_ == used_ && fails_ == largest_;
    trying_ = fails_ > largest_ ? largest_ : raising ? passes_ + timers_.precise : passes_ + (fails_ - passes_) / 2;
    return;
  }
  used_ = passes_;
  state_ = used_ == largest_ ? MtuState::whole : MtuState::settled;
  settled_at_ = verified_ = now;
  unanswered_.clear();
}

MtuSearch::Probe MtuSearch::probe(unsigned size, Millis now) {
  last_sent_ = now;
  Probe out{kMark | next_++, size};
  waiting_.push_back({out.sequence, size, now});
  return out;
}

}  // namespace trama::overlay::peers
