// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/field_set.h"

#include <fmt/format.h>

namespace trama::api {
namespace {

std::string shown(const std::string& element) {
  std::string_view rest(element);
  rest.remove_prefix(2);
  if (element[0] == 'f') return fmt::format(".{}", rest);
  if (element[0] == 'v') return fmt::format("[={}]", rest);
  boost::system::error_code ec;
  auto keys = json::parse({rest.data(), rest.size()}, ec);
  std::string out;
  if (!ec && keys.is_object())
    for (const auto& [name, value] : keys.get_object())
      out += fmt::format("{}{}={}", out.empty() ? "" : ",", std::string_view(name), json::serialize(value));
  return fmt::format("[{}]", out);
}

void collect(const FieldSet& set, const std::string& path, std::vector<std::string>& out) {
  if (set.member) out.push_back(path);
  for (const auto& [element, child] : set.children) collect(child, path + shown(element), out);
}

void add(FieldSet& to, const std::string& element, FieldSet child) {
  if (!child.empty()) to.children.emplace(element, std::move(child));
}

}  // namespace

FieldSet parse_fields(const json::value& fields_v1) {
  FieldSet out;
  if (!fields_v1.is_object()) return out;
  for (const auto& [raw, value] : fields_v1.get_object()) {
    std::string name(raw);
    if (name == ".") {
      out.member = true;
    } else if (name.size() > 2 && name[1] == ':' && (name[0] == 'f' || name[0] == 'k' || name[0] == 'v')) {
      auto child = parse_fields(value);
      if (value.is_object() && value.get_object().empty()) child.member = true;
      add(out, name, std::move(child));
    }
  }
  return out;
}

json::object fields_json(const FieldSet& set) {
  json::object out;
  if (set.member && !set.children.empty()) out["."] = json::object();
  for (const auto& [element, child] : set.children) out[element] = fields_json(child);
  return out;
}

FieldSet united(FieldSet a, const FieldSet& b) {
  a.member |= b.member;
  for (const auto& [element, child] : b.children) {
    auto& mine = a.children[element];
    mine = united(std::move(mine), child);
  }
  return a;
}

FieldSet subtracted(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  out.member = a.member && !b.member;
  for (const auto& [element, child] : a.children) {
    const auto* other = b.child(element);
    add(out, element, other ? subtracted(child, *other) : child);
  }
  return out;
}

FieldSet intersected(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  out.member = a.member && b.member;
  for (const auto& [element, child] : a.children)
    if (const auto* other = b.child(element)) add(out, element, intersected(child, *other));
  return out;
}

std::vector<std::string> paths_of(const FieldSet& set) {
  std::vector<std::string> out;
  collect(set, "", out);
  return out;
}

}  // namespace trama::api
