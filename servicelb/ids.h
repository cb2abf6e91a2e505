// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <unordered_set>

#include "servicelb/model.h"

namespace trama::servicelb {

// What a service id stands for: one port of one Service, in both families.
struct PortKey {
  ServiceKey service;
  Protocol protocol = Protocol::tcp;
  std::string port;          // its name; with affinity one id serves all ports
  std::uint8_t variant = 0;  // several ids of one port: what its slots mean, and for whom they are (placement.h)
  friend auto operator<=>(const PortKey&, const PortKey&) = default;
};

using Clock = std::chrono::steady_clock;
constexpr auto kHoldDown = std::chrono::minutes(10);

// Gives service ids (1…0xfffff) to ports and keeps them stable: a released id goes to nobody else before the hold-down
// has passed, because conntrack still holds flows marked with it; the same port gets its old id back.
class IdPool {
 public:
  explicit IdPool(std::uint32_t last = 0xfffff) : last_(last) {}
  // The port's id, a new one if it has none; nothing when all are taken or held.
  std::optional<std::uint32_t> acquire(const PortKey& key, Clock::time_point now);
  // Takes this very id for the port, as read back from the kernel. False when another port has it.
  bool adopt(const PortKey& key, std::uint32_t id);
  // An id found in the kernel that no port wants: held like a released one.
  void hold(std::uint32_t id, Clock::time_point now);
  void release(const PortKey& key, Clock::time_point now);
  std::optional<std::uint32_t> find(const PortKey& key) const;
  std::size_t used() const { return by_key_.size(); }

 private:
  struct Held {
    std::uint32_t id;
    Clock::time_point until;
    std::optional<PortKey> key;  // nobody's otherwise
  };
  void expire(Clock::time_point now);

  std::uint32_t last_;
  std::uint32_t next_ = 1;  // ids from here on were never given out
  std::map<PortKey, std::uint32_t> by_key_;
  std::unordered_set<std::uint32_t> taken_;  // by ports, held, or free again
  // Oldest first. An entry with a key counts only while held_by_key_ agrees: the port may have come back meanwhile.
  std::deque<Held> held_;
  std::map<PortKey, std::pair<std::uint32_t, Clock::time_point>> held_by_key_;
  std::deque<std::uint32_t> free_;  // hold-down passed, longest free first
};

}  // namespace trama::servicelb
