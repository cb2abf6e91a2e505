// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstdint>

#include "control/api/object.h"

namespace trama::store {

struct Event {
  enum class Type { added, modified, deleted };
  Type type = Type::added;
  std::uint64_t revision = 0;
  api::ObjectPtr object;    // for `deleted`: the last content, carrying the revision of the deletion
  api::ObjectPtr previous;  // null for `added`
};

}  // namespace trama::store
