// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/job_selector.h"

#include <fmt/format.h>

namespace trama::api {
namespace {

struct Label {
  std::string_view key;
  std::string value;
};
std::vector<Label> labels_of(const json::object& job) {
  auto uid = text_at(job, "metadata.uid"), name = text_at(job, "metadata.name");
  return {{kJobUidLabel, uid}, {"controller-uid", uid}, {kJobNameLabel, name}, {"job-name", name}};
}

}  // namespace

void generate_job_selector(json::object& job) {
  if (bool_at(job, "spec.manualSelector") || !at(job, "spec.template")) return;
  auto& labels = make_object_at(job, "spec.template.metadata.labels");
  for (const auto& l : labels_of(job))
    if (!labels.contains(l.key)) labels[l.key] = l.value;
  make_object_at(job, "spec.selector.matchLabels")[kJobUidLabel] = text_at(job, "metadata.uid");
}

std::vector<Cause> check_generated_selector(const json::object& job) {
  std::vector<Cause> out;
  auto labels = strings_at(job, "spec.template.metadata.labels");
  for (const auto& l : labels_of(job)) {
    auto it = labels.find(std::string(l.key));
    auto field = fmt::format("spec.template.metadata.labels[{}]", l.key);
    if (it == labels.end())
      out.push_back({"FieldValueRequired", fmt::format("Required value: must be '{}'", l.value), field});
    else if (it->second != l.value)
      out.push_back(
          {"FieldValueInvalid", fmt::format("Invalid value: \"{}\": must be '{}'", it->second, l.value), field});
  }
  json::object wanted, match;
  match[kJobUidLabel] = text_at(job, "metadata.uid");
  wanted["matchLabels"] = std::move(match);
  if (const auto& have = object_at(job, "spec.selector"); have != wanted)
    out.push_back(
        {"FieldValueInvalid",
         fmt::format("Invalid value: {}: `selector` not auto-generated", json::serialize(have).substr(0, 200)),
         "spec.selector"});
  return out;
}

}  // namespace trama::api
