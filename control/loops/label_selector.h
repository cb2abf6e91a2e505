// SPDX-License-Identifier: GPL-2.0-or-later
// The LabelSelector of the API: matchLabels and matchExpressions. Pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "control/api/object.h"

namespace trama::control {

using Labels = std::map<std::string, std::string>;

class LabelSelector {
 public:
  // From a LabelSelector object. An empty one matches everything.
  static LabelSelector of(const api::json::object& selector);
  // From a plain map, as Services and node selectors have it.
  static LabelSelector equalities(Labels labels);

  // Adds a condition: the label has this value, or does not have it.
  void require(const std::string& key, const std::string& value);
  void refuse(const std::string& key, const std::string& value);
  // Everything that the other one asks for, too.
  void add(const LabelSelector& other);

  bool matches(const Labels& labels) const;
  // One label that every match carries, for indexes.
  std::optional<std::pair<std::string, std::string>> anchor() const;

 private:
  struct Expression {
    std::string key;
    std::string op;  // In, NotIn, Exists, DoesNotExist, Gt, Lt
    std::vector<std::string> values;
  };
  friend bool holds(const Expression& e, const Labels& labels);
  static std::vector<Expression> expressions_of(const api::json::array& list);

  Labels equal_;
  std::vector<Expression> expressions_;

 public:
  // matchExpressions of a node selector term: the same operators plus Gt and Lt.
  static LabelSelector expressions(const api::json::array& list);
};

}  // namespace trama::control
