// SPDX-License-Identifier: GPL-2.0-or-later
// A key of WireGuard's (Curve25519), as a value; private ones are wiped by whoever holds them.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trama::base {

struct WireguardKey {
  std::array<std::uint8_t, 32> octets{};

  // 44 characters of base64, as wg(8) prints it.
  std::string to_string() const;
  // Nothing for other lengths, other characters, and for the key of zeros, which stands for "none" everywhere.
  static std::optional<WireguardKey> parse(std::string_view text);
  // A private key from the kernel's random source.
  static WireguardKey random();
  bool is_zero() const { return *this == WireguardKey{}; }
  void wipe();

  friend auto operator<=>(const WireguardKey&, const WireguardKey&) = default;
};

// Where a node's device listens, and what it is known by.
struct WireguardEnd {
  WireguardKey key;  // public
  std::uint16_t port = 0;
  friend bool operator==(const WireguardEnd&, const WireguardEnd&) = default;
};

}  // namespace trama::base
