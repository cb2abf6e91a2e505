// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/selector.h"

#include <algorithm>

#include <fmt/format.h>

namespace trama::api {
namespace {

constexpr std::size_t kLongest = 16'384;

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// Splits at commas outside parentheses.
std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  std::size_t start = 0;
  int depth = 0;
  for (std::size_t i = 0; i <= text.size(); ++i) {
    if (i == text.size() || (text[i] == ',' && depth == 0)) {
      out.push_back(trim(text.substr(start, i - start)));
      start = i + 1;
    } else if (text[i] == '(') {
      ++depth;
    } else if (text[i] == ')') {
      --depth;
    }
  }
  return out;
}

bool is_label_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
         c == '.' || c == '/';
}
bool is_key(std::string_view s) { return !s.empty() && std::all_of(s.begin(), s.end(), is_label_char); }
bool is_value(std::string_view s) { return s.empty() || is_key(s); }

Status wrong(std::string_view requirement) {
  return Status::bad_request(
      fmt::format("unable to parse requirement: \"{}\" (expected for example a=b, a!=b, a in (b,c), a notin "
                  "(b), a or !a)",
                  requirement.substr(0, 100)));
}

const std::vector<std::string_view>& selectable_fields(const Kind& kind) {
  static const std::vector<std::string_view> common = {"metadata.name", "metadata.namespace"};
  static const std::vector<std::string_view> pods = {
      "metadata.name",      "metadata.namespace",      "spec.nodeName",    "spec.restartPolicy",
      "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork", "status.phase",
      "status.podIP",       "status.nominatedNodeName"};
  static const std::vector<std::string_view> nodes = {"metadata.name", "metadata.namespace", "spec.unschedulable"};
  static const std::vector<std::string_view> namespaces = {"metadata.name", "metadata.namespace", "status.phase"};
  static const std::vector<std::string_view> services = {"metadata.name", "metadata.namespace", "spec.clusterIP",
                                                         "spec.type"};
  static const std::vector<std::string_view> secrets = {"metadata.name", "metadata.namespace", "type"};
  static const std::vector<std::string_view> csrs = {"metadata.name", "metadata.namespace", "spec.signerName"};
  static const std::vector<std::string_view> replicasets = {"metadata.name", "metadata.namespace", "status.replicas"};
  static const std::vector<std::string_view> jobs = {"metadata.name", "metadata.namespace", "status.successful"};
  static const std::vector<std::string_view> events = {"metadata.name",
                                                       "metadata.namespace",
                                                       "involvedObject.kind",
                                                       "involvedObject.namespace",
                                                       "involvedObject.name",
                                                       "involvedObject.uid",
                                                       "involvedObject.apiVersion",
                                                       "involvedObject.resourceVersion",
                                                       "involvedObject.fieldPath",
                                                       "regarding.kind",
                                                       "regarding.namespace",
                                                       "regarding.name",
                                                       "regarding.uid",
                                                       "reason",
                                                       "reportingComponent",
                                                       "reportingController",
                                                       "source",
                                                       "type"};
  auto r = kind.served_as.empty() ? kind.resource : kind.served_as;
  if (r == "pods") return pods;
  if (r == "nodes") return nodes;
  if (r == "namespaces") return namespaces;
  if (r == "services") return services;
  if (r == "secrets") return secrets;
  if (r == "events") return events;
  if (r == "replicasets") return replicasets;
  if (r == "jobs") return jobs;
  if (r == "certificatesigningrequests") return csrs;
  return common;
}

}  // namespace

