// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <map>
#include <set>
#include <string>

#include "control/loops/label_selector.h"

namespace trama::control {

// Objects of a namespace by one of their labels, so that a change of one pod does not look at every Service.
class LabelIndex {
 public:
  void put(const std::string& ns, const std::string& name, const Labels& labels);
  void remove(const std::string& ns, const std::string& name);
  // Names of the objects that carry the label.
  const std::set<std::string>& with(const std::string& ns, const std::pair<std::string, std::string>& label) const;
  void clear();

 private:
  using Place = std::pair<std::string, std::pair<std::string, std::string>>;  // namespace, label
  std::map<Place, std::set<std::string>> names_;
  std::map<std::pair<std::string, std::string>, Labels> labels_;
};

}  // namespace trama::control
