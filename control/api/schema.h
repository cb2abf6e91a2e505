// SPDX-License-Identifier: GPL-2.0-or-later
// What every kind of object may contain: one table that drives type checks, strict validation, defaulting, strategic
// merge, the decoding of protobuf and OpenAPI. Adding a field is one row in one of the schema_*.cc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

// How a field looks in JSON. How it looks on protobuf's wire follows from it.
enum class Type {
  text,
  integer,       // int32
  long_integer,  // int64
  boolean,
  number_or_text,  // IntOrString
  quantity,        // "100m", "64Mi", 2
  time,            // "2026-01-02T03:04:05Z"
  micro_time,      // "2026-01-02T03:04:05.000006Z"
  bytes,           // base64
  object,          // of `of`
  inlined,         // on the wire a message of its own, in JSON its members stand among those of the message around it
  list,            // of `of`
  texts,           // list of strings
  long_integers,   // list of int64
  map,             // string -> string
  quantities,      // string -> quantity
  bytes_map,       // string -> base64
  text_lists,      // string -> list of strings
  any              // FieldsV1: kept as it is; on the wire its JSON text
};

// Where a field stands on protobuf's wire. Go writes fields that are no pointers even when they are zero: that means
// unset, as its JSON leaves them out.
struct Wire {
  unsigned number = 0;
  bool zero_is_value = false;
  constexpr Wire(unsigned n, bool zero = false) : number(n), zero_is_value(zero) {}  // NOLINT: implicit on purpose
};

struct Field {
  std::string_view message;  // the message this field belongs to: "PodSpec"
  std::string_view name;     // in JSON
  Wire wire;
  Type type = Type::text;
  std::string_view doc;      // a sentence for `kubectl explain`
  std::string_view of = "";  // message of the object or of the list's items
  // Lists: what tells items apart, "port,protocol". Patches merge by the first, server-side apply by all of them; "-" =
  // a set of texts.
  std::string_view keys = "";
  bool required = false;
  std::string_view fallback = "";  // default, as JSON text
  std::string_view allowed = "";   // "A|B|C"
  bool atomic = false;             // maps: one field for server-side apply
};

// By which key a strategic merge patch merges the items of a list; "-" for texts, "" where the list is replaced.
inline std::string_view patch_key(const Field& f) { return f.keys.substr(0, f.keys.find(',')); }

// The message of a kind: its name, but for kinds that two groups have.
std::string_view message_of(const Kind& kind);
// As JSON has them: the members of inlined messages stand among the others.
const Field* find_field(std::string_view message, std::string_view name);
const std::vector<const Field*>& fields_of(std::string_view message);
// As the wire has them; null for numbers that the message does not know.
const Field* wire_field(std::string_view message, unsigned number);
// The field that all whole objects have.
const Field& metadata_field();

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
