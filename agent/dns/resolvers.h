// SPDX-License-Identifier: GPL-2.0-or-later
// The machine's own resolvers: what the cluster's zone does not cover is passed on to them as it came.
#pragma once

#include <chrono>
#include <string_view>
#include <vector>

#include "agent/dns/message.h"
#include "base/async/event.h"

namespace trama::agent::dns {

using async::awaitable;

// The "nameserver" lines of a resolv.conf, at most three as in the C library, without `ours`: a question must not
// come back to who asks it.
std::vector<base::IpPort> servers_of(std::string_view resolv_conf, const std::vector<base::Ip>& ours);

class Resolvers {
 public:
  struct Options {
    std::chrono::milliseconds patience{1'500};  // with each server, and each is asked twice before giving up
    std::size_t in_flight = 512;                // questions at a time; more fail at once
  };
  explicit Resolvers(Options options) : options_(options) {}

  // False when they are asked already.
  bool use(std::vector<base::IpPort> servers);
  // The reply of the first server that gives one, under the query's own number. Each attempt has a port and a number of
  // its own, and a reply to another question is not taken: nobody off the path can guess one. Over TCP when the client
  // came over TCP: then its answer has room.
  awaitable<base::Result<Bytes>> ask(Bytes query, bool tcp);

 private:
  Options options_;
  std::vector<base::IpPort> servers_;
  std::size_t preferred_ = 0;  // answered last
  std::size_t asking_ = 0;
};

}  // namespace trama::agent::dns
