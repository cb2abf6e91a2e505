// SPDX-License-Identifier: GPL-2.0-or-later
// labelSelector and fieldSelector of list and watch.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/api/kinds.h"
#include "control/api/object.h"
#include "control/api/status.h"

namespace trama::api {

class Selector {
 public:
  // Either text may be empty. Grammar: "a=b,c!=d,e in (f,g),h notin (i),j,!k"; fields know = == != only.
  // A field this resource cannot be selected by is refused, never ignored.
  static Answer<Selector> parse(const Kind& kind, std::string_view labels, std::string_view fields);
  bool matches(const Object& object) const;
  bool empty() const { return labels_.empty() && fields_.empty(); }
  // The name that metadata.name=NAME asks for, "" otherwise: lets a single object be found without a walk.
  std::string name() const;

 private:
  struct Requirement {
    enum class Op { in, not_in, exists, not_exists };
    std::string key;
    Op op = Op::exists;
    std::vector<std::string> values;
  };
  static Answer<std::vector<Requirement>> parse_labels(std::string_view text);
  static bool holds(const Requirement& r, const std::string* value);
  std::vector<Requirement> labels_, fields_;
};

// The text a field selector compares: "metadata.name", "spec.nodeName", "involvedObject.uid", …
std::string field_value(const Object& object, std::string_view path);

}  // namespace trama::api
