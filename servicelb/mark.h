// SPDX-License-Identifier: GPL-2.0-or-later
// The ct mark of a connection to a Service, and where addresses stand in the headers of the two families.
//   31            12 11 10           0
//   | service id    | M |   class    |     M: masquerade, whatever the source
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/ip.h"
#include "base/nft/table.h"

namespace trama::servicelb {

using base::Family;

constexpr std::uint32_t kIdShift = 12;
constexpr std::uint32_t kIdMask = 0xfffff000;
constexpr std::uint32_t kMaxId = 0xfffff;
constexpr std::uint32_t kMasquerade = 0x800;
constexpr std::uint32_t kClassMask = 0x7ff;
// Classes: 1…960 are the number of slots itself, drawn at random; larger numbers get one of 961…1000 on demand, every
// other kind of drawing one of 0x400…0x7ff.
constexpr std::uint32_t kDirectClasses = 960;
constexpr std::uint32_t kLastLargeClass = 1000;
constexpr std::uint32_t kFirstOtherClass = 0x400, kLastOtherClass = 0x7ff;
// Places that are no drawing: see ruleset.h.
constexpr std::uint32_t kGuardedClass = 0x3fb, kLocalAddressClass = 0x3fc, kLocalPortClass = 0x3fd,
                        kNoLocalClass = 0x3fe, kRefuseClass = 0x3ff;
constexpr std::uint32_t mark_of(std::uint32_t id, std::uint32_t cls) { return id << kIdShift | cls; }
constexpr std::uint32_t id_of(std::uint32_t mark) { return mark >> kIdShift; }

constexpr std::array<Family, 2> kFamilies = {Family::v4, Family::v6};
constexpr std::size_t index_of(Family f) { return f == Family::v6 ? 1 : 0; }

struct AddressLayout {
  nft::Family nft;
  const char* name;            // "ip"
  std::uint32_t size;          // bytes of an address
  std::uint32_t saddr, daddr;  // offsets in the network header
};
inline const AddressLayout& layout(Family f) {
  static constexpr AddressLayout v4{nft::Family::ip, "ip", 4, 12, 16};
  static constexpr AddressLayout v6{nft::Family::ip6, "ip6", 16, 8, 24};
  return f == Family::v4 ? v4 : v6;
}

}  // namespace trama::servicelb
