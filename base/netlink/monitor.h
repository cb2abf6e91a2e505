// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include <boost/asio/posix/stream_descriptor.hpp>

#include "base/async/event.h"
#include "base/netlink/event.h"

namespace trama::netlink {

// Listens to rtnetlink multicast groups in the current network namespace. Events carry no state into our model:
// they only say "look again". A lost event (ENOBUFS) says the same, so losing some does no harm.
class Monitor {
 public:
  using Seen = Event;
  enum class Scope {
    here,           // the namespace the monitor was opened in
    with_children,  // and every namespace that has an id in it (`ip netns list-id`)
  };
  // groups: RTNLGRP_* numbers. Opens the socket at once, so nothing after this call is missed.
  static Result<Monitor> open(async::asio::any_io_executor ex, std::vector<unsigned> groups, Scope scope = Scope::here);
  // Calls `on_event` for every datagram with its first message; runs until cancelled.
  async::awaitable<void> run(std::function<void(Seen)> on_event);

 private:
  explicit Monitor(async::asio::posix::stream_descriptor fd) : fd_(std::move(fd)), buffer_(1 << 16) {}
  std::optional<Seen> receive();
  async::asio::posix::stream_descriptor fd_;
  std::vector<std::byte> buffer_;
};

}  // namespace trama::netlink
