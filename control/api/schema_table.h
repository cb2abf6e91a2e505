// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <vector>

#include "control/api/schema.h"

namespace trama::api {
// One row per field of every message. Fields `kind`, `apiVersion` and `metadata` are common to all kinds.
const std::vector<Field>& schema_table();
}  // namespace trama::api
