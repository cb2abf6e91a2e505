// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <string_view>

#include "base/ip.h"
#include "base/netlink/message.h"

namespace trama::nft {

using base::Cidr;
using base::Error;
using base::Ip;
using base::Mac;
using base::Result;
using netlink::Bytes;

// The bytes of a set key, of map data or of a constant in a rule, as the kernel's registers hold them: fields in order,
// each padded with zeros to 4 bytes. At most 64 bytes, the size of all registers; more is a bug and throws.
//   Value().ip(vip).proto(6).port(80)
class Value {
 public:
  static constexpr std::size_t kMax = 64;

  Value() = default;
  static Value of(Bytes raw) { return Value().raw(raw); }

  Value& ip(const Ip& v) { return raw(v.bytes()); }
  Value& mac(const Mac& v) { return raw(std::as_bytes(std::span(v.octets))); }
  Value& proto(std::uint8_t v) { return raw(std::as_bytes(std::span(&v, 1))); }
  Value& port(std::uint16_t v) { return be16(v); }    // network byte order
  Value& mark(std::uint32_t v) { return host32(v); }  // marks, numgen, fib and ct state live in host byte order
  Value& be16(std::uint16_t v) { return put({std::byte(v >> 8), std::byte(v)}); }
  Value& be32(std::uint32_t v) {
    return put({std::byte(v >> 24), std::byte(v >> 16), std::byte(v >> 8), std::byte(v)});
  }
  Value& host32(std::uint32_t v) { return raw(std::as_bytes(std::span(&v, 1))); }
  // An interface name as 16 bytes; longer names are cut (the kernel has none).
  Value& ifname(std::string_view name);
  // Appends and pads to the next multiple of 4.
  Value& raw(Bytes bytes);

  // The bytes with the last field's padding.
  Bytes bytes() const { return Bytes(bytes_.data(), size_); }
  // Without it: what a set or comparison of a single field wants.
  Bytes tight() const { return Bytes(bytes_.data(), tight_); }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // Equal bytes are equal values, however they were built.
  friend bool operator==(const Value& a, const Value& b) {
    return a.size_ == b.size_ && std::memcmp(a.bytes_.data(), b.bytes_.data(), a.size_) == 0;
  }
  friend std::strong_ordering operator<=>(const Value& a, const Value& b) {
    std::size_t n = a.size_ < b.size_ ? a.size_ : b.size_;
    int c = std::memcmp(a.bytes_.data(), b.bytes_.data(), n);
    if (c != 0) return c < 0 ? std::strong_ordering::less : std::strong_ordering::greater;
    return a.size_ <=> b.size_;
  }

 private:
  Value& put(std::initializer_list<std::byte> bytes) { return raw(Bytes(bytes.begin(), bytes.size())); }
  std::array<std::byte, kMax> bytes_{};
  std::uint8_t size_ = 0, tight_ = 0;
};

// FNV-1a over the bytes, for hash tables of elements.
struct ValueHash {
  std::size_t operator()(const Value& v) const {
    std::uint64_t h = 1469598103934665603u;
    for (std::byte b : v.bytes()) h = (h ^ static_cast<std::uint64_t>(b)) * 1099511628211u;
    return static_cast<std::size_t>(h);
  }
};

}  // namespace trama::nft
