// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/controllers/replica_set_plan.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <tuple>

#include "control/controllers/owned_pods.h"

namespace trama::control {

namespace {

int phase_rank(const std::string& phase) {
  if (phase.empty() || phase == "Pending") return 0;
  return phase == "Unknown" ? 1 : 2;
}

std::int64_t deletion_cost(const json::object& pod) {
  // The key holds a dot, so at() with a path does not find it.
  const auto& annotations = api::object_at(pod, "metadata.annotations");
  const auto* v = annotations.if_contains("controller.kubernetes.io/pod-deletion-cost");
  if (v == nullptr || !v->is_string()) return 0;
  std::int64_t cost = 0;
  std::string_view text = v->get_string();
  std::from_chars(text.data(), text.data() + text.size(), cost);
  return cost;
}

std::int64_t restarts(const json::object& pod) {
  std::int64_t most = 0;
  for (const auto& c : api::array_at(pod, "status.containerStatuses"))
    if (const auto* o = c.if_object()) most = std::max(most, api::int_at(*o, "restartCount"));
  return most;
}

// Smaller is deleted earlier.
using Rank =
    std::tuple<bool, int, bool, std::int64_t, std::int64_t, std::string, std::int64_t, std::string, std::string>;

// RFC 3339 in UTC sorts as text; what is younger goes first, so the characters are mirrored.
std::string youngest_first(std::string time) {
  for (auto& c : time) c = static_cast<char>(127 - c);
  return time;
}

Rank rank_of(const api::Object& pod, std::int64_t neighbours) {
  const auto* ready = condition(pod.body, "Ready");
  auto ready_since = ready != nullptr ? api::text_at(*ready, "lastTransitionTime") : "";
  return {!api::text_at(pod.body, "spec.nodeName").empty(),
          phase_rank(api::text_at(pod.body, "status.phase")),
          is_pod_ready(pod.body),
          deletion_cost(pod.body),
          -neighbours,
          youngest_first(ready_since),
          -restarts(pod.body),
          youngest_first(api::text_at(pod.body, "metadata.creationTimestamp")),
          pod.key.name};
}

}  // namespace

std::vector<api::ObjectPtr> deletion_order(std::vector<api::ObjectPtr> pods) {
  std::map<std::string, std::int64_t> on_node;
  for (const auto& p : pods)
    if (auto node = api::text_at(p->body, "spec.nodeName"); !node.empty()) ++on_node[node];
  std::vector<std::pair<Rank, api::ObjectPtr>> ranked;
  for (auto& p : pods) {
    auto node = api::text_at(p->body, "spec.nodeName");
    ranked.emplace_back(rank_of(*p, node.empty() ? 0 : on_node[node]), std::move(p));
  }
  std::sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<api::ObjectPtr> out;
  for (auto& [rank, p] : ranked) out.push_back(std::move(p));
  return out;
}

ReplicaSetPlan plan_replica_set(const api::Object& rs, const std::vector<api::ObjectPtr>& pods, Time now) {
  ReplicaSetPlan plan;
  auto selector = LabelSelector::of(api::object_at(rs.body, "spec.selector"));
  auto template_labels = api::strings_at(rs.body, "spec.template.metadata.labels");
  auto min_ready = api::int_at(rs.body, "spec.minReadySeconds");
  bool leaving = is_terminating(rs.body);
  std::vector<api::ObjectPtr> mine;
  for (const auto& pod : pods) {
    auto claim = claim_on(rs, selector, *pod);
    if (claim == Claim::release) plan.release.push_back(pod);
    if (claim == Claim::adopt) plan.adopt.push_back(pod);
    if (claim == Claim::none || claim == Claim::release) continue;
    if (is_pod_active(pod->body)) mine.push_back(pod);
  }
  auto wanted = static_cast<std::size_t>(std::max<std::int64_t>(0, api::int_at(rs.body, "spec.replicas", 1)));
  if (!leaving) {
    if (mine.size() < wanted) plan.create = std::min(wanted - mine.size(), kPodBurst);
    if (mine.size() > wanted) {
      plan.remove = deletion_order(mine);
      plan.remove.resize(std::min(mine.size() - wanted, kPodBurst));
    }
  }

  std::int64_t labelled = 0, ready = 0, available = 0;
  for (const auto& pod : mine) {
    if (std::all_of(template_labels.begin(), template_labels.end(), [&](const auto& l) {
          auto it = pod->labels.find(l.first);
          return it != pod->labels.end() && it->second == l.second;
        }))
      ++labelled;
    if (!is_pod_ready(pod->body)) continue;
    ++ready;
    if (is_pod_available(pod->body, min_ready, now)) {
      ++available;
      continue;
    }
    auto since = base::parse_timestamp(api::text_at(*condition(pod->body, "Ready"), "lastTransitionTime"));
    if (!since) continue;
    auto when = *since + std::chrono::seconds(min_ready);
    plan.look_again = plan.look_again ? std::min(*plan.look_again, when) : when;
  }
  plan.status = api::object_at(rs.body, "status");
  auto put = [&plan](const char* field, std::int64_t n) {
    if (n == 0)
      plan.status.erase(field);
    else
      plan.status[field] = n;
  };
  plan.status["replicas"] = static_cast<std::int64_t>(mine.size());
  put("fullyLabeledReplicas", labelled);
  put("readyReplicas", ready);
  put("availableReplicas", available);
  put("observedGeneration", api::int_at(rs.body, "metadata.generation"));
  return plan;
}

json::object pod_from_template(const api::Object& owner) {
  json::object metadata;
  metadata["generateName"] = owner.key.name + "-";
  const auto& from = api::object_at(owner.body, "spec.template.metadata");
  for (const char* field : {"labels", "annotations", "finalizers"})
    if (const auto* v = from.if_contains(field)) metadata[field] = *v;
  json::array owners;
  owners.push_back(owner_reference(owner));
  metadata["ownerReferences"] = std::move(owners);
  json::object body;
  body["metadata"] = std::move(metadata);
  body["spec"] = api::object_at(owner.body, "spec.template.spec");
  return body;
}

}  // namespace trama::control
