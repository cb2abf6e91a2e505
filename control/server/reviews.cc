// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/reviews.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>

#include "control/api/schema.h"
#include "control/server/answers.h"
#include "control/server/body.h"
#include "control/server/tokens.h"

namespace trama::server {
namespace {

namespace json = api::json;
using api::Kind;
using api::Status;

json::array to_array(const std::vector<std::string_view>& words) {
  json::array out;
  for (auto w : words) out.emplace_back(w);
  return out;
}

json::object verdict(bool allowed, std::string_view reason) {
  json::object status;
  status["allowed"] = allowed;
  if (!reason.empty()) status["reason"] = reason;
  return status;
}

bool has_role(const Identity& who, Role role) {
  auto roles = roles_of(who);
  return std::find(roles.begin(), roles.end(), role) != roles.end();
}

json::object resource_verdict(const Identity& who, const json::object& asked, Known known) {
  auto group = api::text_at(asked, "group"), resource = api::text_at(asked, "resource");
  auto verb = api::text_at(asked, "verb");
  if (has_role(who, Role::admin)) return verdict(true, "role admin: everything");
  Attempt a;
  for (const auto* table : {&api::kinds(), &reviews()})
    for (const auto& kind : *table)
      if (kind.resource == resource && (kind.group == group || group == "*")) a.kind = &kind;
  if (a.kind == nullptr)
    return verdict(false, resource == "*" ? "only role admin may do everything"
                                          : "this server does not serve that resource, so no role allows it");
  a.verb = verb;
  a.ns = a.kind->namespaced ? api::text_at(asked, "namespace") : "";
  a.name = api::text_at(asked, "name");
  a.subresource = api::text_at(asked, "subresource");
  a.field_selector = api::text_at(asked, "fieldSelector.rawSelector");
  for (const auto& r : api::array_at(asked, "fieldSelector.requirements"))
    if (const auto* o = r.if_object(); o && api::text_at(*o, "operator") == "In")
      if (const auto& values = api::array_at(*o, "values"); values.size() == 1 && values[0].is_string())
        a.field_selector += fmt::format("{}{}={}", a.field_selector.empty() ? "" : ",", api::text_at(*o, "key"),
                                        std::string_view(values[0].get_string()));
  auto why = why_refused(who, a, known);
  return verdict(!why, why.value_or(""));
}

bool applies_in(Which which, const std::string& ns) {
  if (which == Which::outside_system) return !ns.empty() && !ns.starts_with("kube-");
  return which != Which::own_lease || ns == "kube-node-lease";
}

}  // namespace

const std::vector<Kind>& reviews() {
  static const std::vector<Kind> table = {
      {"authorization.k8s.io",
       "v1",
       "selfsubjectaccessreviews",
       "selfsubjectaccessreview",
       "SelfSubjectAccessReview",
       false,
       {},
       {},
       {}},
      {"authorization.k8s.io",
       "v1",
       "selfsubjectrulesreviews",
       "selfsubjectrulesreview",
       "SelfSubjectRulesReview",
       false,
       {},
       {},
       {}},
      {"authentication.k8s.io",
       "v1",
       "selfsubjectreviews",
       "selfsubjectreview",
       "SelfSubjectReview",
       false,
       {},
       {},
       {}},
      {"authentication.k8s.io", "v1", "tokenreviews", "tokenreview", "TokenReview", false, {}, {}, {}},
      {"authentication.k8s.io",
       "v1beta1",
       "selfsubjectreviews",
       "selfsubjectreview",
       "SelfSubjectReview",
       false,
       {},
       {},
       {}},
  };
  return table;
}

const Kind* review_of(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  for (const auto& kind : reviews())
    if (path == fmt::format("/apis/{}/{}/{}", kind.group, kind.version, kind.resource)) return &kind;
  return nullptr;
}

json::object access_review(const Identity& who, const json::object& spec, Known known) {
  if (const auto* path = api::at(spec, "nonResourceAttributes"); path && path->is_object()) {
    bool reads = api::text_at(path->get_object(), "verb") == "get" || has_role(who, Role::admin);
    return verdict(reads && !authorize_path(who, api::text_at(path->get_object(), "path")), "");
  }
  return resource_verdict(who, api::object_at(spec, "resourceAttributes"), known);
}

json::object rules_review(const Identity& who, const std::string& ns) {
  json::array resource_rules, path_rules_told;
  bool incomplete = false;
  auto node = node_name(who);
  for (const auto& rule : rules()) {
    if (!has_role(who, rule.role) || !applies_in(rule.which, ns)) continue;
    // Which pods and Secrets are a node's can not be said in a rule's terms.
    bool own = rule.which == Which::own_node || rule.which == Which::own_lease;
    incomplete |= rule.which != Which::every && rule.which != Which::outside_system && !own;
    std::map<std::string_view, std::vector<std::string_view>> by_group;
    if (rule.resources == "*") by_group["*"] = {"*"};
    for (const auto* table : {&api::kinds(), &reviews()})
      for (const auto& kind : *table)
        for (auto word : rule.resources == "*" ? std::vector<std::string_view>() : words_of(rule.resources))
          if (word.substr(0, word.find('/')) == kind.resource) {
            auto& resources = by_group[kind.group];
            if (std::find(resources.begin(), resources.end(), word) == resources.end()) resources.push_back(word);
          }
    for (const auto& [group, resources] : by_group) {
      json::object told;
      told["verbs"] = to_array(words_of(rule.verbs));
      told["apiGroups"] = to_array({group});
      told["resources"] = to_array(resources);
      if (own) told["resourceNames"] = to_array({node});
      resource_rules.push_back(std::move(told));
    }
  }
  for (const auto& rule : path_rules()) {
    if (!has_role(who, rule.role)) continue;
    json::object told;
    told["verbs"] = to_array({rule.role == Role::admin ? "*" : "get"});
    told["nonResourceURLs"] = to_array(words_of(rule.paths));
    path_rules_told.push_back(std::move(told));
  }
  json::object status;
  status["resourceRules"] = std::move(resource_rules);
  status["nonResourceRules"] = std::move(path_rules_told);
  status["incomplete"] = incomplete;
  if (incomplete)
    status["evaluationError"] = "some rules are about the asker's own objects only: its pods, events, signing requests";
  return status;
}

json::object who_review(const Identity& who) {
  json::object info, status;
  json::array groups;
  for (const auto& g : who.groups) groups.emplace_back(g);
  info["username"] = who.name;
  info["groups"] = std::move(groups);
  status["userInfo"] = std::move(info);
  return status;
}

Reply review_reply(const Context& c, const Request& r, const Kind& review) {
  if (r.method != "POST") return reply_status(Status::method_not_allowed());
  Attempt attempt;
  attempt.verb = "create";
  attempt.kind = &review;
  if (auto refused = authorize(r.identity, attempt, c.known())) return reply_status(*refused);
  auto asked = read_object(r, review.kind, review.kind);
  if (!asked) return reply_status(asked.error());
  auto body = std::move(*asked);
  auto version = api::text_at(body, "apiVersion"), kind = api::text_at(body, "kind");
  if ((!version.empty() && version != review.api_version()) || (!kind.empty() && kind != review.kind))
    return reply_status(Status::bad_request(fmt::format("the body is a {} of {}; this path takes a {} of {}", kind,
                                                        version, review.kind, review.api_version())));
  body.erase("status");  // the server's to say; clients that write protobuf send an empty one
  std::vector<std::string> warnings;
  if (auto bad = check_fields(r, review, body, warnings)) return reply_status(*bad);
  const auto& spec = api::object_at(body, "spec");
  json::object status;
  if (review.resource == "selfsubjectaccessreviews") {
    bool one = spec.contains("resourceAttributes"), other = spec.contains("nonResourceAttributes");
    if (one == other)
      return reply_status(
          Status::invalid(api::Key{}, review.kind,
                          {{"FieldValueInvalid",
                            "Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be "
                            "specified",
                            "spec"}}));
    status = access_review(r.identity, spec, c.known());
  } else if (review.resource == "selfsubjectrulesreviews") {
    status = rules_review(r.identity, api::text_at(spec, "namespace"));
  } else if (review.resource == "tokenreviews") {
    status = token_review(c, spec);
  } else {
    status = who_review(r.identity);
  }
  json::object out;
  out["kind"] = review.kind;
  out["apiVersion"] = review.api_version();
  out["metadata"] = json::object();
  out["metadata"].get_object()["creationTimestamp"] = nullptr;
  if (!spec.empty()) out["spec"] = spec;
  out["status"] = std::move(status);
  return reply_json(out, 201);
}

}  // namespace trama::server
