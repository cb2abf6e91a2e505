// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/daemon_set_history.h"

#include <algorithm>
#include <set>

#include "control/controllers/deployment_plan.h"
#include "control/loops/label_selector.h"

namespace trama::control {

namespace {

constexpr const char* kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

std::string hash_of(const api::Object& o) {
  auto it = o.labels.find(std::string(kRevisionHash));
  return it == o.labels.end() ? "" : it->second;
}

std::int64_t number_of(const api::ObjectPtr& revision) { return api::int_at(revision->body, "revision"); }

// What brings the template back when it is laid over the set as a strategic merge patch.
json::object data_of(const api::Object& set) {
  json::object data, spec;
  json::object pod_template = api::object_at(set.body, "spec.template");
  pod_template["$patch"] = "replace";
  spec["template"] = std::move(pod_template);
  data["spec"] = std::move(spec);
  return data;
}

json::object revision_of(const api::Object& set, const std::string& hash, std::int64_t number, Time now) {
  auto body =
      new_object("apps/v1", "ControllerRevision", {"controllerrevisions", set.key.ns, set.key.name + "-" + hash}, now);
  auto& metadata = body["metadata"].as_object();
  auto labels = api::object_at(set.body, "spec.template.metadata.labels");
  labels[kRevisionHash] = hash;
  metadata["labels"] = std::move(labels);
  auto annotations = api::object_at(set.body, "metadata.annotations");
  annotations.erase(kLastApplied);
  if (!annotations.empty()) metadata["annotations"] = std::move(annotations);
  json::array owners;
  owners.push_back(owner_reference(set));
  metadata["ownerReferences"] = std::move(owners);
  body["data"] = data_of(set);
  body["revision"] = number;
  return body;
}

}  // namespace

DaemonSetHistory plan_history(const api::Object& set, const std::vector<api::ObjectPtr>& revisions,
                              const std::vector<api::ObjectPtr>& pods, Time now) {
  DaemonSetHistory out;
  const auto& pod_template = api::object_at(set.body, "spec.template");
  auto collisions = api::int_at(set.body, "status.collisionCount");
  out.hash = template_hash(pod_template, collisions);
  bool leaving = is_terminating(set.body);
  auto selector = LabelSelector::of(api::object_at(set.body, "spec.selector"));
  std::vector<api::ObjectPtr> own;
  for (const auto& r : revisions) {
    if (!is_controlled_by(r->body, set.uid)) {
      if (leaving || controller_of(r->body) || is_terminating(r->body) || !selector.matches(r->labels)) continue;
      out.adopt.push_back(r);
    }
    own.push_back(r);
  }
  // A template that was here before a name was taken keeps the hash that it had.
  for (std::int64_t c = 0; c <= collisions && !out.current; ++c) {
    auto hash = c == collisions ? out.hash : template_hash(pod_template, c);
    for (const auto& r : own)
      if (hash_of(*r) == hash && !is_terminating(r->body)) out.current = r, out.hash = hash;
  }
  std::vector<api::ObjectPtr> old;
  for (const auto& r : own)
    if (r != out.current) old.push_back(r);
  std::sort(old.begin(), old.end(), [](const auto& a, const auto& b) {
    return std::pair(number_of(a), a->key.name) < std::pair(number_of(b), b->key.name);
  });
  out.number = old.empty() ? 1 : number_of(old.back()) + 1;
  if (out.current) out.number = std::max(out.number, number_of(out.current));
  if (leaving) {
    out.number = out.current ? number_of(out.current) : 0;
    return out;
  }
  if (!out.current) out.create = revision_of(set, out.hash, out.number, now);

  std::set<std::string> in_use;
  for (const auto& pod : pods)
    if (!is_terminating(pod->body)) in_use.insert(hash_of(*pod));
  auto limit = api::int_at(set.body, "spec.revisionHistoryLimit", 10);
  auto too_many = static_cast<std::int64_t>(old.size()) - std::max<std::int64_t>(0, limit);
  for (const auto& r : old) {
    if (too_many <= 0) break;
    if (is_terminating(r->body) || in_use.contains(hash_of(*r))) continue;
    std::erase(out.adopt, r);
    out.forget.push_back(r);
    --too_many;
  }
  return out;
}

}  // namespace trama::control
