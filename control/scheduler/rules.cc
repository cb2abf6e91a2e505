// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/scheduler/rules.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::control {

namespace json = api::json;

namespace {

constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";

// Numbers that the API has checked; whatever else is stored must not run over.
std::int64_t number_at(const json::object& o, std::string_view name, std::int64_t otherwise, std::int64_t most) {
  return std::clamp<std::int64_t>(api::int_at(o, name, otherwise), 0, most);
}

std::vector<std::string> texts_at(const json::object& o, std::string_view path) {
  std::vector<std::string> out;
  for (const auto& v : api::array_at(o, path))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}

// matchLabelKeys and mismatchLabelKeys: what the pod itself carries becomes part of the selector.
void bind_keys(PodSelector& s, const json::object& o, const Labels& own) {
  if (!s.labels) return;
  for (const auto& key : texts_at(o, "matchLabelKeys"))
    if (auto it = own.find(key); it != own.end()) {
      s.labels->require(key, it->second);
      s.text += fmt::format("|{}={}", key, it->second);
    }
  for (const auto& key : texts_at(o, "mismatchLabelKeys"))
    if (auto it = own.find(key); it != own.end()) {
      s.labels->refuse(key, it->second);
      s.text += fmt::format("|{}!={}", key, it->second);
    }
}

PodSelector selector_at(const json::object& o) {
  PodSelector s;
  const auto* v = o.if_contains("labelSelector");
  if (v == nullptr || !v->is_object()) {
    s.text = "|nothing";
    return s;
  }
  s.labels = LabelSelector::of(v->get_object());
  s.text = "|" + json::serialize(*v);
  return s;
}

PodTerm term_of(const json::object& o, std::int64_t weight, const std::string& ns, const Labels& own) {
  PodTerm t;
  t.pods = selector_at(o);
  bind_keys(t.pods, o, own);
  for (auto& n : texts_at(o, "namespaces")) t.pods.namespaces.insert(std::move(n));
  const auto* by_label = o.if_contains("namespaceSelector");
  std::string where;
  if (by_label != nullptr && by_label->is_object()) {
    t.pods.in_namespaces = LabelSelector::of(by_label->get_object());
    where = json::serialize(*by_label);
  } else if (t.pods.namespaces.empty()) {
    t.pods.namespaces.insert(ns);
  }
  t.pods.text = fmt::format("{}|{}{}", fmt::join(t.pods.namespaces, ","), where, t.pods.text);
  t.topology_key = api::text_at(o, "topologyKey");
  t.weight = weight;
  return t;
}

void read_terms(const json::object& affinity, const std::string& ns, const Labels& own, std::vector<PodTerm>& required,
                std::vector<PodTerm>& preferred) {
  for (const auto& v : api::array_at(affinity, kRequired))
    if (const auto* o = v.if_object()) required.push_back(term_of(*o, 0, ns, own));
  for (const auto& v : api::array_at(affinity, kPreferred))
    if (const auto* o = v.if_object())
      preferred.push_back(term_of(api::object_at(*o, "podAffinityTerm"), number_at(*o, "weight", 0, 100), ns, own));
}

SpreadConstraint constraint_of(const json::object& o, const std::string& ns, const Labels& own) {
  SpreadConstraint c;
  c.pods = selector_at(o);
  bind_keys(c.pods, o, own);
  c.pods.namespaces.insert(ns);
  c.pods.text = ns + "|" + c.pods.text;
  c.topology_key = api::text_at(o, "topologyKey");
  c.max_skew = number_at(o, "maxSkew", 1, INT32_MAX);
  c.min_domains = number_at(o, "minDomains", 1, INT32_MAX);
  c.hard = api::text_at(o, "whenUnsatisfiable") != "ScheduleAnyway";
  c.honor_affinity = api::text_at(o, "nodeAffinityPolicy") != "Ignore";
  c.honor_taints = api::text_at(o, "nodeTaintsPolicy") == "Honor";
  return c;
}

}  // namespace

bool selects(const PodSelector& which, const std::string& ns, const Labels& labels, const Namespaces& namespaces) {
  if (!which.labels) return false;
  if (!which.namespaces.contains(ns)) {
    if (!which.in_namespaces) return false;
    static const Labels none;
    auto it = namespaces.find(ns);
    if (!which.in_namespaces->matches(it == namespaces.end() ? none : it->second)) return false;
  }
  return which.labels->matches(labels);
}

PodSelector pods_in(const std::string& ns, LabelSelector labels, const std::string& text) {
  PodSelector s;
  s.namespaces.insert(ns);
  s.labels = std::move(labels);
  s.text = ns + "|" + text;
  return s;
}

std::shared_ptr<const PodRules> rules_of(const json::object& spec, const std::string& ns, const Labels& labels) {
  const auto& near = api::object_at(spec, "affinity.podAffinity");
  const auto& away = api::object_at(spec, "affinity.podAntiAffinity");
  const auto& spread = api::array_at(spec, "topologySpreadConstraints");
  if (near.empty() && away.empty() && spread.empty()) return nullptr;
  auto out = std::make_shared<PodRules>();
  read_terms(near, ns, labels, out->near, out->rather_near);
  read_terms(away, ns, labels, out->away, out->rather_away);
  for (const auto& v : spread)
    if (const auto* o = v.if_object()) out->spread.push_back(constraint_of(*o, ns, labels));
  if (!near.empty() || !away.empty()) out->carried = json::serialize(near) + json::serialize(away);
  for (const auto& c : out->spread)
    if (c.honor_taints) out->tolerations = json::serialize(api::array_at(spec, "tolerations"));
  return out;
}

std::vector<SpreadConstraint> default_spread(const PodSelector& pods) {
  SpreadConstraint host;
  host.pods = pods;
  host.topology_key = "kubernetes.io/hostname";
  host.max_skew = 3;
  host.hard = false;
  auto zone = host;
  zone.topology_key = "topology.kubernetes.io/zone";
  zone.max_skew = 5;
  return {host, zone};
}

}  // namespace trama::control
