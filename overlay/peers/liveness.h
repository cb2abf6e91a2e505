// SPDX-License-Identifier: GPL-2.0-or-later
// Whether a path to a peer works, judged by probes and their answers. Pure: time comes in with every call.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <string>

namespace trama::overlay::peers {

using Millis = std::chrono::milliseconds;
using Micros = std::chrono::microseconds;

// Time during which we were awake. It passes with the real one, but no single step is longer than kLongestStep: an
// agent that was stopped for five seconds has not waited five seconds for answers, so it declares nobody dead.
class AttentiveClock {
 public:
  static constexpr Millis kLongestStep{250};
  // `real` is any clock that never goes back.
  Millis advance(Millis real);
  Millis now() const { return now_; }
  Millis slept() const { return slept_; }  // real time that was not counted

 private:
  Millis real_{-1}, now_{0}, slept_{0};
};

//  unknown   nothing has been sent
//  probing   sent, nothing came back yet, and not long ago
//  up        answers come
//  degraded  they come, but some are lost
//  down      none for LivenessTimers::patience
enum class PathState : std::uint8_t { unknown, probing, up, degraded, down };
const char* to_string(PathState state);
constexpr bool works(PathState s) { return s == PathState::up || s == PathState::degraded; }

struct LivenessTimers {
  Millis steady{1000};     // between probes while all is well
  Millis quick{200};       // while something is wrong, or not yet known
  Millis reserve{5000};    // while all is well on a path that nothing takes
  Millis patience{2500};   // without any answer until down
  Millis flap{60'000};     // a path that goes down again within that time flaps
  Millis longest{60'000};  // of the time that a flapping path must be well before it counts as up
  unsigned recover = 5;    // answers until up after down
  unsigned degraded = 10;  // percent lost until degraded; half of it until up again
};

class PathLiveness {
 public:
  PathLiveness() : PathLiveness(LivenessTimers{}, Millis{0}) {}
  // `phase`, shorter than `steady`, keeps the probes of many paths apart.
  PathLiveness(LivenessTimers timers, Millis phase) : timers_(timers), phase_(phase) {}

  //  usual    as LivenessTimers say
  //  reserve  nothing takes this path as long as another one is well
  //  eager    another one fails, and it is to be known now whether this one does better
  //  calm     so many paths hurry at once that hurrying would be the trouble, or that the trouble is our own
  enum class Pace : std::uint8_t { usual, reserve, calm, eager };
  bool due(Millis now, Pace pace = Pace::usual) const;
  // Asked more often than usual: something is wrong, or not yet known.
  bool hurries(Millis now) const;
  // Until then time alone changes nothing: no probe is due at that pace, none becomes overdue. `now` = look at once.
  Millis rests_until(Millis now, Pace pace = Pace::usual) const;
  // A probe leaves now; its sequence, from 1.
  std::uint64_t probe(Millis now);
  // False for an answer to nothing that waits: too old, a second one, never sent.
  bool answered(std::uint64_t sequence, Millis now, Micros round_trip);
  // Something of another size came back: the path lives, which says nothing about the probes that are lost.
  void heard(Millis now) { last_heard_ = now; }
  // What was lost up to now says nothing about how it is from now on.
  void pardon() {
    std::erase_if(probes_, [](const Probe& p) { return !p.answered; });
  }
  // It was left for another one: it counts as down, and must be well for a while before it is taken again.
  void give_up(Millis now) {
    if (works(state_)) enter(PathState::down, now);
  }
  // Looks at the time; true when the state has changed.
  bool tick(Millis now);
  // From now on nothing is probed.
  void forget(Millis now);

  PathState state() const { return state_; }
  // Up, but an answer is overdue: the next ones will tell.
  bool doubtful(Millis now) const { return state_ == PathState::up && overdue(now); }
  // No answer for so long, where nobody asks every second, counted as if the first question that was not answered had
  // been asked a second after the last answer.
  bool silent(Millis now, Millis patience) const;
  Millis last_answer() const { return last_answer_; }  // or when the first question was asked
  Millis since() const { return since_; }              // when the state began
  unsigned loss() const { return loss_; }              // percent of the last probes
  Micros round_trip() const { return round_trip_; }    // smoothed; 0 = none yet
  std::uint64_t downs() const { return downs_; }
  bool ever_up() const { return ever_up_; }
  Millis hold() const;  // for which it must be well before down becomes up

 private:
  struct Probe {
    std::uint64_t sequence;
    Millis sent;
    bool answered = false;
  };
  static constexpr std::size_t kRemembered = 32;  // probes
  static constexpr std::size_t kEnough = 10;      // probes, to speak of loss
  Millis overdue_after() const;
  Millis pause(bool hurry, Pace pace) const;
  bool overdue(Millis now) const;
  void count_loss(Millis now);
  bool enter(PathState state, Millis now);

  LivenessTimers timers_;
  Millis phase_;
  PathState state_ = PathState::unknown;
  std::deque<Probe> probes_;
  std::uint64_t next_ = 1;
  Millis since_{0}, last_sent_{0}, last_answer_{0}, last_heard_{0}, good_since_{0}, up_since_{0};
  Micros round_trip_{0};
  unsigned loss_ = 0, good_ = 0, flaps_ = 0;
  std::uint64_t downs_ = 0;
  bool ever_up_ = false;
};

// What arrives of the other side's probes.
class Arrivals {
 public:
  void arrived(std::uint64_t sequence, Millis now);
  bool any() const { return any_; }
  Millis age(Millis now) const { return now - last_; }  // of the last one
  // Percent of the last 32 sequences that never came; 0 until ten were sent.
  unsigned loss() const;

 private:
  std::uint64_t highest_ = 0, first_ = 0;
  std::uint32_t seen_ = 0;  // bit i: highest_ - i
  Millis last_{0};
  bool any_ = false;
};

}  // namespace trama::overlay::peers
