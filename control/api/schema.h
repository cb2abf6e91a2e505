// SPDX-License-Identifier: GPL-2.0-or-later
// The one description of every object that is served: field by field, one row each (schema_*.cc). Type checks, unknown
// fields, defaults, simple rules and the keys of strategic merge patches all read it. Adding a field is adding a row.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

// What a row may say beyond the type. Text fields are empty when there is no such rule.
struct Rules {
  bool required = false;            // must be there, and not "" or []
  std::string_view otherwise = {};  // default, as JSON text; applied only where the parent exists
  std::string_view one_of = {};     // "TCP|UDP|SCTP"
  long long at_least = INT64_MIN;   // of integers
  long long at_most = INT64_MAX;
  std::string_view format = {};  // "dns-label", "dns-subdomain", "ip", "cidr", "port-name", … see formats.h
  std::string_view key = {};     // lists: the field that identifies an element in a strategic merge patch
  bool merge = false;            // lists of scalars: a strategic merge patch adds instead of replacing
  bool retain = false;           // objects: patches may carry $retainKeys (it is honoured anywhere)
};

// Types: "string" "bool" "int32" "int64" "intstr" "quantity" "time" "microtime" "bytes" "any", a message ("PodSpec"),
// "[]X" a list of X, "{}X" a map from strings to X.
struct Row {
  std::string_view message;
  std::string_view field;
  std::string_view type;
  Rules rules = {};
};

struct Message;

struct Field {
  enum class Shape { one, list, map };
  enum class Base { text, boolean, int32, int64, int_or_text, quantity, time, micro_time, bytes, any, message };
  std::string_view name;
  Shape shape = Shape::one;
  Base base = Base::any;
  const Message* message = nullptr;  // of Base::message
  Rules rules;
  json::value otherwise;  // null = no default
};

struct Message {
  std::string_view name;
  std::vector<Field> fields;  // sorted by name
  const Field* find(std::string_view field) const;
};

// The message of a kind ("Pod"); null when there is no schema of that name.
const Message* find_message(std::string_view name);
const std::vector<const Message*>& all_messages();

// What a walk over a body found.
struct Findings {
  std::vector<std::string> unknown;  // "spec.conainers": fields the schema does not have
  std::vector<std::string> types;    // "spec.replicas: expected an integer, got a string"
  std::vector<Cause> causes;         // rules that do not hold, in upstream's words
};

// Looks for unknown fields and wrong types. Unknown fields and nulls are removed from `body`.
void prune(const Message& message, json::object& body, Findings& found);
// Fills in what is missing. Only call it on a body without type errors.
void apply_defaults(const Message& message, json::object& body);
// Checks required, one_of, at_least, at_most and format of every field that is there.
void check_rules(const Message& message, const json::object& body, const std::string& path, Findings& found);

}  // namespace trama::api
