// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/liveness.h"

#include <algorithm>
#include <bit>

namespace trama::overlay::peers {

Millis AttentiveClock::advance(Millis real) {
  if (real_ >= Millis{0} && real > real_) {
    auto step = std::min(real - real_, kLongestStep);
    slept_ += real - real_ - step;
    now_ += step;
  }
  real_ = std::max(real_, real);
  return now_;
}

const char* to_string(PathState state) {
  switch (state) {
    case PathState::unknown: return "unknown";
    case PathState::probing: return "probing";
    case PathState::up: return "up";
    case PathState::degraded: return "degraded";
    case PathState::down: return "down";
  }
  return "?";
}

// An answer that has not come by then makes us look closer; it may still come.
Millis PathLiveness::overdue_after() const {
  auto usual = std::chrono::duration_cast<Millis>(round_trip_ * 3);
  return std::clamp(usual, timers_.quick, timers_.steady);
}

bool PathLiveness::overdue(Millis now) const {
  return std::any_of(probes_.begin(), probes_.end(), [&](const Probe& p) {
    return !p.answered && p.sent > last_answer_ && now - p.sent >= overdue_after();
  });
}

bool PathLiveness::hurries(Millis now) const {
  if (state_ == PathState::unknown) return false;
  // A path that has been down for long is not asked five times a second.
  if (state_ == PathState::down) return now - last_answer_ <= timers_.patience;
  return state_ != PathState::up || overdue(now);
}

bool PathLiveness::due(Millis now, Pace pace) const {
  if (next_ == 1) return now >= phase_;
  return now - last_sent_ >= pause(hurries(now), pace);
}

Millis PathLiveness::pause(bool hurry, Pace pace) const {
  if (pace == Pace::eager) return timers_.quick;
  if (hurry) return pace == Pace::calm ? timers_.steady : timers_.quick;
  return pace == Pace::reserve && state_ == PathState::up ? timers_.reserve : timers_.steady;
}

Millis PathLiveness::rests_until(Millis now, Pace pace) const {
  if (state_ == PathState::unknown) return next_ == 1 ? std::max(phase_, now) : now;
  bool well = state_ == PathState::up && !overdue(now);
  bool given_up = state_ == PathState::down && !hurries(now) && good_ == 0;
  if (!well && !given_up) return now;
  auto until = last_sent_ + pause(false, pace);
  if (well)
    for (const auto& p : probes_)
      if (auto lost = p.sent + overdue_after(); !p.answered && lost > now) until = std::min(until, lost);
  return std::max(until, now);
}

bool PathLiveness::silent(Millis now, Millis patience) const {
  auto last = std::max(last_answer_, last_heard_);
  if (now - last < patience) return false;
  if (!works(state_)) return true;
  return std::any_of(probes_.begin(), probes_.end(), [&](const Probe& p) {
    return !p.answered && p.sent > last && now - p.sent >= patience - timers_.steady;
  });
}

std::uint64_t PathLiveness::probe(Millis now) {
  if (state_ == PathState::unknown) {
    last_answer_ = now;
    enter(PathState::probing, now);
  }
  last_sent_ = now;
  probes_.push_back({next_, now, false});
  if (probes_.size() > kRemembered) probes_.pop_front();
  return next_++;
}

bool PathLiveness::answered(std::uint64_t sequence, Millis now, Micros round_trip) {
  auto probe = std::find_if(probes_.begin(), probes_.end(), [&](const Probe& p) { return p.sequence == sequence; });
  if (probe == probes_.end() || probe->answered) return false;
  probe->answered = true;
  if (good_ == 0 || now - last_answer_ >= timers_.steady + timers_.quick) {
    good_ = 0;
    good_since_ = now;
  }
  ++good_;
  last_answer_ = now;
  round_trip_ = round_trip_ == Micros{0} ? round_trip : (round_trip_ * 7 + round_trip) / 8;
  return true;
}

Millis PathLiveness::hold() const {
  if (flaps_ == 0) return Millis{0};
  return std::min(timers_.longest, timers_.steady * (1 << std::min(flaps_, 6u)));
}

void PathLiveness::count_loss(Millis now) {
  std::size_t judged = 0, lost = 0;
  for (const auto& p : probes_) {
    if (!p.answered && now - p.sent < overdue_after()) continue;
    ++judged;
    if (!p.answered) ++lost;
  }
  loss_ = judged < kEnough ? 0 : static_cast<unsigned>(lost * 100 / judged);
}

bool PathLiveness::tick(Millis now) {
  if (state_ == PathState::unknown) return false;
  count_loss(now);
  switch (state_) {
    case PathState::probing:
      if (good_ > 0) return enter(PathState::up, now);
      return silent(now, timers_.patience) && enter(PathState::down, now);
    case PathState::up:
    case PathState::degraded:
      if (silent(now, timers_.patience)) return enter(PathState::down, now);
      if (state_ == PathState::up) return loss_ >= timers_.degraded && enter(PathState::degraded, now);
      return loss_ <= timers_.degraded / 2 && enter(PathState::up, now);
    case PathState::down:
      if (silent(now, timers_.patience)) good_ = 0;
      return good_ >= timers_.recover && now - good_since_ >= hold() && enter(PathState::up, now);
    case PathState::unknown: break;
  }
  return false;
}

bool PathLiveness::enter(PathState state, Millis now) {
  bool was_up = works(state_);
  if (state == PathState::down) {
    if (was_up) flaps_ = now - up_since_ < timers_.flap && downs_ > 0 ? flaps_ + 1 : 0;
    ++downs_;
    good_ = 0;
  }
  if (works(state) && !was_up) {
    up_since_ = now;
    ever_up_ = true;
    pardon();
  }
  state_ = state;
  since_ = now;
  return true;
}

void PathLiveness::forget(Millis now) {
  auto next = next_;
  auto downs = downs_;
  *this = PathLiveness(timers_, phase_);
  next_ = next;  // late answers of the time before find no probe
  downs_ = downs;
  since_ = now;
}

void Arrivals::arrived(std::uint64_t sequence, Millis now) {
  last_ = std::max(last_, now);
  bool restarted = any_ && sequence + 32 <= highest_;  // the other side has begun anew
  if (!any_ || restarted) {
    any_ = true;
    highest_ = first_ = sequence;
    seen_ = 1;
    return;
  }
  if (sequence > highest_) {
    auto step = sequence - highest_;
    seen_ = step >= 32 ? 0 : seen_ << step;
    seen_ |= 1;
    highest_ = sequence;
  } else if (highest_ - sequence < 32) {
    seen_ |= std::uint32_t{1} << (highest_ - sequence);
  }
}

unsigned Arrivals::loss() const {
  if (!any_) return 0;
  auto span = std::min<std::uint64_t>(32, highest_ - first_ + 1);
  if (span < 10) return 0;
  auto window = span == 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << span) - 1;
  auto got = static_cast<unsigned>(std::popcount(seen_ & window));
  return static_cast<unsigned>((span - got) * 100 / span);
}

}  // namespace trama::overlay::peers
