// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/storage_form.h"

namespace trama::server {
namespace {

namespace json = api::json;
using api::Kind;

// {events.k8s.io/v1, core/v1}: the core form is stored.
constexpr std::pair<const char*, const char*> kEventNames[] = {{"regarding", "involvedObject"},
                                                               {"note", "message"},
                                                               {"deprecatedSource", "source"},
                                                               {"deprecatedFirstTimestamp", "firstTimestamp"},
                                                               {"deprecatedLastTimestamp", "lastTimestamp"},
                                                               {"deprecatedCount", "count"},
                                                               {"reportingController", "reportingComponent"}};

void rename_members(json::object& body, bool to_core) {
  for (auto [outer, core] : kEventNames) {
    auto* from = body.if_contains(to_core ? outer : core);
    if (!from) continue;
    auto value = std::move(*from);
    body.erase(to_core ? outer : core);
    body[to_core ? core : outer] = std::move(value);
  }
}

}  // namespace

const Kind& storage_kind(const Kind& kind) {
  return kind.served_as.empty() ? kind : *api::kind_of_resource(kind.served_as);
}

api::Key key_of(const ResourcePath& path) {
  return api::Key{std::string(storage_kind(*path.kind).resource), path.ns, path.name};
}

void to_storage(const Kind& kind, json::object& body) {
  if (kind.served_as.empty()) return;
  rename_members(body, true);
  body["apiVersion"] = "v1";
}

api::json::object view_of(const Kind& kind, const api::Object& object) {
  json::object out = object.body;
  if (kind.served_as.empty()) return out;
  rename_members(out, false);
  out["apiVersion"] = kind.api_version();
  return out;
}

}  // namespace trama::server
