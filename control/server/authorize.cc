// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/authorize.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/server/own.h"

namespace trama::server {
namespace {

using api::Status;

std::string name_of(const Identity& who) { return who.name.empty() ? "system:anonymous" : who.name; }

Status refused(const Identity& who, const Attempt& what, std::string_view why) {
  auto resource = what.resource();
  auto qualified = what.kind->group.empty() ? resource : fmt::format("{}.{}", resource, what.kind->group);
  auto message = fmt::format("{}{} is forbidden: User \"{}\" cannot {} resource \"{}\" in API group \"{}\"", qualified,
                             what.name.empty() ? "" : fmt::format(" \"{}\"", what.name), name_of(who), what.verb,
                             resource, what.kind->group);
  message += what.kind->namespaced && !what.ns.empty() ? fmt::format(" in the namespace \"{}\"", what.ns)
                                                       : " at the cluster scope";
  if (!why.empty()) message += fmt::format(": {}", why);
  auto s = Status::forbidden(std::move(message));
  s.kind = std::string(what.kind->resource);
  s.group = what.kind->group;
  s.name = what.name;
  return s;
}

// Any rule of any role is enough; `holds` says why a rule that names the verb and the resource does not allow it ("" =
// it does). The refusal carries the first such reason.
template <class Holds>
std::optional<std::string> check(const Identity& who, const Attempt& what, Holds holds) {
  std::string why;
  auto resource = what.resource();
  auto roles = roles_of(who);
  for (const auto& rule : rules()) {
    if (std::find(roles.begin(), roles.end(), rule.role) == roles.end()) continue;
    if (!lists(rule.verbs, what.verb) || !lists(rule.resources, resource)) continue;
    auto reason = holds(rule.which);
    if (reason.empty()) return std::nullopt;
    if (why.empty()) why = std::move(reason);
  }
  return why;
}

}  // namespace

std::string Attempt::resource() const {
  return subresource.empty() ? std::string(kind->resource) : fmt::format("{}/{}", kind->resource, subresource);
}

std::optional<std::string> why_refused(const Identity& who, const Attempt& what, Known known) {
  return check(who, what, [&](Which which) { return why_not(which, who, what, known); });
}

std::optional<Status> authorize(const Identity& who, const Attempt& what, Known known) {
  auto why = why_refused(who, what, known);
  if (!why) return std::nullopt;
  return refused(who, what, *why);
}

std::optional<Status> authorize_object(const Identity& who, const Attempt& what, const api::Object* old,
                                       const api::json::object* body, Known known) {
  auto why = check(who, what, [&](Which which) { return why_not_object(which, who, what, old, body, known); });
  if (!why) return std::nullopt;
  return refused(who, what, *why);
}

std::optional<Status> authorize_path(const Identity& who, const std::string& path) {
  auto roles = roles_of(who);
  for (const auto& rule : path_rules()) {
    if (std::find(roles.begin(), roles.end(), rule.role) == roles.end()) continue;
    for (auto pattern : words_of(rule.paths))
      if (path_matches(pattern, path)) return std::nullopt;
  }
  return Status::forbidden(fmt::format("forbidden: User \"{}\" cannot get path \"{}\"", name_of(who), path));
}

}  // namespace trama::server
