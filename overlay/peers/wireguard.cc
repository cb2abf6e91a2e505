// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/wireguard.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>

namespace trama::overlay::peers {
namespace {

constexpr std::string_view kPrefix = "wg.";
// Of base 32 (RFC 4648, 6) in small letters: what names in a hello are made of.
constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz234567";
constexpr std::size_t kText = 52;  // 256 bits, five in each
constexpr unsigned kCheaper = 4;   // bytes that WireGuard adds less than the tunnel
constexpr unsigned kPadding = 16;

std::string text_of(const base::WireguardKey& key) {
  std::string out;
  unsigned bits = 0, held = 0;
  for (auto octet : key.octets) {
    held = held << 8 | octet;
    for (bits += 8; bits >= 5; bits -= 5) out += kLetters[held >> (bits - 5) & 31];
    held &= 31;
  }
  return out + kLetters[held << (5 - bits) & 31];
}

std::optional<base::WireguardKey> key_of(std::string_view text) {
  if (text.size() != kText) return std::nullopt;
  base::WireguardKey key;
  unsigned bits = 0, held = 0;
  std::size_t at = 0;
  for (char c : text) {
    auto letter = kLetters.find(c);
    if (letter == kLetters.npos) return std::nullopt;
    held = held << 5 | static_cast<unsigned>(letter);
    bits += 5;
    if (bits < 8 || at == key.octets.size()) continue;
    bits -= 8;
    key.octets[at++] = static_cast<std::uint8_t>(held >> bits);
    held &= 255;
  }
  return key.is_zero() ? std::nullopt : std::optional(key);
}

}  // namespace

std::string wireguard_capability(const WireguardEnd& end) {
  return fmt::format("{}{}.{}", kPrefix, end.port, text_of(end.key));
}

std::optional<WireguardEnd> wireguard_end(const std::vector<std::string>& capabilities) {
  for (const auto& whole : capabilities) {
    std::string_view text = whole;
    if (!text.starts_with(kPrefix)) continue;
    text.remove_prefix(kPrefix.size());
    WireguardEnd end;
    auto parsed = std::from_chars(text.data(), text.data() + text.size(), end.port);
    auto used = static_cast<std::size_t>(parsed.ptr - text.data());
    if (parsed.ec != std::errc() || end.port == 0 || used >= text.size() || text[used] != '.') continue;
    auto key = key_of(text.substr(used + 1));
    if (!key) continue;
    end.key = *key;
    if (wireguard_capability(end) == whole) return end;  // there is one way to say it
  }
  return std::nullopt;
}

unsigned wireguard_mtu_by_tunnel(unsigned whole, unsigned tunnel, unsigned tunnel_whole) {
  if (tunnel == 0 || tunnel >= tunnel_whole) return whole;
  // Packets are filled up to a multiple of 16 bytes before they are sealed.
  return std::min(whole, (tunnel + kCheaper) / kPadding * kPadding);
}

}  // namespace trama::overlay::peers
