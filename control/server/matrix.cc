// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/matrix.h"

#include <fmt/format.h>

#include "control/api/kinds.h"

namespace trama::server {

namespace {

struct Verb {
  char letter;
  std::string_view name;
};
constexpr Verb kVerbs[] = {{'g', "get"},    {'l', "list"},  {'w', "watch"},  {'c', "create"},
                           {'u', "update"}, {'p', "patch"}, {'d', "delete"}, {'D', "deletecollection"}};
constexpr Role kColumns[] = {Role::admin, Role::edit, Role::view, Role::node, Role::proxy, Role::bootstrap};

}  // namespace

std::string matrix_cell(Role role, std::string_view resource) {
  std::string every, some;
  for (const auto& verb : kVerbs) {
    bool all = false, part = false;
    for (const auto& rule : rules()) {
      if (rule.role != role || !lists(rule.verbs, verb.name) || !lists(rule.resources, resource)) continue;
      (rule.which == Which::every ? all : part) = true;
    }
    if (all)
      every += verb.letter;
    else if (part)
      some += verb.letter;
  }
  if (!some.empty()) every += fmt::format("[{}]", some);
  return every.empty() ? "-" : every;
}

Matrix matrix() {
  Matrix out;
  out.header = {"RESOURCE"};
  for (auto role : kColumns) {
    std::string title(to_string(role));
    for (auto& c : title) c = static_cast<char>(c - 32);
    out.header.push_back(std::move(title));
  }
  auto add = [&out](const std::string& resource) {
    std::vector<std::string> row{resource};
    for (auto role : kColumns) row.push_back(matrix_cell(role, resource));
    out.rows.push_back(std::move(row));
  };
  for (const auto& kind : api::kinds()) {
    if (!kind.served_as.empty()) continue;
    add(std::string(kind.resource));
    for (auto sub : kind.subresources) add(fmt::format("{}/{}", kind.resource, sub));
  }
  out.legend =
      "g get, l list, w watch, c create, u update, p patch, d delete, D deletecollection; in brackets: only some\n"
      "objects (edit: outside kube-*; node: its own; bootstrap: its own). metrics: /metrics. Nobody: health, "
      "version.\n";
  return out;
}

}  // namespace trama::server
