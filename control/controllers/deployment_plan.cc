// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/deployment_plan.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "base/digest.h"
#include "control/loops/label_selector.h"

namespace trama::control {

namespace {

std::int64_t replicas_of(const json::object& o) {
  return std::max<std::int64_t>(0, api::int_at(o, "spec.replicas", 1));
}

std::int64_t revision_of(const json::object& o) {
  const auto& annotations = api::object_at(o, "metadata.annotations");
  const auto* v = annotations.if_contains(kRevision);
  std::int64_t n = 0;
  if (v != nullptr && v->is_string())
    std::from_chars(v->get_string().data(), v->get_string().data() + v->get_string().size(), n);
  return n;
}

// "25%" or a number; percentages of `whole`, rounded up or down.
std::int64_t int_or_percent(const json::value* v, std::int64_t whole, bool up, std::string_view otherwise) {
  std::string text(otherwise);
  if (v != nullptr && v->is_number()) return v->to_number<std::int64_t>();
  if (v != nullptr && v->is_string()) text = v->get_string();
  std::int64_t n = 0;
  std::from_chars(text.data(), text.data() + text.size(), n);
  if (!text.ends_with("%")) return n;
  return up ? (n * whole + 99) / 100 : n * whole / 100;
}

json::object without_hash(const json::object& pod_template) {
  json::object t = pod_template;
  auto& labels = api::make_object_at(t, "metadata.labels");
  labels.erase(kTemplateHash);
  t["metadata"].as_object().erase("creationTimestamp");
  return t;
}

bool same_template(const json::object& a, const json::object& b) {
  return canonical_text(json::value(without_hash(a))) == canonical_text(json::value(without_hash(b)));
}

// Annotations of the Deployment that its sets carry too, so that going back to one brings them back.
bool is_carried(std::string_view key) {
  static constexpr std::string_view kOwn[] = {"kubectl.kubernetes.io/last-applied-configuration",
                                              kRevision,
                                              kRevisionHistory,
                                              kDesiredReplicas,
                                              kMaxReplicas,
                                              "deprecated.deployment.rollback.to"};
  return std::find(std::begin(kOwn), std::end(kOwn), key) == std::end(kOwn);
}

// The numbers that a set had before, "1,3": the newest ones that fit.
void remember_revision(json::object& annotations, std::int64_t number) {
  const auto* had = annotations.if_contains(kRevisionHistory);
  std::string list = had && had->is_string() ? std::string(had->get_string()) : "";
  list += (list.empty() ? "" : ",") + std::to_string(number);
  constexpr std::size_t kLongest = 2000;
  while (list.size() > kLongest) list.erase(0, list.find(',') + 1);
  annotations[kRevisionHistory] = list;
}

void carry_annotations(const api::Object& d, json::object& annotations) {
  for (const auto& [key, value] : api::object_at(d.body, "metadata.annotations"))
    if (is_carried(key)) annotations[key] = value;
}

json::object new_replica_set(const api::Object& d, const std::string& hash, std::int64_t replicas,
                             std::int64_t revision, Time now) {
  api::Key key;
  key.resource = "replicasets";
  key.ns = d.key.ns;
  key.name = d.key.name + "-" + hash;
  auto rs = new_object("apps/v1", "ReplicaSet", key, now);
  auto& metadata = rs["metadata"].as_object();
  metadata["generation"] = 1;
  json::object labels = api::object_at(d.body, "spec.template.metadata.labels");
  labels[kTemplateHash] = hash;
  metadata["labels"] = labels;
  json::object annotations;
  carry_annotations(d, annotations);
  annotations[kRevision] = std::to_string(revision);
  annotations[kDesiredReplicas] = std::to_string(replicas_of(d.body));
  annotations[kMaxReplicas] = std::to_string(replicas_of(d.body) + rolling_bounds(d.body).surge);
  metadata["annotations"] = std::move(annotations);
  json::array owners;
  owners.push_back(owner_reference(d));
  metadata["ownerReferences"] = std::move(owners);
  json::object spec;
  spec["replicas"] = replicas;
  if (auto min = api::int_at(d.body, "spec.minReadySeconds"); min != 0) spec["minReadySeconds"] = min;
  json::object selector = api::object_at(d.body, "spec.selector");
  api::make_object_at(selector, "matchLabels")[kTemplateHash] = hash;
  spec["selector"] = std::move(selector);
  json::object pod_template = api::object_at(d.body, "spec.template");
  api::make_object_at(pod_template, "metadata.labels")[kTemplateHash] = hash;
  spec["template"] = std::move(pod_template);
  rs["spec"] = std::move(spec);
  json::object status;
  status["replicas"] = 0;
  rs["status"] = std::move(status);
  return rs;
}

struct Sum {
  std::int64_t spec = 0, actual = 0, ready = 0, available = 0;
};
Sum sum_of(const std::vector<api::ObjectPtr>& sets) {
  Sum s;
  for (const auto& rs : sets) {
    s.spec += replicas_of(rs->body);
    s.actual += api::int_at(rs->body, "status.replicas");
    s.ready += api::int_at(rs->body, "status.readyReplicas");
    s.available += api::int_at(rs->body, "status.availableReplicas");
  }
  return s;
}

// How the pieces of one plan look at the world.
struct Rollout {
  const api::Object& d;
  api::ObjectPtr current;           // null when it must be created
  std::vector<api::ObjectPtr> old;  // oldest first
  std::vector<api::ObjectPtr> all;
  std::size_t old_pods_alive = 0;
  DeploymentPlan& plan;

