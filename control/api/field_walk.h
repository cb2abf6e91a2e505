// SPDX-License-Identifier: GPL-2.0-or-later
// Objects seen as sets of fields, by the schema table: which fields a body has, which differ between two, how one is
// laid over another and how fields are taken out again. Lists with keys are walked by their keys, everything that has
// no parts of its own is one field. Pure.
#pragma once

#include <string_view>

#include "control/api/field_set.h"
#include "control/api/status.h"

namespace trama::api {

// apiVersion and kind are no fields. An item of a list without its keys, or twice, is an error.
Answer<FieldSet> fields_in(std::string_view message, const json::object& body);

struct Comparison {
  FieldSet added, modified, removed;
  bool same() const { return added.empty() && modified.empty() && removed.empty(); }
};
Comparison compare_fields(std::string_view message, const json::object& before, const json::object& after);

// What `over` has goes into `body`; what it does not have stays.
void merge_fields(std::string_view message, json::object& body, const json::object& over);

// Takes out what is in `gone` and neither itself in `kept` nor holds anything that is.
void remove_fields(std::string_view message, json::object& body, const FieldSet& gone, const FieldSet& kept);

}  // namespace trama::api
