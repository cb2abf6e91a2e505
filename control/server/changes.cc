// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/changes.h"

#include <algorithm>

#include <fmt/format.h>

#include "control/api/base64.h"
#include "control/api/managed_fields.h"
#include "control/api/patch.h"
#include "control/api/schema.h"
#include "control/server/answers.h"
#include "control/server/body.h"
#include "control/server/commit.h"
#include "control/server/reads.h"
#include "control/server/storage_form.h"

namespace trama::server {

namespace json = api::json;
using api::Answer;
using api::Key;
using api::Kind;
using api::ObjectPtr;
using api::Status;

namespace {

void add_maker(const Request& r, const Kind& kind, json::object& body) {
  if (kind.resource != "certificatesigningrequests") return;
  auto& spec = api::make_object_at(body, "spec");
  spec["username"] = r.identity.name;
  json::array groups;
  for (const auto& g : r.identity.groups) groups.emplace_back(g);
  spec["groups"] = std::move(groups);
}

// stringData is write-only: it arrives as data.
void fold_string_data(const Kind& kind, json::object& body) {
  if (kind.resource != "secrets" || !body.contains("stringData")) return;
  for (const auto& [name, value] : api::strings_at(body, "stringData"))
    api::make_object_at(body, "data")[name] = api::base64(value);
  body.erase("stringData");
}

api::Part part_of(const ResourcePath& path) {
  return path.subresource == "status"     ? api::Part::status
         : path.subresource == "approval" ? api::Part::approval
                                          : api::Part::main;
}

// Turns the object that is there into the one that is wanted; an empty one where there is none and `applies` is true.
using Change = std::function<Answer<json::object>(const api::Object& old)>;

constexpr std::size_t kLongestManager = 128;

bool is_printable(char c) { return c >= 0x20 && c != 0x7f; }

// Who is recorded for the fields of a write: who it says it is, else the program that asks.
std::string manager_of(const Request& r) {
  auto name = r.parameter("fieldManager");
  if (name.empty()) name = r.header("user-agent").substr(0, r.header("user-agent").find('/'));
  std::erase_if(name, [](char c) { return !is_printable(c) && static_cast<unsigned char>(c) < 0x80; });
  return name.empty() ? "unknown" : name.substr(0, kLongestManager);
}

Status invalid_options(std::string_view options, const char* field, const char* reason, std::string message) {
  return Status::invalid(Key{}, options, {{reason, std::move(message), field}});
}

// The name that a write gives itself.
std::optional<Status> check_manager(const Request& r, std::string_view options) {
  auto name = r.parameter("fieldManager");
  if (name.size() > kLongestManager)
    return invalid_options(options, "fieldManager", "FieldValueTooLong",
                           fmt::format("Too long: may not be more than {} bytes", kLongestManager));
  bool control = std::any_of(name.begin(), name.end(),
                             [](char c) { return static_cast<unsigned char>(c) < 0x80 && !is_printable(c); });
  if (control)
    return invalid_options(options, "fieldManager", "FieldValueInvalid",
                           "Invalid value: " + json::serialize(json::value(json::string(name))) +
                               ": should only contain printable characters");
  return std::nullopt;
}

// `applies`: the change keeps the managers of fields itself, and may create the object.
awaitable<Answer<Reply>> change(Context c, const Request& r, const ResourcePath& path, std::string verb, Change make,
                                bool applies) {
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  auto warnings = std::make_shared<std::vector<std::string>>();
  const auto& kind = storage_kind(*path.kind);
  std::vector<api::Manager> managers;
  auto checks = hook_of(c, r, attempt_of(r, path, verb));
  store::Hook hook = [&](store::Transaction& tx, const Key& key, const api::Object* old,
                         json::object* body) -> std::optional<Status> {
    if (auto refused = checks(tx, key, old, body)) return refused;
    if (!old || !body) return std::nullopt;
    if (applies)  // a write of the status takes nothing else from what was made
      api::set_managers(*body, managers);
    else
      api::track_update(kind, old->body, *body, manager_of(r), path.subresource, now());
    return std::nullopt;
  };
  auto create_hook = hook_of(c, r, attempt_of(r, path, "create"));
  bool created = false;
  store::Decision decide = [&](store::Transaction& tx) -> Answer<ObjectPtr> {
    warnings->clear();
    auto key = key_of(path);
    auto old = tx.get(key);
    created = !old && applies && path.subresource.empty();
    if (!old && !created) return Status::not_found(key);
    if (created)
      if (auto refused = authorize(r.identity, attempt_of(r, path, "create"), c.known())) return *refused;
    auto next = make(created ? api::Object{} : *old);
    if (!next) return next.error();
    if (applies) managers = api::managers_of(*next);
    if (auto bad = check_fields(r, kind, *next, *warnings)) return *bad;
    fold_string_data(*path.kind, *next);
    if (created) {
      add_maker(r, kind, *next);
      return store::create(tx, kind, key, std::move(*next), now(), create_hook);
    }
    return store::update(tx, kind, key, std::move(*next), part_of(path), now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), *dry);
  if (!done) co_return done.error();
  if (path.subresource == "scale") co_return reply_json(scale_of(**done));
  co_return reply_object(r, *path.kind, *done, created ? 201 : 200, *warnings);
}

Answer<json::object> set_replicas(const api::Object& old, const json::object& scale) {
  // Go's JSON leaves a zero out.
  const json::value nothing = 0;
  auto* replicas = api::at(scale, "spec.replicas");
  if (!replicas) replicas = &nothing;
  if (!replicas->is_int64() || replicas->get_int64() < 0)
    return Status::invalid(
        old.key, "Scale",
        {{"FieldValueInvalid", "Invalid value: must be a number of replicas, 0 or more", "spec.replicas"}});
  json::object next = old.body;
  api::make_object_at(next, "spec")["replicas"] = *replicas;
  auto version = api::text_at(scale, "metadata.resourceVersion");
  if (version.empty())
    api::make_object_at(next, "metadata").erase("resourceVersion");
  else
    api::make_object_at(next, "metadata")["resourceVersion"] = version;
  return next;
}

Answer<json::object> apply_patch(const std::string& type, const Kind& kind, const json::object& from,
                                 const json::value& patch) {
  if (type == "application/json-patch+json") return api::json_patch(from, patch);
  if (!patch.is_object()) return Status::bad_request("a patch of this type is an object");
  if (type == "application/merge-patch+json") return api::merge_patch(from, patch.get_object());
  return api::strategic_patch(kind, from, patch.get_object());
}

// ---- server-side apply

constexpr std::string_view kApply = "application/apply-patch+yaml";

Answer<api::Applier> applier_of(const Request& r, const ResourcePath& path) {
  api::Applier out;
  out.name = r.parameter("fieldManager");
  out.subresource = path.subresource;
  out.force = r.flag("force");
  if (out.name.empty())
    return invalid_options("PatchOptions", "fieldManager", "FieldValueRequired",
                           "Required value: is required for apply patch");
  return out;
}

// What the applier wants, as it is stored. YAML is taken in the form that clients send: JSON.
Answer<json::object> configuration(const Request& r, const ResourcePath& path) {
  auto parsed = parse_body(r.body);
  if (!parsed) return Status::bad_request("error decoding YAML: only its JSON form is read: " + parsed.error().message);
  if (!parsed->is_object()) return Status::bad_request("error decoding YAML: this is not an object");
  auto config = std::move(parsed->get_object());
  for (const char* name : {"kind", "apiVersion"})
    if (api::text_at(config, name).empty())
      return Status::bad_request(fmt::format("the applied object does not say its {}", name));
  if (auto bad = check_identity(path, config)) return *bad;
  if (!api::array_at(config, "metadata.managedFields").empty())
    return Status::bad_request("metadata.managedFields must be nil");
  to_storage(*path.kind, config);
  api::Findings found;
  api::check_schema(storage_kind(*path.kind), config, found);
  if (found.unknown.empty() && found.mistyped.empty()) return config;
  std::string what;
  if (found.unknown.empty()) {
    what = "." + found.mistyped.front();
  } else {
    // unknown field "spec.x"
    const auto& text = found.unknown.front();
    auto from = text.find('"') + 1;
    what = fmt::format(".{}: field not declared in schema", text.substr(from, text.rfind('"') - from));
  }
  return Status::bad_request(fmt::format("failed to create typed patch object ({}/{}; {}, Kind={}): {}", path.ns,
                                         path.name, path.kind->api_version(), path.kind->kind, what));
}

awaitable<Answer<Reply>> apply(Context c, const Request& r, const ResourcePath& path) {
  auto applier = applier_of(r, path);
  if (!applier) co_return applier.error();
  auto config = configuration(r, path);
  if (!config) co_return config.error();
  Change make = [&](const api::Object& old) -> Answer<json::object> {
    if (auto uid = api::text_at(*config, "metadata.uid"); !uid.empty() && old.body.empty())
      return Status::conflict(key_of(path), fmt::format("uid mismatch: the provided object specified uid {}, and no "
                                                        "existing object was found",
                                                        uid));
    return api::apply_fields(storage_kind(*path.kind), old.body, *config, *applier, now());
  };
  co_return co_await change(c, r, path, "patch", std::move(make), true);
}

}  // namespace

awaitable<Answer<Reply>> create(Context c, const Request& r, const ResourcePath& path) {
  auto parsed = read_object(r, api::message_of(*path.kind), path.kind->kind);
  if (!parsed) co_return parsed.error();
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  auto body = std::move(*parsed);
  if (auto bad = check_manager(r, "CreateOptions")) co_return *bad;
  if (auto bad = check_identity(path, body)) co_return *bad;
  std::vector<std::string> warnings;
  if (auto bad = check_fields(r, *path.kind, body, warnings)) co_return *bad;
  to_storage(*path.kind, body);
  fold_string_data(*path.kind, body);
  add_maker(r, *path.kind, body);
  auto checks = hook_of(c, r, attempt_of(r, path, "create"));
  // Tracked first: what the checks give out (addresses, ports) is the server's own.
  store::Hook hook = [&](store::Transaction& tx, const Key& key, const api::Object* old,
                         json::object* made) -> std::optional<Status> {
    if (made && !old) api::track_create(storage_kind(*path.kind), *made, manager_of(r), now());
    return checks(tx, key, old, made);
  };
  store::Decision decide = [&](store::Transaction& tx) {
    Key key{key_of(path).resource, path.ns, ""};
    return store::create(tx, storage_kind(*path.kind), key, body, now(), hook);
  };
  auto made = co_await commit(c.store, std::move(decide), *dry);
  if (!made) co_return made.error();
  co_return reply_object(r, *path.kind, *made, 201, warnings);
}

awaitable<Answer<Reply>> update(Context c, const Request& r, const ResourcePath& path) {
  bool scale = path.subresource == "scale";
  auto message = scale ? std::string_view("Scale") : api::message_of(*path.kind);
  if (auto bad = check_manager(r, "UpdateOptions")) co_return *bad;
  auto parsed = read_object(r, message, scale ? message : path.kind->kind);
  if (!parsed) co_return parsed.error();
  auto body = std::move(*parsed);
  Change make;
  if (scale) {
    make = [&](const api::Object& old) { return set_replicas(old, body); };
  } else {
    if (auto bad = check_identity(path, body)) co_return *bad;
    make = [&](const api::Object&) -> Answer<json::object> {
      auto copy = body;
      to_storage(*path.kind, copy);
      return copy;
    };
  }
  // Upstream creates a Lease or a Node by PUT as little as anything else: 404.
  co_return co_await change(c, r, path, "update", std::move(make), false);
}

awaitable<Answer<Reply>> patch(Context c, const Request& r, const ResourcePath& path) {
  if (auto bad = check_manager(r, "PatchOptions")) co_return *bad;
  auto type = media_type(r);
  bool can_apply = path.subresource.empty() || path.subresource == "status";
  if (type == kApply && can_apply) co_return co_await apply(c, r, path);
  if (type != "application/json-patch+json" && type != "application/merge-patch+json" &&
      type != "application/strategic-merge-patch+json")
    co_return Status::unsupported_media_type(fmt::format(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
        "application/merge-patch+json, application/strategic-merge-patch+json{} (got {})",
        can_apply ? ", application/apply-patch+yaml" : "", type));
  if (r.has("force"))
    co_return invalid_options("PatchOptions", "force", "FieldValueForbidden",
                              "Forbidden: may not be specified for non-apply patch");
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  auto document = std::move(*parsed);
  Change make = [&](const api::Object& old) -> Answer<json::object> {
    if (path.subresource == "scale") {
      auto patched = apply_patch(type, *path.kind, scale_of(old), document);
      if (!patched) return patched.error();
      // Only a version that the patch itself names is a precondition.
      if (!document.is_object() || !api::at(document, "metadata.resourceVersion"))
        api::make_object_at(*patched, "metadata").erase("resourceVersion");
      return set_replicas(old, *patched);
    }
    auto base = path.kind->served_as.empty() ? old.body : view_of(*path.kind, old);
    auto next = apply_patch(type, *path.kind, base, document);
    if (!next) return next.error();
    to_storage(*path.kind, *next);
    return next;
  };
  co_return co_await change(c, r, path, "patch", std::move(make), false);
}

awaitable<Answer<Reply>> bind(Context c, const Request& r, const ResourcePath& path) {
  auto parsed = read_object(r, "Binding", "Binding");
  if (!parsed) co_return parsed.error();
  auto node = api::text_at(*parsed, "target.name");
  if (node.empty()) co_return Status::bad_request("Binding: target.name must name a node");
  Change make = [&](const api::Object& old) -> Answer<json::object> {
    if (!api::text_at(old.body, "spec.nodeName").empty())
      return Status::conflict(old.key, fmt::format("pod {} is already assigned to node \"{}\"", old.key.name,
                                                   api::text_at(old.body, "spec.nodeName")));
    json::object next = old.body;
    api::make_object_at(next, "spec")["nodeName"] = node;
    return next;
  };
  auto plain = path;
  plain.subresource.clear();
  auto done = co_await change(c, r, plain, "create", std::move(make), false);
  if (!done) co_return done.error();
  auto out = success(key_of(path), "");
  out.status = 201;
  co_return out;
}

}  // namespace trama::server
