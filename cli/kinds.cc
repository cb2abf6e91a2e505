// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/kinds.h"

#include <algorithm>

#include "base/text.h"
#include "cli/exit.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

std::vector<std::string> split(std::string_view text, char by) {
  std::vector<std::string> out;
  while (true) {
    auto at = text.find(by);
    if (at != 0 && !text.empty()) out.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    text.remove_prefix(at + 1);
  }
}

bool answers_to(const Kind& k, const std::string& name) {
  if (name == k.resource || name == k.singular || name == base::lower(std::string(k.kind))) return true;
  return std::find(k.short_names.begin(), k.short_names.end(), name) != k.short_names.end();
}

// Kinds with a place of their own: events.k8s.io's events are the core group's.
std::vector<const Kind*> own_kinds() {
  std::vector<const Kind*> out;
  for (const auto& k : api::kinds())
    if (k.served_as.empty()) out.push_back(&k);
  return out;
}

}  // namespace

Result<const Kind*> find_kind(std::string_view name) {
  auto wanted = base::lower(std::string(name.substr(0, name.find('.'))));  // "deployments.apps" is a deployment
  for (const auto* k : own_kinds())
    if (answers_to(*k, wanted)) return k;
  std::vector<std::string> names;
  for (const auto* k : own_kinds()) {
    names.emplace_back(k->resource);
    names.emplace_back(k->singular);
    names.insert(names.end(), k->short_names.begin(), k->short_names.end());
  }
  auto near = did_you_mean(wanted, names);
  return Error::text(fmt::format("unknown kind \"{}\"{}", name,
                                 near.empty() ? " (expected one of: pods, services, nodes, deployments, …)"
                                              : fmt::format("; did you mean \"{}\"?", near)));
}

Result<const Kind*> find_kind(std::string_view api_version, std::string_view kind) {
  std::vector<std::string> names;
  if (const auto* k = api::kind_of_manifest(api_version, kind)) return k;
  for (const auto* k : own_kinds()) {
    if (k->kind == kind)
      return Error::text(
          fmt::format("expected apiVersion \"{}\" for a {}, got \"{}\"", k->api_version(), kind, api_version));
    names.emplace_back(k->kind);
  }
  auto near = did_you_mean(kind, names);
  return Error::text(fmt::format("\"{}\" is not a kind that is served{}", kind,
                                 near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
}

std::string path_of(const Kind& k, std::string_view ns, std::string_view name) {
  auto path = k.group.empty() ? fmt::format("/api/{}", k.version) : fmt::format("/apis/{}/{}", k.group, k.version);
  if (k.namespaced && !ns.empty()) path += fmt::format("/namespaces/{}", ns);
  path += fmt::format("/{}", k.resource);
  return name.empty() ? path : fmt::format("{}/{}", path, name);
}

std::string display_name(const Kind& k, std::string_view name) {
  return k.group.empty() ? fmt::format("{}/{}", k.singular, name) : fmt::format("{}.{}/{}", k.singular, k.group, name);
}

Result<std::vector<Reference>> parse_references(const std::vector<std::string>& words, bool names_required) {
  std::vector<Reference> out;
  auto bare = [&](const Kind& k) {
    return Error::text(fmt::format("which {}? Expected {}/NAME, or {} NAME…", k.singular, k.singular, k.singular));
  };
  bool slashed = !words.empty() && words.front().find('/') != std::string::npos;
  for (std::size_t i = 0; i < words.size(); ++i) {
    auto slash = words[i].find('/');
    if (slashed != (slash != std::string::npos))
      return Error::text(fmt::format("\"{}\": either KIND/NAME everywhere, or one KIND followed by names", words[i]));
    if (slashed) {
      auto k = find_kind(words[i].substr(0, slash));
      if (!k) return std::move(k).error();
      auto name = words[i].substr(slash + 1);
      if (name.empty() || name.find('/') != std::string::npos) return bare(**k);
      out.push_back(Reference{*k, name});
      continue;
    }
    auto list = split(words[0], ',');
    if (i == 0) {
      for (const auto& word : list) {
        auto k = find_kind(word);
        if (!k) return std::move(k).error();
        if (words.size() == 1 && names_required) return bare(**k);
        if (words.size() == 1) out.push_back(Reference{*k, ""});
      }
      continue;
    }
    for (const auto& word : list) out.push_back(Reference{*find_kind(word), words[i]});
  }
  if (out.empty()) return Error::text("expected a kind, e.g. pods, services, nodes, pod/web-1");
  return out;
}

}  // namespace trama::cli
