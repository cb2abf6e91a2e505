// SPDX-License-Identifier: GPL-2.0-or-later
// Addresses as values: IPv4 and IPv6 are one type everywhere, never a bare uint32_t.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trama::base {

enum class Family : std::uint8_t { v4 = 4, v6 = 6 };
// The AF_INET / AF_INET6 of the socket API.
std::uint8_t address_family(Family f);

// One IPv4 or IPv6 address, in network byte order. Ordered: v4 before v6, then numerically.
class Ip {
 public:
  Ip() = default;  // 0.0.0.0
  static Result<Ip> parse(std::string_view text);
  static Ip v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d);
  // raw must hold 4 or 16 bytes; anything else is an error.
  static Result<Ip> from_bytes(std::span<const std::byte> raw);

  Family family() const { return family_; }
  bool is_v4() const { return family_ == Family::v4; }
  std::size_t size() const { return is_v4() ? 4 : 16; }
  unsigned bits() const { return is_v4() ? 32 : 128; }
  std::span<const std::byte> bytes() const { return std::span(raw_).first(size()); }
  std::string to_string() const;
  bool is_loopback() const;
  bool is_link_local() const;
  bool is_multicast() const;
  bool is_unspecified() const;
  // This address plus n, carrying across bytes; wraps at the end of the family.
  Ip plus(std::uint64_t n) const;

  friend auto operator<=>(const Ip&, const Ip&) = default;

 private:
  Family family_ = Family::v4;
  std::array<std::byte, 16> raw_{};
};

// An address prefix. The host bits of `address` are always zero.
class Cidr {
 public:
  Cidr() = default;
  static Result<Cidr> parse(std::string_view text);  // "10.1.0.0/16"; host bits set is an error
  static Cidr host(const Ip& ip) { return Cidr(ip, ip.bits()); }
  // Clears the host bits. length must be <= ip.bits().
  static Cidr of(const Ip& ip, unsigned length);

  const Ip& address() const { return address_; }
  unsigned length() const { return length_; }
  Family family() const { return address_.family(); }
  bool contains(const Ip& ip) const;
  bool overlaps(const Cidr& other) const;
  // Last address of the prefix (the broadcast address of an IPv4 subnet).
  Ip last() const;
  // The i-th sub-prefix of the given length; nullopt-like error when out of range.
  Result<Cidr> subnet(unsigned length, std::uint64_t index) const;
  std::string to_string() const;

  friend auto operator<=>(const Cidr&, const Cidr&) = default;

 private:
  Cidr(const Ip& ip, unsigned length) : address_(ip), length_(length) {}
  Ip address_;
  unsigned length_ = 0;
};

struct Mac {
  std::array<std::uint8_t, 6> octets{};
  static Result<Mac> parse(std::string_view text);
  // Locally administered unicast address made from the first 40 bits of SHA-256(seed): 02:xx:xx:xx:xx:xx.
  static Mac from_seed(std::string_view seed);
  std::string to_string() const;
  friend auto operator<=>(const Mac&, const Mac&) = default;
};

// "10.0.0.1:80" / "[fd00::1]:80"
struct IpPort {
  Ip ip;
  std::uint16_t port = 0;
  std::string to_string() const;
  friend auto operator<=>(const IpPort&, const IpPort&) = default;
};

}  // namespace trama::base
