// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/table.h"

#include <array>

#include <fmt/format.h>

namespace trama::nft {

std::string to_string(Family f) {
  switch (f) {
    case Family::any: return "any";
    case Family::inet: return "inet";
    case Family::ip: return "ip";
    case Family::arp: return "arp";
    case Family::netdev: return "netdev";
    case Family::bridge: return "bridge";
    case Family::ip6: return "ip6";
  }
  return "?";
}

std::string Table::to_string() const { return fmt::format("{} {}", nft::to_string(family), name); }

std::string Chain::to_string() const {
  if (!base) return "chain " + name;
  constexpr std::array<const char*, 5> kHooks = {"prerouting", "input", "forward", "output", "postrouting"};
  constexpr std::array<const char*, 3> kTypes = {"filter", "nat", "route"};
  auto hook = static_cast<std::size_t>(base->hook);
  return fmt::format("chain {} {{ type {} hook {} priority {}; policy {}; }}", name,
                     kTypes[static_cast<std::size_t>(base->type)], hook < kHooks.size() ? kHooks[hook] : "?",
                     base->priority, base->drop ? "drop" : "accept");
}

}  // namespace trama::nft
