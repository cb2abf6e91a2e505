// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/loops/meta.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/digest.h"

namespace trama::control {

namespace {

json::value sorted(const json::value& v) {
  if (const auto* o = v.if_object()) {
    std::vector<std::string_view> keys;
    for (const auto& [k, unused] : *o) keys.push_back(k);
    std::sort(keys.begin(), keys.end());
    json::object out;
    for (auto k : keys) out[k] = sorted(o->at(k));
    return json::value(std::move(out));
  }
  if (const auto* a = v.if_array()) {
    json::array out;
    for (const auto& e : *a) out.push_back(sorted(e));
    return json::value(std::move(out));
  }
  return v;
}

json::array& array_in(json::object& o, std::string_view name) {
  auto& v = o[name];
  if (!v.is_array()) v = json::array();
  return v.get_array();
}

}  // namespace

json::object new_object(std::string_view api_version, std::string_view kind, const api::Key& key, Time now) {
  json::object metadata;
  metadata["name"] = key.name;
  if (!key.ns.empty()) metadata["namespace"] = key.ns;
  metadata["uid"] = base::random_uuid();
  metadata["creationTimestamp"] = base::format_seconds(now);
  json::object body;
  body["apiVersion"] = api_version;
  body["kind"] = kind;
  body["metadata"] = std::move(metadata);
  return body;
}

std::string generated_name(std::string_view prefix, std::uint64_t random) {
  constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string name(prefix.substr(0, 58));  // names are at most 63 characters
  for (int i = 0; i < 5; ++i, random /= kAlphabet.size()) name += kAlphabet[random % kAlphabet.size()];
  return name;
}

json::object owner_reference(const api::Object& owner) {
  json::object ref;
  ref["apiVersion"] = api::text_at(owner.body, "apiVersion");
  ref["kind"] = api::text_at(owner.body, "kind");
  ref["name"] = owner.key.name;
  ref["uid"] = owner.uid;
  ref["controller"] = true;
  ref["blockOwnerDeletion"] = true;
  return ref;
}

const json::object* controller_of(const json::object& body) {
  for (const auto& r : api::array_at(body, "metadata.ownerReferences"))
    if (const auto* o = r.if_object(); o != nullptr && api::bool_at(*o, "controller")) return o;
  return nullptr;
}

bool is_controlled_by(const json::object& body, std::string_view uid) {
  const auto* owner = controller_of(body);
  return owner != nullptr && api::text_at(*owner, "uid") == uid;
}

bool is_terminating(const json::object& body) { return !api::text_at(body, "metadata.deletionTimestamp").empty(); }

bool has_finalizer(const json::object& body, std::string_view finalizer) {
  const auto& list = api::array_at(body, "metadata.finalizers");
  return std::any_of(list.begin(), list.end(),
                     [&](const json::value& v) { return v.is_string() && v.get_string() == finalizer; });
}

bool remove_finalizer(json::object& body, std::string_view finalizer) {
  if (!has_finalizer(body, finalizer)) return false;
  auto& metadata = api::make_object_at(body, "metadata");
  json::array kept;
  for (const auto& v : api::array_at(body, "metadata.finalizers"))
    if (!(v.is_string() && v.get_string() == finalizer)) kept.push_back(v);
  if (kept.empty())
    metadata.erase("finalizers");
  else
    metadata["finalizers"] = std::move(kept);
  return true;
}

const json::object* condition(const json::object& body, std::string_view type) {
  for (const auto& c : api::array_at(body, "status.conditions"))
    if (const auto* o = c.if_object(); o != nullptr && api::text_at(*o, "type") == type) return o;
  return nullptr;
}

std::string condition_status(const json::object& body, std::string_view type) {
  const auto* c = condition(body, type);
  return c == nullptr ? "" : api::text_at(*c, "status");
}

bool set_condition(json::object& body, std::string_view type, std::string_view status, std::string_view reason,
                   std::string_view message, Time now) {
  auto& list = array_in(api::make_object_at(body, "status"), "conditions");
  json::object* found = nullptr;
  for (auto& c : list)
    if (auto* o = c.if_object(); o != nullptr && api::text_at(*o, "type") == type) found = o;
  if (found == nullptr) {
    json::object fresh;
    fresh["type"] = type;
    list.push_back(std::move(fresh));
    found = &list.back().get_object();
  }
  bool flipped = api::text_at(*found, "status") != status;
  bool changed = flipped || api::text_at(*found, "reason") != reason || api::text_at(*found, "message") != message;
  if (flipped) {
    (*found)["status"] = status;
    (*found)["lastTransitionTime"] = base::format_seconds(now);
  }
  auto put = [found](std::string_view field, std::string_view text) {
    if (text.empty())
      found->erase(field);
    else
      (*found)[field] = text;
  };
  put("reason", reason);
  put("message", message);
  return changed;
}

bool is_pod_ready(const json::object& pod) { return condition_status(pod, "Ready") == "True"; }

bool is_pod_active(const json::object& pod) {
  auto phase = api::text_at(pod, "status.phase");
  return phase != "Succeeded" && phase != "Failed" && !is_terminating(pod);
}

bool is_pod_available(const json::object& pod, std::int64_t min_ready_seconds, Time now) {
  if (!is_pod_ready(pod)) return false;
  if (min_ready_seconds <= 0) return true;
  auto since = base::parse_timestamp(api::text_at(*condition(pod, "Ready"), "lastTransitionTime"));
  return since && *since + std::chrono::seconds(min_ready_seconds) <= now;
}

std::string canonical_text(const json::value& v) { return json::serialize(sorted(v)); }

}  // namespace trama::control
