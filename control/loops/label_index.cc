// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/label_index.h"

namespace trama::control {

namespace {
const std::set<std::string> kNone;
}

void LabelIndex::put(const std::string& ns, const std::string& name, const Labels& labels) {
  // Most changes of a pod are to its status: its labels stay, and nothing is to be done.
  if (auto it = labels_.find({ns, name}); it != labels_.end() && it->second == labels) return;
  remove(ns, name);
  for (const auto& label : labels) names_[{ns, label}].insert(name);
  labels_[{ns, name}] = labels;
}

void LabelIndex::remove(const std::string& ns, const std::string& name) {
  auto it = labels_.find({ns, name});
  if (it == labels_.end()) return;
  for (const auto& label : it->second) {
    auto set = names_.find({ns, label});
    if (set == names_.end()) continue;
    set->second.erase(name);
    if (set->second.empty()) names_.erase(set);
  }
  labels_.erase(it);
}

const std::set<std::string>& LabelIndex::with(const std::string& ns,
                                              const std::pair<std::string, std::string>& label) const {
  auto it = names_.find({ns, label});
  return it == names_.end() ? kNone : it->second;
}

void LabelIndex::clear() {
  names_.clear();
  labels_.clear();
}

}  // namespace trama::control
