// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/wireguard.h"

#include <algorithm>
#include <charconv>
#include <string_view>

#include <fmt/format.h>

namespace trama::overlay::peers {
namespace {

constexpr std::string_view kPrefix = "wireguard.";
constexpr unsigned kCheaper = 4;  // bytes that WireGuard adds less than the tunnel
constexpr unsigned kPadding = 16;

}  // namespace

std::string wireguard_capability(const WireguardEnd& end) {
  return fmt::format("{}{}.{}", kPrefix, end.port, end.key.to_string());
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
    auto key = base::WireguardKey::parse(text.substr(used + 1));
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
