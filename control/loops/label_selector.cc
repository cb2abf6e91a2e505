// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/label_selector.h"

#include <algorithm>
#include <charconv>

namespace trama::control {

namespace {
std::optional<std::int64_t> integer(const std::string& text) {
  std::int64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return n;
}
}  // namespace

bool holds(const LabelSelector::Expression& e, const Labels& labels) {
  auto it = labels.find(e.key);
  bool present = it != labels.end();
  if (e.op == "Exists") return present;
  if (e.op == "DoesNotExist") return !present;
  bool listed = present && std::find(e.values.begin(), e.values.end(), it->second) != e.values.end();
  if (e.op == "In") return listed;
  if (e.op == "NotIn") return !listed;
  if ((e.op == "Gt" || e.op == "Lt") && present && e.values.size() == 1) {
    auto have = integer(it->second);
    auto limit = integer(e.values[0]);
    if (have && limit) return e.op == "Gt" ? *have > *limit : *have < *limit;
  }
  return false;  // an operator that we do not know matches nothing
}

std::vector<LabelSelector::Expression> LabelSelector::expressions_of(const api::json::array& list) {
  std::vector<Expression> out;
  for (const auto& v : list) {
    const auto* o = v.if_object();
    if (o == nullptr) continue;
    Expression e;
    e.key = api::text_at(*o, "key");
    e.op = api::text_at(*o, "operator");
    for (const auto& x : api::array_at(*o, "values"))
      if (x.is_string()) e.values.emplace_back(x.get_string());
    out.push_back(std::move(e));
  }
  return out;
}

LabelSelector LabelSelector::of(const api::json::object& selector) {
  LabelSelector s;
  s.equal_ = api::strings_at(selector, "matchLabels");
  s.expressions_ = expressions_of(api::array_at(selector, "matchExpressions"));
  return s;
}

LabelSelector LabelSelector::equalities(Labels labels) {
  LabelSelector s;
  s.equal_ = std::move(labels);
  return s;
}

LabelSelector LabelSelector::expressions(const api::json::array& list) {
  LabelSelector s;
  s.expressions_ = expressions_of(list);
  return s;
}

void LabelSelector::require(const std::string& key, const std::string& value) {
  expressions_.push_back({key, "In", {value}});
}

void LabelSelector::refuse(const std::string& key, const std::string& value) {
  expressions_.push_back({key, "NotIn", {value}});
}

void LabelSelector::add(const LabelSelector& other) {
  for (const auto& [key, value] : other.equal_) require(key, value);
  expressions_.insert(expressions_.end(), other.expressions_.begin(), other.expressions_.end());
}

bool LabelSelector::matches(const Labels& labels) const {
  for (const auto& [k, v] : equal_) {
    auto it = labels.find(k);
    if (it == labels.end() || it->second != v) return false;
  }
  return std::all_of(expressions_.begin(), expressions_.end(), [&](const Expression& e) { return holds(e, labels); });
}

std::optional<std::pair<std::string, std::string>> LabelSelector::anchor() const {
  if (!equal_.empty()) return *equal_.begin();
  return std::nullopt;
}

}  // namespace trama::control
