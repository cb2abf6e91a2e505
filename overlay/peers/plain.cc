// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/plain.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::overlay::peers {
namespace {

constexpr std::string_view kPrefix = "direct.";

int digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

}  // namespace

std::string plain_capability(const base::Mac& mac) {
  std::string out(kPrefix);
  for (auto octet : mac.octets) out += fmt::format("{:02x}", octet);
  return out;
}

std::optional<base::Mac> plain_mac(const std::vector<std::string>& capabilities) {
  for (std::string_view text : capabilities) {
    if (!text.starts_with(kPrefix)) continue;
    text.remove_prefix(kPrefix.size());
    base::Mac mac;
    if (text.size() != 2 * mac.octets.size()) continue;
    bool good = std::all_of(text.begin(), text.end(), [](char c) { return digit(c) >= 0; });
    if (!good) continue;
    for (std::size_t i = 0; i < mac.octets.size(); ++i)
      mac.octets[i] = static_cast<std::uint8_t>(digit(text[2 * i]) * 16 + digit(text[2 * i + 1]));
    bool group = mac.octets[0] & 1;
    if (!group && mac != base::Mac{}) return mac;
  }
  return std::nullopt;
}

}  // namespace trama::overlay::peers
