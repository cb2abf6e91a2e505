// SPDX-License-Identifier: GPL-2.0-or-later
// The kernel's table of neighbours, which all network namespaces of a machine share: when it is full, packets to
// neighbours that are not in it are dropped, and no counter of any link shows it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace trama::agent {

// Packets dropped because the table was full, of the text of /proc/net/stat/{arp,ndisc}_cache: one line of column
// names, then one line of hexadecimal numbers per processor. Nothing when it is not such a text.
std::optional<std::uint64_t> neighbour_drops(std::string_view text);

// Looks now and then; each of both families has a table of its own.
class NeighbourTables {
 public:
  // A sentence when packets were dropped since the last look; "" otherwise, and where the kernel does not tell.
  std::string look(const std::string& proc = "/proc");

 private:
  std::optional<std::uint64_t> before_[2];
};

}  // namespace trama::agent
