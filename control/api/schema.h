// SPDX-License-Identifier: GPL-2.0-or-later
// What every kind of object may contain: one table that drives type checks, strict validation, defaulting and
// strategic merge. Adding a field is one row in schema_table.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

enum class Type {
  text,
  integer,
  boolean,
  number_or_text,  // IntOrString
  quantity,        // "100m", "64Mi", 2
  object,          // of `message`
  list,            // of `message`, or of any value when `message` is empty
  texts,           // list of strings
  map,             // string -> string
  quantities,      // string -> quantity
  any              // kept as it is
};

struct Field {
  std::string_view message;  // the message this field belongs to: "PodSpec"
  std::string_view name;
  Type type = Type::text;
  std::string_view of = "";         // message of the object or of the list's items
  std::string_view merge_key = "";  // lists: items are merged by this key; "-" = primitive items are merged
  bool required = false;
  std::string_view fallback = "";  // default, as JSON text
  std::string_view allowed = "";   // "A|B|C"
  bool atomic = false;             // objects: replaced as a whole by a patch ($retainKeys semantics)
};

const Field* find_field(std::string_view message, std::string_view name);
const std::vector<const Field*>& fields_of(std::string_view message);

struct Findings {
  std::vector<std::string> unknown;   // "unknown field \"spec.foo\""
  std::vector<std::string> mistyped;  // "spec.replicas: expected an integer, got a string"
  std::vector<Cause> invalid;         // for Status::invalid
};
// Checks types and required fields; drops unknown fields and null values from the object; reports all of it.
void check_schema(const Kind& kind, json::object& body, Findings& findings);
// Fills in what upstream fills in. Idempotent.
void apply_defaults(const Kind& kind, json::object& body);

}  // namespace trama::api
