// SPDX-License-Identifier: GPL-2.0-or-later
// Tables and chains as values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace trama::nft {

// NFPROTO_*; also what `nft` prints in front of a table's name.
enum class Family : std::uint8_t { any = 0, inet = 1, ip = 2, arp = 3, netdev = 5, bridge = 7, ip6 = 10 };
std::string to_string(Family f);

struct Table {
  Family family = Family::inet;
  std::string name;
  std::string comment;
  std::uint32_t flags = 0;  // NFT_TABLE_F_*; a dormant table (1) filters nothing
  friend auto operator<=>(const Table&, const Table&) = default;
  std::string to_string() const;  // "inet trama"
};

enum class Hook : std::uint32_t { prerouting = 0, input = 1, forward = 2, output = 3, postrouting = 4 };
enum class ChainType { filter, nat, route };

// A base chain when it has a hook. Policy is accept unless `drop`.
struct Chain {
  std::string name;
  std::string comment;
  struct Base {
    ChainType type = ChainType::filter;
    Hook hook = Hook::prerouting;
    std::int32_t priority = 0;  // raw -300, mangle -150, dstnat -100, filter 0, srcnat 100
    bool drop = false;
    friend auto operator<=>(const Base&, const Base&) = default;
  };
  std::optional<Base> base;
  friend auto operator<=>(const Chain&, const Chain&) = default;
  // "chain prerouting { type nat hook prerouting priority -100; policy accept; }"
  std::string to_string() const;
};

}  // namespace trama::nft
