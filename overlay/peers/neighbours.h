// SPDX-License-Identifier: GPL-2.0-or-later
// With whom a node keeps a connection. Pure.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

namespace trama::overlay::peers {

constexpr std::size_t kFullMesh = 32;  // nodes, ourselves included: up to here everybody is everybody's neighbour

// Above kFullMesh the nodes stand on a ring, in an order that their names decide alone, and a node's neighbours are
// those 1, 2, 4, 8, … places away in both directions: about 2 log2(n), the same from both ends, and every node is
// reached in about log2(n) / 2 hops. Paths are probed to everybody all the same.
std::set<std::string> neighbours(const std::string& self, const std::vector<std::string>& others,
                                 std::size_t full_mesh = kFullMesh);

}  // namespace trama::overlay::peers
