// SPDX-License-Identifier: GPL-2.0-or-later
// One row per field of every message, in files by subject. Fields `kind`, `apiVersion` and `metadata` of whole objects
// are common to all kinds and have no rows.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "control/api/schema.h"

namespace trama::api {

// A field whose zero is a value (a pointer in Go): written on the wire only when it is set.
constexpr Wire zero(unsigned number) { return {number, true}; }

std::span<const Field> meta_schema();
std::span<const Field> core_schema();
std::span<const Field> pod_schema();
std::span<const Field> container_schema();
std::span<const Field> pod_status_schema();
std::span<const Field> volume_schema();
std::span<const Field> apps_schema();
std::span<const Field> daemon_set_schema();
std::span<const Field> batch_schema();
std::span<const Field> networking_schema();
std::span<const Field> discovery_schema();
std::span<const Field> coordination_schema();
std::span<const Field> certificates_schema();
std::span<const Field> events_schema();
std::span<const Field> autoscaling_schema();
std::span<const Field> policy_schema();
std::span<const Field> authorization_schema();
std::span<const Field> authentication_schema();

struct SchemaPart {
  std::string_view package;  // upstream's name for the group and version, as OpenAPI writes it
  std::span<const Field> rows;
};
const std::vector<SchemaPart>& schema_parts();

}  // namespace trama::api
