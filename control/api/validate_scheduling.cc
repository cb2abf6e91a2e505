// SPDX-License-Identifier: GPL-2.0-or-later
// What a pod may say about where it runs: affinity and topology spread constraints, in upstream's words.
#include <algorithm>
#include <set>

#include "control/api/validate_rules.h"

namespace trama::api {
namespace {

constexpr const char* kRequired = "requiredDuringSchedulingIgnoredDuringExecution";
constexpr const char* kPreferred = "preferredDuringSchedulingIgnoredDuringExecution";
constexpr std::string_view kNotPositive = "must be greater than zero";
constexpr std::string_view kKeyRule =
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

template <class F>
void each_object(const json::object& o, const char* list, const std::string& path, F&& f) {
  const auto& items = array_at(o, list);
  for (std::size_t i = 0; i < items.size(); ++i)
    if (items[i].is_object()) f(items[i].get_object(), fmt::format("{}.{}[{}]", path, list, i));
}

void label_key(Causes& out, const std::string& key, const std::string& path) {
  if (!is_label_key(key)) invalid(out, path, in_quotes(key), kKeyRule);
}

void topology_key(Causes& out, const json::object& o, const std::string& path) {
  auto key = text_at(o, "topologyKey");
  if (key.empty()) return required(out, path + ".topologyKey", "can not be empty");
  label_key(out, key, path + ".topologyKey");
}

void weight(Causes& out, const json::object& o, const std::string& path) {
  if (auto w = int_at(o, "weight"); w < 1 || w > 100)
    invalid(out, path + ".weight", std::to_string(w), "must be in the range 1-100");
}

// ---- nodes

void node_expression(Causes& out, const json::object& e, const std::string& path) {
  auto op = text_at(e, "operator");
  auto values = array_at(e, "values").size();
  if (op == "In" || op == "NotIn") {
    if (values == 0) required(out, path + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
  } else if (op == "Exists" || op == "DoesNotExist") {
    if (values > 0)
      forbidden(out, path + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
  } else if (op == "Gt" || op == "Lt") {
    if (values != 1) required(out, path + ".values", "must be specified single value when `operator` is 'Lt' or 'Gt'");
  } else {
    invalid(out, path + ".operator", in_quotes(op), "not a valid selector operator");
  }
  label_key(out, text_at(e, "key"), path + ".key");
}

void node_field(Causes& out, const json::object& e, const std::string& path) {
  auto op = text_at(e, "operator"), key = text_at(e, "key");
  if (op != "In" && op != "NotIn")
    invalid(out, path + ".operator", in_quotes(op), "not a valid selector operator");
  else if (array_at(e, "values").size() != 1)
    required(out, path + ".values",
             "must be only one value when `operator` is 'In' or 'NotIn' for node field selector");
  if (key != "metadata.name") invalid(out, path + ".key", in_quotes(key), "not a valid field selector key");
}

void node_term(Causes& out, const json::object& term, const std::string& path) {
  each_object(term, "matchExpressions", path,
              [&](const json::object& e, const std::string& p) { node_expression(out, e, p); });
  each_object(term, "matchFields", path, [&](const json::object& e, const std::string& p) { node_field(out, e, p); });
}

void node_affinity(Causes& out, const json::object& affinity, const std::string& path) {
  if (const auto* must = affinity.if_contains(kRequired); must != nullptr && must->is_object()) {
    auto here = path + "." + kRequired;
    if (array_at(must->get_object(), "nodeSelectorTerms").empty())
      required(out, here + ".nodeSelectorTerms", "must have at least one node selector term");
    each_object(must->get_object(), "nodeSelectorTerms", here,
                [&](const json::object& t, const std::string& p) { node_term(out, t, p); });
  }
  each_object(affinity, kPreferred, path, [&](const json::object& t, const std::string& p) {
    weight(out, t, p);
    node_term(out, object_at(t, "preference"), p + ".preference");
  });
}

// ---- pods

std::set<std::string> selector_keys(const json::object& o) {
  std::set<std::string> keys;
  for (const auto& [k, v] : object_at(o, "labelSelector.matchLabels")) keys.emplace(k);
  for (const auto& e : array_at(o, "labelSelector.matchExpressions"))
    if (e.is_object()) keys.insert(text_at(e.get_object(), "key"));
  return keys;
}

// matchLabelKeys or mismatchLabelKeys.
void keys_of_the_pod(Causes& out, const json::object& o, const char* field, const std::string& path) {
  const auto& list = array_at(o, field);
  if (list.empty()) return;
  auto here = path + "." + field;
  if (!o.contains("labelSelector")) return forbidden(out, here, "must not be specified when labelSelector is not set");
  auto taken = selector_keys(o);
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (!list[i].is_string()) continue;
    std::string key(list[i].get_string());
    auto at_item = fmt::format("{}[{}]", here, i);
    label_key(out, key, at_item);
    if (taken.contains(key))
      invalid(out, at_item, in_quotes(key), fmt::format("exists in both {} and labelSelector", field));
  }
}

void pod_term(Causes& out, const json::object& term, const std::string& path) {
  selector(out, term, "labelSelector", path);
  selector(out, term, "namespaceSelector", path);
  const auto& namespaces = array_at(term, "namespaces");
  for (std::size_t i = 0; i < namespaces.size(); ++i)
    if (namespaces[i].is_string() && !is_dns_label(std::string_view(namespaces[i].get_string())))
      invalid(out, fmt::format("{}.namespaces[{}]", path, i), shown(namespaces[i]), kLabelRule);
  topology_key(out, term, path);
  keys_of_the_pod(out, term, "matchLabelKeys", path);
  keys_of_the_pod(out, term, "mismatchLabelKeys", path);
  const auto& match = array_at(term, "matchLabelKeys");
  const auto& mismatch = array_at(term, "mismatchLabelKeys");
  for (std::size_t i = 0; i < match.size(); ++i)
    if (std::find(mismatch.begin(), mismatch.end(), match[i]) != mismatch.end())
      invalid(out, fmt::format("{}.matchLabelKeys[{}]", path, i), shown(match[i]),
              "exists in both matchLabelKeys and mismatchLabelKeys");
}

void pod_affinity(Causes& out, const json::object& affinity, const std::string& path) {
  each_object(affinity, kRequired, path, [&](const json::object& t, const std::string& p) { pod_term(out, t, p); });
  each_object(affinity, kPreferred, path, [&](const json::object& t, const std::string& p) {
    weight(out, t, p);
    pod_term(out, object_at(t, "podAffinityTerm"), p + ".podAffinityTerm");
  });
}

// ---- spreading

void constraint(Causes& out, const json::object& c, const std::string& path) {
  if (auto n = int_at(c, "maxSkew"); n <= 0) invalid(out, path + ".maxSkew", std::to_string(n), kNotPositive);
  topology_key(out, c, path);
  auto action = text_at(c, "whenUnsatisfiable");
  if (action.empty())  // any other wrong one has been found by the schema
    not_supported(out, path + ".whenUnsatisfiable", action, R"("DoNotSchedule", "ScheduleAnyway")");
  if (c.contains("minDomains")) {
    auto n = int_at(c, "minDomains");
    if (n <= 0) invalid(out, path + ".minDomains", std::to_string(n), kNotPositive);
    if (action != "DoNotSchedule")
      invalid(out, path + ".minDomains", std::to_string(n),
              fmt::format("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}", action));
  }
  selector(out, c, "labelSelector", path);
  keys_of_the_pod(out, c, "matchLabelKeys", path);
}

}  // namespace

void scheduling_rules(Causes& out, const json::object& spec, const std::string& path) {
  const auto& affinity = object_at(spec, "affinity");
  auto here = path + ".affinity";
  node_affinity(out, object_at(affinity, "nodeAffinity"), here + ".nodeAffinity");
  pod_affinity(out, object_at(affinity, "podAffinity"), here + ".podAffinity");
  pod_affinity(out, object_at(affinity, "podAntiAffinity"), here + ".podAntiAffinity");
  std::set<std::string> seen;
  each_object(spec, "topologySpreadConstraints", path, [&](const json::object& c, const std::string& p) {
    constraint(out, c, p);
    auto pair = fmt::format("{{{}, {}}}", text_at(c, "topologyKey"), text_at(c, "whenUnsatisfiable"));
    if (!seen.insert(pair).second) duplicate(out, p + ".{topologyKey, whenUnsatisfiable}", in_quotes(pair));
  });
}

}  // namespace trama::api
