// SPDX-License-Identifier: GPL-2.0-or-later
// Fields of set keys and of map data. A field knows its size and how the nft tool names it, so that `nft list` prints
// "typeof ip daddr . th dport" and reads its own listing back.
#pragma once

#include <string>
#include <vector>

#include "base/nft/value.h"

namespace trama::nft {

enum class Base : std::uint32_t { link = 0, network = 1, transport = 2 };  // where a payload offset starts

struct Field {
  std::string name;          // as in nft's typeof: "ip daddr"
  std::uint32_t type = 0;    // nft's data type number (TYPE_IPADDR, …), informational for the kernel
  std::uint32_t length = 0;  // bytes
  bool host_order = false;
  std::uint32_t expression = 0;  // nft's own number of the expression kind, for the typeof record
  std::string detail;            // the expression's record: nested TLVs as nft 1.0 writes them
  bool is_verdict = false;

  std::uint32_t padded() const { return (length + 3) & ~3u; }
  // One field's bytes in nft's notation: "10.96.0.1", "tcp", "0x00001001".
  std::string print(Bytes bytes) const;
};

namespace field {
Field ip_saddr();
Field ip_daddr();
Field ip6_saddr();
Field ip6_daddr();
Field ether_saddr();
Field ether_daddr();
Field l4proto();  // meta l4proto
Field th_sport();
Field th_dport();
Field iifname();
Field oifname();
Field meta_mark();
Field meta_priority();
Field ct_mark();
Field verdict();        // data of verdict maps
Field numgen_random();  // a number below 65536
// Bits of the packet nft has no name for: "@th,336,32". Both must be multiples of 8.
Field raw(Base base, std::uint32_t bit_offset, std::uint32_t bits);
}  // namespace field

}  // namespace trama::nft
