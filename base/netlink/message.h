// SPDX-License-Identifier: GPL-2.0-or-later
// Checked iteration over what the kernel sends: a length that lies ends the walk with an error, it is never followed.
#pragma once

#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <linux/netlink.h>

#include "base/result.h"

namespace trama::netlink {

using base::Error;
using base::Result;
using Bytes = std::span<const std::byte>;

// Splits a datagram into messages. `fn` gets the header and the payload behind it.
Result<> for_each_message(Bytes datagram, const std::function<void(const nlmsghdr&, Bytes)>& fn);

// One attribute: its type without the NESTED/BYTEORDER flags and its payload.
struct Attribute {
  std::uint16_t type = 0;
  Bytes payload;
};
Result<> for_each_attribute(Bytes attributes, const std::function<void(const Attribute&)>& fn);

// The attributes of one message by type; the last one of a type wins. Lookups of absent types answer "nothing".
class Attributes {
 public:
  // Refuses malformed input.
  static Result<Attributes> parse(Bytes attributes);
  bool has(std::uint16_t type) const { return find(type) != nullptr; }
  Bytes bytes(std::uint16_t type) const;
  // The fixed-size value, or nothing when absent or too short.
  template <class T>
  std::optional<T> get(std::uint16_t type) const {
    auto b = bytes(type);
    if (b.size() < sizeof(T)) return std::nullopt;
    T value;
    std::memcpy(&value, b.data(), sizeof value);
    return value;
  }
  std::string text(std::uint16_t type) const;   // up to the first NUL
  Attributes nested(std::uint16_t type) const;  // empty when absent or malformed

 private:
  const Attribute* find(std::uint16_t type) const;
  std::vector<Attribute> all_;
};

// The fixed header in front of a payload's attributes (ifinfomsg, rtmsg, …); nothing when the payload is too short.
template <class T>
std::optional<T> fixed_header(Bytes payload) {
  if (payload.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, payload.data(), sizeof value);
  return value;
}
template <class T>
Bytes behind_header(Bytes payload) {
  std::size_t n = NLMSG_ALIGN(sizeof(T));
  return payload.size() > n ? payload.subspan(n) : Bytes{};
}

}  // namespace trama::netlink
