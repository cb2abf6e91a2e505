// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/api/lifecycle.h"

#include <algorithm>
#include <ctime>

#include <fmt/format.h>

#include "base/digest.h"
#include "control/api/job_selector.h"
#include "control/api/schema.h"
#include "control/api/service_update.h"
#include "control/api/validate.h"

namespace trama::api {
namespace {

std::string stamp(Time now) {
  std::time_t t = std::chrono::system_clock::to_time_t(now);
  std::tm utc{};
  gmtime_r(&t, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

// Consonants and digits that spell no word, as upstream's generator has them.
std::string random_suffix() {
  constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  auto bytes = base::sha256(base::random_hex(16));
  std::string out;
  for (int i = 0; i < 5; ++i) out += kLetters[bytes[static_cast<std::size_t>(i)] % kLetters.size()];
  return out;
}

bool has_generation(const Kind& kind) {
  static constexpr std::string_view kKinds[] = {"deployments", "replicasets",    "daemonsets",
                                                "jobs",        "endpointslices", "networkpolicies"};
  return std::find(std::begin(kKinds), std::end(kKinds), kind.resource) != std::end(kKinds);
}

// "Guaranteed", "Burstable" or "BestEffort" by upstream's rule.
std::string qos_class(const json::object& body) {
  bool any = false, guaranteed = true;
  for (const auto& c : array_at(body, "spec.containers")) {
    if (!c.is_object()) continue;
    const auto& limits = object_at(c.get_object(), "resources.limits");
    const auto& requests = object_at(c.get_object(), "resources.requests");
    any |= !limits.empty() || !requests.empty();
    for (const char* name : {"cpu", "memory"})
      if (!limits.contains(name) || text_at(limits, name) != text_at(requests, name)) guaranteed = false;
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void initial_status(const Kind& kind, json::object& body) {
  if (kind.resource == "nodes") return;  // a node reports its status from the start
  if (kind.has("status")) body.erase("status");
  if (kind.resource == "pods") {
    auto& status = make_object_at(body, "status");
    status["phase"] = "Pending";
    status["qosClass"] = qos_class(body);
  }
  if (kind.resource == "namespaces") {
    make_object_at(body, "status")["phase"] = "Active";
    auto& spec = make_object_at(body, "spec");
    if (!spec.contains("finalizers")) {
      json::array only;
      only.emplace_back("kubernetes");
      spec["finalizers"] = std::move(only);
    }
    make_object_at(body, "metadata.labels")["kubernetes.io/metadata.name"] = text_at(body, "metadata.name");
  }
  if (kind.resource == "services" && !at(body, "status.loadBalancer")) make_object_at(body, "status.loadBalancer");
}

void carry(const json::object& old_meta, json::object& meta, const char* name) {
  if (auto* was = old_meta.if_contains(name))
    meta[name] = *was;
  else
    meta.erase(name);
}

}  // namespace

Answer<json::object> prepare_create(const Kind& kind, const Key& key, json::object body, Time now) {
  body["apiVersion"] = kind.api_version();
  body["kind"] = std::string(kind.kind);
  auto& meta = make_object_at(body, "metadata");
  auto name = !key.name.empty() ? key.name : text_at(meta, "name");
  auto prefix = text_at(meta, "generateName");
  if (name.empty() && !prefix.empty()) name = prefix.substr(0, 58) + random_suffix();
  if (!name.empty()) meta["name"] = name;
  if (kind.namespaced)
    meta["namespace"] = key.ns;
  else
    meta.erase("namespace");
  meta["uid"] = base::random_uuid();
  meta["creationTimestamp"] = stamp(now);
  for (const char* mine :
       {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"})
    meta.erase(mine);
  if (has_generation(kind)) meta["generation"] = 1;
  if (kind.resource == "jobs") generate_job_selector(body);
  apply_defaults(kind, body);
  initial_status(kind, body);
  auto causes = validate(kind, body, nullptr);
  Key named = key;
  named.name = name;
  if (!causes.empty()) return Status::invalid(named, kind.kind, std::move(causes));
  return body;
}

Answer<json::object> prepare_update(const Kind& kind, const Object& old, json::object body, Part part, Time) {
  auto wanted = text_at(body, "metadata.resourceVersion");
  if (!wanted.empty() && wanted != std::to_string(old.revision))
    return Status::conflict(
        old.key, "the object has been modified; please apply your changes to the latest version and try again");
  auto uid = text_at(body, "metadata.uid");
  if (!uid.empty() && uid != old.uid)
    return Status::conflict(
        old.key, fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", uid, old.uid));

  if (part == Part::status || part == Part::approval) {
    json::object next = old.body;
    auto* status = body.if_contains("status");
    if (part == Part::approval) {
      if (auto* conditions = at(body, "status.conditions")) make_object_at(next, "status")["conditions"] = *conditions;
    } else if (status) {
      next["status"] = *status;
    }
    return next;
  }

  body["apiVersion"] = kind.api_version();
  body["kind"] = std::string(kind.kind);
  const auto& old_meta = object_at(old.body, "metadata");
  auto& meta = make_object_at(body, "metadata");
  meta["name"] = old.key.name;
  if (kind.namespaced) meta["namespace"] = old.key.ns;
  for (const char* system :
       {"uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"})
    carry(old_meta, meta, system);
  if (part == Part::main && kind.has("status")) {
    if (auto* status = old.body.if_contains("status"))
      body["status"] = *status;
    else
      body.erase("status");
  }
  // A namespace's finalizers are its controller's business, a signing request says for ever what was asked.
  bool fixed_spec = kind.resource == "namespaces" || kind.resource == "certificatesigningrequests";
  if (part == Part::main && fixed_spec) body["spec"] = object_at(old.body, "spec");
  if (kind.resource == "services") carry_service_allocations(object_at(old.body, "spec"), make_object_at(body, "spec"));
  apply_defaults(kind, body);
  auto causes = validate(kind, body, &old.body);
  if (!causes.empty()) return Status::invalid(old.key, kind.kind, std::move(causes));
  if (has_generation(kind)) {
    bool changed = kind.resource == "endpointslices" ? !same_content(old.body, body)
                                                     : object_at(old.body, "spec") != object_at(body, "spec");
    if (changed) make_object_at(body, "metadata")["generation"] = int_at(old_meta, "generation") + 1;
  }
  return body;
}

bool same_content(const json::object& a, const json::object& b) {
  auto bare = [](json::object o) {
    auto& meta = make_object_at(o, "metadata");
    meta.erase("resourceVersion");
    meta.erase("managedFields");
    return o;
  };
  return bare(a) == bare(b);
}

Answer<DeleteOptions> parse_delete_options(const json::object& body) {
  DeleteOptions out;
  if (auto* grace = at(body, "gracePeriodSeconds"); grace && !grace->is_null()) {
    if (!grace->is_int64() || grace->get_int64() < 0)
      return Status::bad_request("DeleteOptions.gracePeriodSeconds: expected a number of seconds, 0 or more");
    out.grace_seconds = grace->get_int64();
  }
  out.uid = text_at(body, "preconditions.uid");
  out.resource_version = text_at(body, "preconditions.resourceVersion");
  out.propagation = text_at(body, "propagationPolicy");
  if (bool_at(body, "orphanDependents")) out.propagation = "Orphan";
  if (!out.propagation.empty() && out.propagation != "Background" && out.propagation != "Foreground" &&
      out.propagation != "Orphan")
    return Status::invalid(Key{}, "DeleteOptions",
                           {{"FieldValueNotSupported",
                             "Unsupported value: \"" + out.propagation +
                                 "\": supported values: \"Foreground\", \"Background\", \"Orphan\"",
                             "propagationPolicy"}});
  for (const auto& v : array_at(body, "dryRun")) {
    if (!v.is_string() || v.get_string() != "All")
      return Status::bad_request("DeleteOptions.dryRun: only \"All\" is known");
    out.dry_run = true;
  }
  return out;
}

Answer<Removal> prepare_delete(const Kind& kind, const Object& old, const DeleteOptions& options, Time now) {
  if (!options.uid.empty() && options.uid != old.uid)
    return Status::conflict(old.key, fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}",
                                                 options.uid, old.uid));
  if (!options.resource_version.empty() && options.resource_version != std::to_string(old.revision))
    return Status::conflict(
        old.key,
        fmt::format("Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
                    options.resource_version, old.revision));
  Removal out;
  out.body = old.body;
  auto& meta = make_object_at(out.body, "metadata");
  bool dying = meta.contains("deletionTimestamp");
  std::int64_t grace = 0;
  if (kind.resource == "pods") {
    grace = options.grace_seconds.value_or(int_at(old.body, "spec.terminationGracePeriodSeconds", 30));
    auto phase = text_at(old.body, "status.phase");
    if (text_at(old.body, "spec.nodeName").empty() || phase == "Succeeded" || phase == "Failed") grace = 0;
    if (dying && !(options.grace_seconds && grace < int_at(meta, "deletionGracePeriodSeconds", 0))) {
      out.noop = !is_removable(out.body);
      if (out.noop) return out;
    }
  }
  const char* finalizer = options.propagation == "Foreground" ? "foregroundDeletion"
                          : options.propagation == "Orphan"   ? "orphan"
                                                              : nullptr;
  if (finalizer && !dying) {
    auto& list = meta["finalizers"];
    if (!list.is_array()) list = json::array();
    list.get_array().emplace_back(finalizer);
  }
  if (!dying || kind.resource == "pods") {
    meta["deletionTimestamp"] = stamp(now + std::chrono::seconds(grace));
    meta["deletionGracePeriodSeconds"] = grace;
    if (has_generation(kind)) meta["generation"] = int_at(meta, "generation") + 1;
  } else if (!is_removable(out.body)) {
    out.noop = true;
  }
  if (kind.resource == "namespaces") make_object_at(out.body, "status")["phase"] = "Terminating";
  out.now = !out.noop && is_removable(out.body);
  return out;
}

bool is_removable(const json::object& body) {
  if (!at(body, "metadata.deletionTimestamp") || !array_at(body, "metadata.finalizers").empty()) return false;
  if (text_at(body, "kind") == "Namespace" && !array_at(body, "spec.finalizers").empty()) return false;
  return int_at(body, "metadata.deletionGracePeriodSeconds", 0) == 0;
}

}  // namespace trama::api