Answer<std::vector<Selector::Requirement>> Selector::parse_labels(std::string_view text) {
  std::vector<Requirement> out;
  if (trim(text).empty()) return out;
  for (auto item : split(text)) {
    Requirement r;
    auto whole = item;
    if (item.empty()) return wrong(whole);
    if (auto open = item.find('('); open != std::string_view::npos) {
      if (item.back() != ')') return wrong(whole);
      auto head = trim(item.substr(0, open));
      auto space = head.find_last_of(" \t");
      if (space == std::string_view::npos) return wrong(whole);
      auto op = head.substr(space + 1);
      if (op != "in" && op != "notin") return wrong(whole);
      r.op = op == "in" ? Requirement::Op::in : Requirement::Op::not_in;
      r.key = trim(head.substr(0, space));
      auto list = item.substr(open + 1, item.size() - open - 2);
      if (list.find('(') != std::string_view::npos || list.find(')') != std::string_view::npos) return wrong(whole);
      for (auto v : split(list)) {
        if (!is_value(v)) return wrong(whole);
        r.values.emplace_back(v);
      }
    } else if (item[0] == '!') {
      r.op = Requirement::Op::not_exists;
      r.key = trim(item.substr(1));
    } else if (auto eq = item.find('='); eq != std::string_view::npos) {
      bool negative = eq > 0 && item[eq - 1] == '!';
      auto key_end = negative ? eq - 1 : eq;
      auto value_start = eq + 1 < item.size() && item[eq + 1] == '=' && !negative ? eq + 2 : eq + 1;
      r.op = negative ? Requirement::Op::not_in : Requirement::Op::in;
      r.key = trim(item.substr(0, key_end));
      auto v = trim(item.substr(value_start));
      if (!is_value(v)) return wrong(whole);
      r.values.emplace_back(v);
    } else {
      r.key = item;
    }
    if (!is_key(r.key)) return wrong(whole);
    out.push_back(std::move(r));
  }
  return out;
}

Answer<Selector> Selector::parse(const Kind& kind, std::string_view labels, std::string_view fields) {
  if (labels.size() > kLongest || fields.size() > kLongest) return Status::bad_request("selector too long");
  Selector s;
  auto parsed = parse_labels(labels);
  if (!parsed) return parsed.error();
  s.labels_ = std::move(*parsed);
  if (trim(fields).empty()) return s;
  for (auto item : split(fields)) {
    auto eq = item.find('=');
    if (eq == std::string_view::npos || eq == 0)
      return Status::bad_request(
          fmt::format("invalid selector: '{}'; can't understand '{}'", fields.substr(0, 100), item.substr(0, 100)));
    bool negative = item[eq - 1] == '!';
    Requirement r;
    r.key = trim(item.substr(0, negative ? eq - 1 : eq));
    r.op = negative ? Requirement::Op::not_in : Requirement::Op::in;
    auto start = eq + 1 < item.size() && item[eq + 1] == '=' && !negative ? eq + 2 : eq + 1;
    r.values.emplace_back(trim(item.substr(start)));
    const auto& known = selectable_fields(kind);
    if (std::find(known.begin(), known.end(), r.key) == known.end())
      return Status::bad_request(fmt::format("field label not supported: {}", r.key.substr(0, 100)));
    s.fields_.push_back(std::move(r));
  }
  return s;
}

bool Selector::holds(const Requirement& r, const std::string* value) {
  bool listed = value && std::find(r.values.begin(), r.values.end(), *value) != r.values.end();
  switch (r.op) {
    case Requirement::Op::in: return listed;
    case Requirement::Op::not_in: return !listed;
    case Requirement::Op::exists: return value != nullptr;
    case Requirement::Op::not_exists: return value == nullptr;
  }
  return false;
}

bool Selector::matches(const Object& object) const {
  for (const auto& r : labels_) {
    auto it = object.labels.find(r.key);
    if (!holds(r, it == object.labels.end() ? nullptr : &it->second)) return false;
  }
  for (const auto& r : fields_) {
    auto value = field_value(object, r.key);
    if (!holds(r, &value)) return false;
  }
  return true;
}

std::string Selector::name() const {
  for (const auto& r : fields_)
    if (r.key == "metadata.name" && r.op == Requirement::Op::in && r.values.size() == 1) return r.values[0];
  return "";
}

std::string field_value(const Object& object, std::string_view path) {
  if (path == "metadata.name") return object.key.name;
  if (path == "metadata.namespace") return object.key.ns;
  if (path == "spec.unschedulable" || path == "spec.hostNetwork") return bool_at(object.body, path) ? "true" : "false";
  if (path == "source") return text_at(object.body, "source.component");
  if (path == "status.successful") return std::to_string(int_at(object.body, "status.succeeded"));
  if (path == "status.replicas") return std::to_string(int_at(object.body, path));
  std::string real(path);
  if (path.substr(0, 10) == "regarding.") real = "involvedObject." + std::string(path.substr(10));
  if (path == "reportingController") real = "reportingComponent";
  return text_at(object.body, real);
}

}  // namespace trama::api
