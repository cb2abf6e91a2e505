// SPDX-License-Identifier: GPL-2.0-or-later
// Carries frames between the ports of a switch over impaired links: frames and time in, frames that are due out. No
// sockets, no clock.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <vector>

#include "cli/links/frame.h"
#include "cli/links/state.h"
#include "cli/links/wire.h"

namespace trama::cli {

class Carrier {
 public:
  struct Port {
    std::string name;  // a node's, or "switch"
    base::Mac mac;
  };
  // `head`: how many bytes stand in front of the Ethernet header of every frame and travel along unread.
  Carrier(std::vector<Port> ports, std::uint64_t seed, std::size_t head = 0);

  // Links whose rule stays keep their dice and counters; frames on their way arrive.
  void use(const std::vector<LinkRule>& rules);
  // Whether frames from a port to another are this object's business: some rule there shapes them. All other frames
  // take the switch. A cut alone is no reason: the switch can drop, too.
  bool carries(std::size_t from, std::size_t to) const { return carried_[from * ports_.size() + to]; }
  const std::vector<Port>& ports() const { return ports_; }

  // A frame that came out of a port's node (or of the switch itself). To many, or to an address nobody has: one copy
  // for each port to which this object carries.
  void offer(Nanoseconds now, std::size_t from, std::vector<std::byte> frame);
  using Deliver = std::function<void(std::size_t from, std::size_t to, const std::vector<std::byte>& frame)>;
  // Every frame that is due by then, in the order in which they arrive.
  void deliver(Nanoseconds now, const Deliver& fn);
  // When deliver() has something to do.
  std::optional<Nanoseconds> next() const;

  struct Count {
    LinkKey key;
    Match only;
    WireCounters wire;
  };
  std::vector<Count> counts() const;
  std::size_t on_their_way() const { return queue_.size(); }

 private:
  struct Link {
    LinkKey key;
    Match only;
    std::shared_ptr<Wire> wire;
  };
  using Frame = std::shared_ptr<const std::vector<std::byte>>;
  struct Flight {
    Nanoseconds at;
    std::uint64_t order;
    std::size_t from, to, stage;  // stage: the links already behind it, of three
    Frame frame;
    FrameHead head;
    std::shared_ptr<Wire> on;  // the link it is on
    bool operator>(const Flight& o) const { return at != o.at ? at > o.at : order > o.order; }
  };
  const std::vector<Link>* links(std::size_t stage, std::size_t from, std::size_t to) const;
  // Over the links from `stage` on, until one holds the frame up, drops it or it has arrived (then true).
  void travel(Nanoseconds now, Flight flight);

  std::vector<Port> ports_;
  std::uint64_t seed_, order_ = 0;
  std::size_t head_;
  std::map<LinkKey, std::vector<Link>> links_;  // the most specific first
  std::vector<bool> carried_;
  std::priority_queue<Flight, std::vector<Flight>, std::greater<>> queue_;
};

}  // namespace trama::cli
