// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <compare>
#include <cstdint>

namespace trama::base {

// Integers that do not mix: an interface index is never a VNI.
template <class Tag, class Rep>
struct Strong {
  Rep value{};
  friend auto operator<=>(const Strong&, const Strong&) = default;
};
using IfIndex = Strong<struct IfIndexTag, std::uint32_t>;
using Vni = Strong<struct VniTag, std::uint32_t>;  // VXLAN network identifier, 24 bit

}  // namespace trama::base
