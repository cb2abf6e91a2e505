// SPDX-License-Identifier: GPL-2.0-or-later
// What `wait --for` understands, and conditions of objects.
#pragma once

#include <string>
#include <string_view>

#include <boost/json.hpp>

#include "base/result.h"

namespace trama::cli {

struct WaitFor {
  enum class What { condition, field, removed, exists };
  What what = What::exists;
  std::string field;       // the condition's type, or a dotted path
  std::string value;       // "True"
  bool any_value = false;  // jsonpath without a value: it is enough that the field is there
};
// "condition=Ready[=False]", "jsonpath={.status.phase}=Running", "delete", "create"
base::Result<WaitFor> parse_wait_for(std::string_view text);
// `object` null: it does not exist.
bool holds(const WaitFor& what, const boost::json::object* object);

// Whether status.conditions says `value` for this type.
bool condition_is(const boost::json::object& object, std::string_view type, std::string_view value = "True");

}  // namespace trama::cli