  void scale(const api::ObjectPtr& rs, std::int64_t to) {
    auto from = replicas_of(rs->body);
    if (from == to) return;
    plan.scale.push_back({rs, to});
    plan.notes.push_back(
        fmt::format("Scaled {} replica set {} to {} from {}", to > from ? "up" : "down", rs->key.name, to, from));
  }
  std::int64_t desired() const { return replicas_of(d.body); }
  std::int64_t current_replicas() const { return current ? replicas_of(current->body) : 0; }
};

// How large the new set may become now: up to desired + surge over all sets.
std::int64_t new_set_size(const Rollout& r) {
  auto bounds = rolling_bounds(r.d.body);
  auto total = sum_of(r.all).spec;
  auto limit = r.desired() + bounds.surge;
  auto have = r.current_replicas();
  if (have >= r.desired()) return r.desired();
  if (total >= limit) return have;
  return std::min(have + (limit - total), r.desired());
}

// Shrinks old sets as far as availability allows: first pods that are not ready anyway, then ready ones.
void shrink_old(Rollout& r) {
  auto bounds = rolling_bounds(r.d.body);
  auto sums = sum_of(r.all);
  auto old_spec = sum_of(r.old).spec;
  if (old_spec == 0) return;
  auto minimum = r.desired() - bounds.unavailable;
  std::int64_t new_unavailable =
      r.current ? r.current_replicas() - api::int_at(r.current->body, "status.availableReplicas") : 0;
  auto may_go = sums.spec - minimum - std::max<std::int64_t>(0, new_unavailable);
  if (may_go <= 0) return;
  std::map<std::string, std::int64_t> size;
  for (const auto& rs : r.old) size[rs->key.name] = replicas_of(rs->body);
  for (const auto& rs : r.old) {
    auto unhealthy = size[rs->key.name] - api::int_at(rs->body, "status.availableReplicas");
    auto n = std::min({may_go, unhealthy, size[rs->key.name]});
    if (n <= 0) continue;
    size[rs->key.name] -= n;
    may_go -= n;
  }
  auto healthy_may_go = std::min(may_go, sums.available - minimum);
  for (const auto& rs : r.old) {
    auto n = std::min(healthy_may_go, size[rs->key.name]);
    if (n <= 0) continue;
    size[rs->key.name] -= n;
    healthy_may_go -= n;
  }
  for (const auto& rs : r.old) r.scale(rs, size[rs->key.name]);
}

// Paused in the middle of a rollout, or scaled then: the sets keep their proportions.
void scale_proportionally(Rollout& r) {
  std::vector<api::ObjectPtr> active;
  for (const auto& rs : r.all)
    if (replicas_of(rs->body) > 0) active.push_back(rs);
  if (active.size() <= 1) {
    auto target = active.empty() ? r.current : active.front();
    if (target && (active.size() == 1 || r.desired() > 0)) r.scale(target, r.desired());
    return;
  }
  auto total = sum_of(active).spec;
  auto limit = r.desired() == 0 ? 0 : r.desired() + rolling_bounds(r.d.body).surge;
  if (total <= limit && total >= r.desired()) return;
  auto wanted = total > limit ? limit : r.desired();
  std::stable_sort(active.begin(), active.end(),
                   [](const auto& a, const auto& b) { return replicas_of(a->body) > replicas_of(b->body); });
  std::int64_t given = 0;
  std::vector<std::int64_t> sizes;
  for (const auto& rs : active) {
    sizes.push_back(replicas_of(rs->body) * wanted / total);
    given += sizes.back();
  }
  sizes.front() += wanted - given;  // the largest takes what rounding left over
  for (std::size_t i = 0; i < active.size(); ++i) r.scale(active[i], sizes[i]);
}

void prune(Rollout& r) {
  auto keep = api::int_at(r.d.body, "spec.revisionHistoryLimit", 10);
  std::vector<api::ObjectPtr> empty;
  for (const auto& rs : r.old)
    if (replicas_of(rs->body) == 0 && api::int_at(rs->body, "status.replicas") == 0 && !is_terminating(rs->body))
      empty.push_back(rs);
  std::sort(empty.begin(), empty.end(),
            [](const auto& a, const auto& b) { return revision_of(a->body) < revision_of(b->body); });
  for (std::size_t i = 0; static_cast<std::int64_t>(empty.size() - i) > keep; ++i) r.plan.prune.push_back(empty[i]);
}

void put_number(json::object& status, const char* field, std::int64_t n) {
  if (n == 0)
    status.erase(field);
  else
    status[field] = n;
}

void update_status(Rollout& r, Time now) {
  auto& body = r.plan.body;
  const auto& before = r.d.body;
  auto sums = sum_of(r.all);
  auto updated = r.current ? api::int_at(r.current->body, "status.replicas") : 0;
  auto& status = api::make_object_at(body, "status");
  put_number(status, "observedGeneration", api::int_at(before, "metadata.generation"));
  put_number(status, "replicas", sums.actual);
  put_number(status, "updatedReplicas", updated);
  put_number(status, "readyReplicas", sums.ready);
  put_number(status, "availableReplicas", sums.available);
  put_number(status, "unavailableReplicas",
             std::max<std::int64_t>(0, std::max(sums.spec, r.desired()) - sums.available));
  bool enough = sums.available >= r.desired() - rolling_bounds(before).unavailable;
  set_condition(
      body, "Available", enough ? "True" : "False", enough ? "MinimumReplicasAvailable" : "MinimumReplicasUnavailable",
      enough ? "Deployment has minimum availability." : "Deployment does not have minimum availability.", now);

  auto name = r.current       ? r.current->key.name
              : r.plan.create ? api::text_at(*r.plan.create, "metadata.name")
                              : std::string();
  bool complete = updated == r.desired() && sums.actual == r.desired() && sums.available == r.desired() &&
                  api::int_at(before, "metadata.generation") == api::int_at(status, "observedGeneration");
  const auto& was = api::object_at(before, "status");
  bool moved = r.plan.create.has_value() || updated > api::int_at(was, "updatedReplicas") ||
               sums.ready > api::int_at(was, "readyReplicas") ||
               sums.available > api::int_at(was, "availableReplicas") ||
               sums.actual - updated < api::int_at(was, "replicas") - api::int_at(was, "updatedReplicas");
  auto progressing = [&](std::string_view state, std::string_view reason, const std::string& message, bool touch) {
    if (set_condition(body, "Progressing", state, reason, message, now) || touch)
      for (auto& c : status["conditions"].as_array())
        if (api::text_at(c.get_object(), "type") == "Progressing")
          c.get_object()["lastUpdateTime"] = base::format_seconds(now);
  };
  const auto* had = condition(before, "Progressing");
  if (api::bool_at(before, "spec.paused")) {
    progressing("Unknown", "DeploymentPaused", "Deployment is paused", false);
  } else if (complete) {
    progressing("True", "NewReplicaSetAvailable", fmt::format("ReplicaSet \"{}\" has successfully progressed.", name),
                false);
  } else if (moved || had == nullptr || api::text_at(*had, "reason") == "DeploymentPaused" ||
             (api::text_at(*had, "reason") == "NewReplicaSetAvailable")) {
    progressing("True", r.plan.create ? "NewReplicaSetCreated" : "ReplicaSetUpdated",
                r.plan.create ? fmt::format("Created new replica set \"{}\"", name)
                              : fmt::format("ReplicaSet \"{}\" is progressing.", name),
                true);
  } else {
    auto since = base::parse_timestamp(api::text_at(*had, "lastUpdateTime"));
    auto deadline =
        since.value_or(now) + std::chrono::seconds(api::int_at(before, "spec.progressDeadlineSeconds", 600));
    if (now >= deadline)
      progressing("False", "ProgressDeadlineExceeded",
                  fmt::format("ReplicaSet \"{}\" has timed out progressing.", name), false);
    else
      r.plan.look_again = deadline;
  }
}

}  // namespace

Bounds rolling_bounds(const json::object& d) {
  Bounds b;
  auto desired = replicas_of(d);
  if (api::text_at(d, "spec.strategy.type") == "Recreate") return b;
  b.surge = int_or_percent(api::at(d, "spec.strategy.rollingUpdate.maxSurge"), desired, true, "25%");
  b.unavailable = int_or_percent(api::at(d, "spec.strategy.rollingUpdate.maxUnavailable"), desired, false, "25%");
  b.unavailable = std::min(b.unavailable, desired);
  if (b.surge == 0 && b.unavailable == 0) b.unavailable = 1;
  return b;
}

std::string template_hash(const json::object& pod_template, std::int64_t collisions) {
  auto digest =
      base::sha256(canonical_text(json::value(without_hash(pod_template))) + "/" + std::to_string(collisions));
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string text;
  for (std::size_t i = 0; i < 10; ++i) text += kAlphabet[digest[i] % kAlphabet.size()];
  return text;
}

DeploymentPlan plan_deployment(const api::Object& d, const std::vector<api::ObjectPtr>& sets,
                               std::size_t old_pods_alive, Time now) {
  DeploymentPlan plan;
  plan.body = d.body;
  Rollout r{d, nullptr, {}, {}, old_pods_alive, plan};
  auto selector = LabelSelector::of(api::object_at(d.body, "spec.selector"));
  const auto& wanted_template = api::object_at(d.body, "spec.template");
  std::int64_t newest = 0;
  for (const auto& rs : sets) {
    if (!is_controlled_by(rs->body, d.uid)) {
      if (controller_of(rs->body) != nullptr || !selector.matches(rs->labels) || is_terminating(rs->body)) continue;
      plan.adopt.push_back(rs);
    }
    r.all.push_back(rs);
  }
  // Oldest first; of several sets with the wanted template the oldest is the current one.
  std::stable_sort(r.all.begin(), r.all.end(), [](const auto& a, const auto& b) {
    return std::pair(api::text_at(a->body, "metadata.creationTimestamp"), a->key.name) <
           std::pair(api::text_at(b->body, "metadata.creationTimestamp"), b->key.name);
  });
  for (const auto& rs : r.all) {
    if (!r.current && !is_terminating(rs->body) &&
        same_template(api::object_at(rs->body, "spec.template"), wanted_template)) {
      r.current = rs;
      continue;
    }
    r.old.push_back(rs);
    newest = std::max(newest, revision_of(rs->body));
  }
  plan.current = r.current;
  bool paused = api::bool_at(d.body, "spec.paused");
  bool recreate = api::text_at(d.body, "spec.strategy.type") == "Recreate";
  auto revision = newest + 1;
  if (r.current && revision_of(r.current->body) >= revision) revision = revision_of(r.current->body);

  if (is_terminating(d.body)) {
    plan.body = d.body;
    return plan;
  }
  if (paused) {
    scale_proportionally(r);
  } else if (recreate) {
    for (const auto& rs : r.old) r.scale(rs, 0);
    bool clear = sum_of(r.old).spec == 0 && old_pods_alive == 0;
    if (r.current) {
      if (clear) r.scale(r.current, r.desired());
    } else if (clear) {
      plan.create = new_replica_set(d, template_hash(wanted_template, api::int_at(d.body, "status.collisionCount")),
                                    r.desired(), revision, now);
    }
  } else if (!r.current) {
    auto size = new_set_size(r);
    plan.create = new_replica_set(d, template_hash(wanted_template, api::int_at(d.body, "status.collisionCount")), size,
                                  revision, now);
    if (size > 0)
      plan.notes.push_back(
          fmt::format("Scaled up replica set {} to {}", api::text_at(*plan.create, "metadata.name"), size));
  } else {
    auto size = new_set_size(r);
    r.scale(r.current, size);
    // One step at a time: old sets shrink in the pass after the new one has grown.
    if (size == r.current_replicas()) shrink_old(r);
  }
  if (r.current && !paused) {
    auto annotations = api::object_at(r.current->body, "metadata.annotations");
    carry_annotations(d, annotations);
    if (auto had = revision_of(r.current->body); had != revision) {
      annotations[kRevision] = std::to_string(revision);
      if (had != 0) remember_revision(annotations, had);
    }
    if (annotations != api::object_at(r.current->body, "metadata.annotations")) {
      plan.revised = r.current->body;
      api::make_object_at(*plan.revised, "metadata")["annotations"] = std::move(annotations);
    }
  }
  prune(r);
  if ((r.current || plan.create) && !paused)
    api::make_object_at(plan.body, "metadata.annotations")[kRevision] = std::to_string(revision);
  update_status(r, now);
  plan.changed = json::value(plan.body) != json::value(d.body);
  return plan;
}

}  // namespace trama::control
