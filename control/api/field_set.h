// SPDX-License-Identifier: GPL-2.0-or-later
// Sets of fields as managedFields has them (FieldsV1): a tree whose edges are fields, items of lists and values. Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/api/object.h"

namespace trama::api {

struct FieldSet {
  bool member = false;
  // By path element as FieldsV1 writes it: "f:spec", "k:{\"name\":\"web\"}", "v:\"value\"".
  std::map<std::string, FieldSet> children;

  bool empty() const { return !member && children.empty(); }
  // Null where neither the element nor anything below it is in the set.
  const FieldSet* child(const std::string& element) const {
    auto it = children.find(element);
    return it == children.end() ? nullptr : &it->second;
  }
  friend bool operator==(const FieldSet&, const FieldSet&) = default;
};

// Elements that FieldsV1 does not know are skipped.
FieldSet parse_fields(const json::value& fields_v1);
json::object fields_json(const FieldSet& set);

FieldSet united(FieldSet a, const FieldSet& b);
FieldSet subtracted(const FieldSet& a, const FieldSet& b);
FieldSet intersected(const FieldSet& a, const FieldSet& b);

// As upstream prints them: `.spec.ports[port=80,protocol="TCP"].name`.
std::vector<std::string> paths_of(const FieldSet& set);

}  // namespace trama::api
