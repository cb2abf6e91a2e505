// SPDX-License-Identifier: GPL-2.0-or-later
// What the machine's resolvers have said, for as long as they said it holds, but not long. Pure: time comes in.
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/dns/message.h"

namespace trama::agent::dns {

class Cache {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kLongest{30};  // whatever the records allow
  static constexpr std::chrono::seconds kFailed{5};    // that nobody answered (RFC 9520: 1 s at least)
  static constexpr std::size_t kMost = 2048;           // entries; the oldest go
  static constexpr std::size_t kLargestKept = 4096;    // bytes of a reply

  // What is known of a question: the very message but for its number and its name's case, over the same transport.
  // An error: nobody answered it a moment ago. Records live as much less long as the reply has lain here.
  std::optional<base::Result<Bytes>> find(std::span<const std::uint8_t> query, bool tcp, Time now) const;

  // Takes replies that say how long they hold: records, or an SOA beside an empty answer or NXDOMAIN (RFC 2308).
  void keep(std::span<const std::uint8_t> query, bool tcp, std::span<const std::uint8_t> reply, Time now);
  void keep_failure(std::span<const std::uint8_t> query, bool tcp, base::Error why, Time now);
  std::size_t size() const { return young_.size() + old_.size(); }

 private:
  struct Entry {
    Bytes reply;
    std::optional<base::Error> failure;
    std::vector<std::size_t> lives;  // where the reply has a record's time to live
    Time from, until;
  };
  void put(std::string key, Entry entry);

  // Two generations: when the young one is full, it becomes the old one, and that one is forgotten.
  std::unordered_map<std::string, Entry> young_, old_;
};

}  // namespace trama::agent::dns
