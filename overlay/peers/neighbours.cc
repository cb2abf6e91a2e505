// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/neighbours.h"

#include <algorithm>

#include "base/digest.h"

namespace trama::overlay::peers {

std::set<std::string> neighbours(const std::string& self, const std::vector<std::string>& others,
                                 std::size_t full_mesh) {
  if (others.size() + 1 <= full_mesh) return {others.begin(), others.end()};
  std::vector<std::pair<std::array<std::uint8_t, 32>, const std::string*>> ring;
  ring.reserve(others.size() + 1);
  ring.emplace_back(base::sha256(self), &self);
  for (const auto& name : others) ring.emplace_back(base::sha256(name), &name);
  std::sort(ring.begin(), ring.end(), [](auto& a, auto& b) { return a.first < b.first; });
  auto size = ring.size();
  auto at = static_cast<std::size_t>(
      std::find_if(ring.begin(), ring.end(), [&](auto& place) { return place.second == &self; }) - ring.begin());
  std::set<std::string> out;
  for (std::size_t step = 1; step <= size / 2; step *= 2) {
    out.insert(*ring[(at + step) % size].second);
    out.insert(*ring[(at + size - step) % size].second);
  }
  out.erase(self);
  return out;
}

}  // namespace trama::overlay::peers
