// SPDX-License-Identifier: GPL-2.0-or-later
// Resource quantities as Kubernetes writes them: "500m", "1.5", "128Mi", "1e3". Pure.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"

namespace trama::agent {

// In thousandths, rounded up as upstream does: "500m" is 500, "2" is 2000, "1Ki" is 1024000. Saturates at the type's
// end.
base::Result<std::int64_t> parse_quantity_millis(std::string_view text);

}  // namespace trama::agent
