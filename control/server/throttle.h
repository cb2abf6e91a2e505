// SPDX-License-Identifier: GPL-2.0-or-later
// How much one client may ask for, so that it harms nobody but itself. Sans-I/O: the clock is the caller's.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace trama::server {

struct Limits {
  double per_second = 500;           // requests of one name, on the average
  double burst = 2000;               // and at once
  std::size_t in_flight = 200;       // of one name that have no answer yet
  std::size_t streams = 500;         // watches, logs and commands of one name
  double strangers_per_second = 20;  // of one address: requests without a name, and wrong tokens
  double strangers_burst = 200;
};

// Names are users ("system:node:n1"), or addresses of those who have none. Administrators are not counted: they are
// whom the others are to be kept apart from.
class Throttle {
 public:
  using Clock = std::chrono::steady_clock;
  explicit Throttle(Limits limits) : limits_(limits) {}

  enum class Kind { request, stream };
  // Counts a request. Nothing: it may go on, and leave() is called when it has its answer. Otherwise the seconds, at
  // least one, after which asking again makes sense.
  std::optional<int> enter(const std::string& who, bool stranger, Kind kind, Clock::time_point now);
  void leave(const std::string& who, Kind kind);
  // Counts against an address without a request: a wrong token. True while more may be tried.
  bool may_try(const std::string& address, Clock::time_point now);
  void count_failure(const std::string& address, Clock::time_point now);

  std::size_t known() const { return clients_.size(); }
  std::uint64_t refused() const { return refused_; }

 private:
  struct Client {
    double tokens = 0;
    Clock::time_point filled;
    std::size_t in_flight = 0, streams = 0;
    bool stranger = false;
  };
  Client& client(const std::string& who, bool stranger, Clock::time_point now);
  double rate(const Client& c) const { return c.stranger ? limits_.strangers_per_second : limits_.per_second; }
  double most(const Client& c) const { return c.stranger ? limits_.strangers_burst : limits_.burst; }
  void forget(Clock::time_point now);

  Limits limits_;
  std::map<std::string, Client> clients_;
  Clock::time_point swept_{};
  std::uint64_t refused_ = 0;
};

}  // namespace trama::server
