// SPDX-License-Identifier: GPL-2.0-or-later
// The revisions of a DaemonSet's template: ControllerRevisions, as `kubectl rollout history` and `undo` read them.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/loops/meta.h"

namespace trama::control {

constexpr std::string_view kRevisionHash = "controller-revision-hash";

struct DaemonSetHistory {
  std::string hash;                    // label of pods of the present template, and of its revision
  std::optional<json::object> create;  // the revision of a template that is new
  std::vector<api::ObjectPtr> adopt;   // match the selector and belong to nobody
  api::ObjectPtr current;              // the revision of the present template, when there is one
  std::int64_t number = 0;             // that it has to have: the present template is always the newest
  std::vector<api::ObjectPtr> forget;  // beyond revisionHistoryLimit, and no pod is of them
  bool changes() const {
    return create || !adopt.empty() || !forget.empty() || (current && api::int_at(current->body, "revision") != number);
  }
};

// `revisions` are the ControllerRevisions of the namespace, `pods` those of the set. A set on its way out changes
// nothing.
DaemonSetHistory plan_history(const api::Object& set, const std::vector<api::ObjectPtr>& revisions,
                              const std::vector<api::ObjectPtr>& pods, Time now);

}  // namespace trama::control
