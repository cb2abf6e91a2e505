// SPDX-License-Identifier: GPL-2.0-or-later
// Which conntrack entries must go because their endpoint did. Pure.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "servicelb/placement.h"

namespace trama::servicelb {

// Flows of one service id whose answering endpoint is not one of these must go.
struct FlowsOf {
  Family family = Family::v4;
  std::uint32_t id = 0;
  std::vector<base::IpPort> endpoints;  // sorted
  // Front ends without whose rule flows may have begun, which go nowhere since; empty = none. UDP when the front end
  // is new; connections that nobody has answered, too, when rules had been missing.
  std::vector<Front> untranslated;
  bool connections = false;  // TCP and SCTP, too: their next packet is answered with a reset
};

// UDP flows to an endpoint that is gone go at once: whoever still talks to it must be asked to choose again, and
// nothing else would tell. With a drain bound, all flows may go on that long.
class Flows {
 public:
  // After a change of a service from one placement to another.
  void changed(const Placement& before, const Placement& after, std::optional<std::chrono::seconds> drain,
               Clock::time_point now);
  // Nobody knows what happened to this service's flows: at the start, every one is looked at.
  void unknown(const Placement& now_placed, std::optional<std::chrono::seconds> drain, Clock::time_point now);
  // Somebody had taken the rules away, and they are back: what began meanwhile, datagrams and connections, went past
  // them and goes nowhere.
  void rules_were_missing(const Placement& now_placed);
  // An id that nobody has any more.
  void orphaned(Family family, std::uint32_t id, Clock::time_point now);
  bool due(Clock::time_point now) const;
  // What must be done by now, until done() says that it has been.
  std::vector<FlowsOf> stale(Clock::time_point now) const;
  void done(const std::vector<FlowsOf>& list, Clock::time_point asked);

 private:
  using Key = std::pair<Family, std::uint32_t>;
  struct Entry {
    std::vector<base::IpPort> endpoints;                // now, sorted
    std::map<base::IpPort, Clock::time_point> leaving;  // gone; when their flows go
    std::optional<Clock::time_point> sweep;             // when flows to unknown endpoints go
    std::vector<Front> untranslated;
    bool connections = false;
    Clock::time_point next() const;
  };
  void put(Key key, Entry entry);
  void drop_time(Key key, const Entry& entry);
  std::map<Key, Entry> entries_;
  std::multimap<Clock::time_point, Key> times_;  // of the next thing to do of each entry
};

}  // namespace trama::servicelb
