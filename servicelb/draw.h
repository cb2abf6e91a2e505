// SPDX-License-Identifier: GPL-2.0-or-later
// How a new connection's endpoint is drawn: what a class of the ct mark stands for, and the chain that does it. Pure.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "base/nft/blueprint.h"
#include "servicelb/model.h"

namespace trama::servicelb {

using base::Family;

struct Draw {
  enum class How : std::uint8_t { random, round_robin, source_hash, maglev, affinity };
  How how = How::random;
  std::uint32_t slots = 0;
  bool counted = false;             // drawn from the map whose elements count
  std::uint32_t owner = 0;          // round robin: the service id, since each has a counter of its own
  std::chrono::seconds timeout{0};  // affinity: how long a client is remembered

  // "n4" (random), "n4-counted", "rr17-n4", "source-n4", "maglev-n5003", "affinity10800-n4"
  std::string chain() const;
  static std::optional<Draw> of_chain(std::string_view name);
  std::string comment() const;
  friend auto operator<=>(const Draw&, const Draw&) = default;
};

// The chain that draws. A slot can vanish between two lookups of one packet; slot 0 is always there.
nft::Blueprint::ChainRules draw_chain(Family family, const Draw& draw);

// Class number -> what it stands for, for one family.
using Classes = std::map<std::uint32_t, Draw>;

}  // namespace trama::servicelb
