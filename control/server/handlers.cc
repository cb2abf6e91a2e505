// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/handlers.h"

#include <charconv>

#include <fmt/format.h>

#include "control/api/patch.h"
#include "control/api/schema.h"
#include "control/api/selector.h"
#include "control/api/table.h"
#include "control/server/discovery.h"
#include "control/store/writes.h"

namespace trama::server {
namespace {

namespace json = api::json;
using api::Answer;
using api::Key;
using api::Kind;
using api::ObjectPtr;
using api::Status;

api::Time now() { return std::chrono::system_clock::now(); }

std::string_view storage(const Kind& kind) { return kind.served_as.empty() ? kind.resource : kind.served_as; }
Key key_of(const ResourcePath& path) { return Key{std::string(storage(*path.kind)), path.ns, path.name}; }

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// ---- bodies -----------------------------------------------------------------------------------------------------

// A patch can nest deeper than a body may: what is stored must stay readable.
constexpr unsigned kDepth = 64;
bool is_too_deep(const json::value& v, unsigned left) {
  if (left == 0) return v.is_object() || v.is_array();
  if (v.is_array())
    for (const auto& item : v.get_array())
      if (is_too_deep(item, left - 1)) return true;
  if (v.is_object())
    for (const auto& member : v.get_object())
      if (is_too_deep(member.value(), left - 1)) return true;
  return false;
}

Answer<json::value> parse_body(const std::string& text) {
  json::parse_options options;
  options.max_depth = kDepth;
  boost::system::error_code ec;
  auto value = json::parse(text, ec, {}, options);
  if (ec) return Status::bad_request(fmt::format("the body of the request is not JSON: {}", ec.message()));
  return value;
}

std::string media_type(const Request& r) {
  auto type = r.header("content-type");
  type = type.substr(0, type.find(';'));
  while (!type.empty() && type.back() == ' ') type.pop_back();
  return type;
}

std::optional<Status> require_json(const Request& r) {
  auto type = media_type(r);
  if (type.empty() || type == "application/json") return std::nullopt;
  return Status::unsupported_media_type(fmt::format(
      "the body of the request was in an unknown format - accepted media types include: application/json (got {})",
      type));
}

// Unknown and mistyped fields as the client asked to hear of them. Warnings are added to `warnings`.
std::optional<Status> check_fields(const Request& r, const Kind& kind, json::object& body,
                                   std::vector<std::string>& warnings) {
  for (const auto& member : body)
    if (is_too_deep(member.value(), kDepth - 1))
      return Status::bad_request(fmt::format("the object nests deeper than {} levels", kDepth));
  api::Findings found;
  api::check_schema(kind, body, found);
  if (!found.mistyped.empty())
    return Status::bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: {}", kind.kind,
                                           kind.version, kind.kind, found.mistyped.front()));
  auto mode = r.parameter("fieldValidation");
  if (!mode.empty() && mode != "Strict" && mode != "Warn" && mode != "Ignore")
    return Status::bad_request(fmt::format(
        "fieldValidation: Unsupported value: \"{}\": supported values: \"Ignore\", \"Strict\", \"Warn\"", mode));
  if (mode == "Strict" && !found.unknown.empty()) {
    std::string list;
    for (const auto& one : found.unknown) list += (list.empty() ? "" : ", ") + one;
    return Status::bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
                                           kind.kind, kind.version, kind.kind, list));
  }
  if (mode != "Ignore") warnings = std::move(found.unknown);
  if (!found.invalid.empty()) {
    Key key{std::string(storage(kind)), "", api::text_at(body, "metadata.name")};
    return Status::invalid(key, kind.kind, std::move(found.invalid));
  }
  return std::nullopt;
}

// apiVersion, kind, name and namespace of the body must be those of the URL, where given.
std::optional<Status> check_identity(const ResourcePath& path, const json::object& body) {
  auto version = api::text_at(body, "apiVersion"), kind = api::text_at(body, "kind");
  if ((!version.empty() && version != path.kind->api_version()) || (!kind.empty() && kind != path.kind->kind))
    return Status::bad_request(
        fmt::format("the API version and kind in the data ({}, {}) do not match the expected ({}, {})", version, kind,
                    path.kind->api_version(), path.kind->kind));
  auto ns = api::text_at(body, "metadata.namespace");
  if (path.kind->namespaced && !ns.empty() && ns != path.ns)
    return Status::bad_request("the namespace of the provided object does not match the namespace sent on the request");
  auto name = api::text_at(body, "metadata.name");
  if (!path.name.empty() && !name.empty() && name != path.name)
    return Status::bad_request(
        fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, path.name));
  return std::nullopt;
}

// events.k8s.io/v1 <-> core/v1: the same event under other names. Stored in the core form.
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

void to_storage(const Kind& kind, json::object& body) {
  if (kind.served_as.empty()) return;
  rename_members(body, true);
  body["apiVersion"] = "v1";
}

const Kind& storage_kind(const Kind& kind) {
  return kind.served_as.empty() ? kind : *api::kind_of_resource(kind.served_as);
}

// ---- answers ----------------------------------------------------------------------------------------------------

Reply reply_object(const Request& r, const Kind& kind, const ObjectPtr& object, int status,
                   const std::vector<std::string>& warnings = {}) {
  Reply out;
  if (wants_table(r)) {
    auto table = api::make_table(storage_kind(kind), {object}, api::RowObject::metadata, now());
    table["metadata"].get_object()["resourceVersion"] = std::to_string(object->revision);
    out = reply_json(table, status);
  } else if (kind.served_as.empty()) {
    out.status = status;
    out.body = object->text();
  } else {
    out = reply_json(view_of(kind, *object), status);
  }
  for (const auto& w : warnings) {
    std::string safe;
    for (char c : w) safe += c == '"' ? "'" : c == '\\' || static_cast<unsigned char>(c) < 32 ? " " : std::string(1, c);
    out.headers.emplace_back("Warning", fmt::format("299 - \"{}\"", safe));
  }
  return out;
}

Reply success(const Key& key, const std::string& uid) {
  json::object out, details;
  out["kind"] = "Status";
  out["apiVersion"] = "v1";
  out["metadata"] = json::object();
  out["status"] = "Success";
  details["name"] = key.name;
  details["kind"] = key.resource;
  details["uid"] = uid;
  out["details"] = std::move(details);
  return reply_json(out);
}

api::RowObject include_object(const Request& r) {
  auto v = r.parameter("includeObject");
  return v == "Object" ? api::RowObject::object : v == "None" ? api::RowObject::none : api::RowObject::metadata;
}

// ---- reading ----------------------------------------------------------------------------------------------------

struct Continuation {
  std::uint64_t revision = 0;
  std::string ns, name;  // of the last item already sent
};
// "REVISION/NAMESPACE/NAME": opaque to clients, none of the parts can contain a slash.
std::optional<Continuation> parse_continue(const std::string& text) {
  auto a = text.find('/'), b = text.find('/', a + 1);
  if (a == std::string::npos || b == std::string::npos) return std::nullopt;
  auto revision = number(text.substr(0, a));
  if (!revision) return std::nullopt;
  Continuation out{*revision, text.substr(a + 1, b - a - 1), text.substr(b + 1)};
  return out;
}

std::optional<Status> check_revision(const Context& c, const std::string& text) {
  if (text.empty() || text == "0") return std::nullopt;
  auto wanted = number(text);
  if (!wanted)
    return Status::bad_request(
        fmt::format("Invalid value: \"{}\": strconv.ParseUint: parsing \"{}\": invalid syntax", text, text));
  if (*wanted <= c.store.revision()) return std::nullopt;
  Status s;
  s.code = 504;
  s.reason = "Timeout";
  s.message = fmt::format("Too large resource version: {}, current: {}", *wanted, c.store.revision());
  s.causes.push_back({"ResourceVersionTooLarge", "Too large resource version", ""});
  s.retry_after_seconds = 1;
  return s;
}

Answer<Reply> list(const Context& c, const Request& r, const ResourcePath& path) {
  auto selector = api::Selector::parse(*path.kind, r.parameter("labelSelector"), r.parameter("fieldSelector"));
  if (!selector) return selector.error();
  if (auto bad = check_revision(c, r.parameter("resourceVersion"))) return *bad;
  std::uint64_t limit = 0;
  if (auto text = r.parameter("limit"); !text.empty()) {
    auto n = number(text);
    if (!n) return Status::bad_request(fmt::format("limit: \"{}\" is not a number", text));
    limit = *n;
  }
  std::uint64_t revision = c.store.revision();
  std::optional<Continuation> from;
  if (auto text = r.parameter("continue"); !text.empty()) {
    from = parse_continue(text);
    if (!from) return Status::bad_request("continue key is not valid: it is not one that this server gave out");
    revision = from->revision;
  }
  std::vector<ObjectPtr> items;
  std::size_t remaining = 0;
  std::string resource(storage(*path.kind));
  for (auto& object : c.store.list(resource, path.ns)) {
    if (from && std::tie(object->key.ns, object->key.name) <= std::tie(from->ns, from->name)) continue;
    if (!selector->matches(*object)) continue;
    if (limit && items.size() == limit)
      ++remaining;
    else
      items.push_back(std::move(object));
  }
  json::object metadata;
  metadata["resourceVersion"] = std::to_string(revision);
  if (remaining > 0) {
    metadata["continue"] = fmt::format("{}/{}/{}", revision, items.back()->key.ns, items.back()->key.name);
    if (selector->empty()) metadata["remainingItemCount"] = remaining;
  }
  if (wants_table(r)) {
    auto table = api::make_table(storage_kind(*path.kind), items, include_object(r), now());
    table["metadata"] = std::move(metadata);
    return reply_json(table);
  }
  // Items are already text: the list is put together without parsing or copying them again.
  Reply out;
  out.body = fmt::format("{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{},\"items\":[", path.kind->kind,
                         path.kind->api_version(), json::serialize(metadata));
  bool first = true;
  for (const auto& item : items) {
    if (!first) out.body += ',';
    first = false;
    out.body += path.kind->served_as.empty() ? item->text() : json::serialize(view_of(*path.kind, *item));
  }
  out.body += "]}";
  return out;
}

json::object scale_of(const Kind& kind, const api::Object& object) {
  json::object out, metadata, spec, status;
  const auto& from = api::object_at(object.body, "metadata");
  for (const char* name : {"name", "namespace", "uid", "resourceVersion", "creationTimestamp"})
    if (auto* v = from.if_contains(name)) metadata[name] = *v;
  spec["replicas"] = api::int_at(object.body, "spec.replicas", 1);
  status["replicas"] = api::int_at(object.body, "status.replicas");
  std::string selector;
  for (const auto& [k, v] : api::strings_at(object.body, "spec.selector.matchLabels"))
    selector += (selector.empty() ? "" : ",") + k + "=" + v;
  status["selector"] = selector;
  out["kind"] = "Scale";
  out["apiVersion"] = "autoscaling/v1";
  out["metadata"] = std::move(metadata);
  out["spec"] = std::move(spec);
  out["status"] = std::move(status);
  (void)kind;
  return out;
}

Answer<Reply> get(const Context& c, const Request& r, const ResourcePath& path) {
  auto object = c.store.get(key_of(path));
  if (!object) return Status::not_found(key_of(path));
  if (auto refused = authorize_object(r.identity, attempt_of(r, path, "get"), object.get(), nullptr)) return *refused;
  if (path.subresource == "scale") return reply_json(scale_of(*path.kind, *object));
  return reply_object(r, *path.kind, object, 200);
}

// ---- writing ----------------------------------------------------------------------------------------------------

// The composition's admissions and the object-level authorisation, as one hook of the write.
store::Hook hook_of(const Context& c, const Request& r, const Attempt& attempt) {
  return [&c, &r, attempt](store::Transaction& tx, const Key& key, const api::Object* old,
                           json::object* body) -> std::optional<Status> {
    if (auto refused = authorize_object(r.identity, attempt, old, body)) return refused;
    for (const auto& admission : c.options.admissions)
      if (auto refused = admission(tx, key, old, body, r.identity)) return refused;
    return std::nullopt;
  };
}

// With dryRun=All the decision is made and answered, and nothing is written: the error channel carries the object out.
struct DryRun {
  bool wanted = false;
  ObjectPtr result;
};
Answer<DryRun> dry_run(const Request& r) {
  DryRun out;
  auto it = r.query.find("dryRun");
  if (it == r.query.end()) return out;
  for (const auto& v : it->second) {
    if (v != "All")
      return Status::invalid(Key{}, "DryRun",
                             {{"FieldValueNotSupported",
                               fmt::format("Unsupported value: \"{}\": supported values: \"All\"", v), "dryRun"}});
    out.wanted = true;
  }
  return out;
}

awaitable<Answer<ObjectPtr>> commit(store::Store& store, store::Decision decide, bool dry) {
  if (!dry) co_return co_await store.write(std::move(decide));
  auto result = std::make_shared<std::optional<Answer<ObjectPtr>>>();
  auto rehearsal = [decide = std::move(decide), result](store::Transaction& tx) -> Answer<ObjectPtr> {
    *result = decide(tx);
    return Status::internal("dry run");  // an error leaves the store untouched
  };
  store::Decision rehearse = rehearsal;
  (void)co_await store.write(std::move(rehearse));
  co_return std::move(**result);
}

void add_maker(const Request& r, const Kind& kind, json::object& body) {
  if (kind.resource != "certificatesigningrequests") return;
  auto& spec = api::make_object_at(body, "spec");
  spec["username"] = r.identity.name;
  json::array groups;
  for (const auto& g : r.identity.groups) groups.emplace_back(g);
  spec["groups"] = std::move(groups);
}

std::string base64(std::string_view in) {
  constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < in.size(); i += 3) {
    std::uint32_t v = 0;
    for (std::size_t k = 0; k < 3; ++k) v = v << 8 | (i + k < in.size() ? static_cast<unsigned char>(in[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k) out += i + k <= in.size() ? kLetters[v >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

// stringData is write-only: it arrives as data.
void fold_string_data(const Kind& kind, json::object& body) {
  if (kind.resource != "secrets" || !body.contains("stringData")) return;
  for (const auto& [name, value] : api::strings_at(body, "stringData"))
    api::make_object_at(body, "data")[name] = base64(value);
  body.erase("stringData");
}

awaitable<Answer<Reply>> create(Context c, const Request& r, const ResourcePath& path) {
  if (auto bad = require_json(r)) co_return *bad;
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  if (!parsed->is_object()) co_return Status::bad_request("the body of the request is not an object");
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  auto body = std::move(parsed->get_object());
  if (auto bad = check_identity(path, body)) co_return *bad;
  std::vector<std::string> warnings;
  if (auto bad = check_fields(r, *path.kind, body, warnings)) co_return *bad;
  to_storage(*path.kind, body);
  fold_string_data(*path.kind, body);
  add_maker(r, *path.kind, body);
  auto hook = hook_of(c, r, attempt_of(r, path, "create"));
  store::Decision decide = [&](store::Transaction& tx) {
    Key key{std::string(storage(*path.kind)), path.ns, ""};
    return store::create(tx, storage_kind(*path.kind), key, body, now(), hook);
  };
  auto made = co_await commit(c.store, std::move(decide), dry->wanted);
  if (!made) co_return made.error();
  co_return reply_object(r, *path.kind, *made, 201, warnings);
}

api::Part part_of(const ResourcePath& path) {
  return path.subresource == "status"     ? api::Part::status
         : path.subresource == "approval" ? api::Part::approval
                                          : api::Part::main;
}

// Turns the object that is there into the one that is wanted.
using Change = std::function<Answer<json::object>(const api::Object& old)>;

awaitable<Answer<Reply>> change(Context c, const Request& r, const ResourcePath& path, std::string verb, Change make,
                                bool create_if_absent) {
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  auto warnings = std::make_shared<std::vector<std::string>>();
  auto hook = hook_of(c, r, attempt_of(r, path, verb));
  bool created = false;
  store::Decision decide = [&](store::Transaction& tx) -> Answer<ObjectPtr> {
    auto key = key_of(path);
    auto old = tx.get(key);
    if (!old && create_if_absent) {
      auto fresh = make(api::Object{});
      if (!fresh) return fresh.error();
      created = true;
      return store::create(tx, storage_kind(*path.kind), key, std::move(*fresh), now(), hook);
    }
    if (!old) return Status::not_found(key);
    auto next = make(*old);
    if (!next) return next.error();
    if (auto bad = check_fields(r, storage_kind(*path.kind), *next, *warnings)) return *bad;
    fold_string_data(*path.kind, *next);
    return store::update(tx, storage_kind(*path.kind), key, std::move(*next), part_of(path), now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), dry->wanted);
  if (!done) co_return done.error();
  if (path.subresource == "scale") co_return reply_json(scale_of(*path.kind, **done));
  co_return reply_object(r, *path.kind, *done, created ? 201 : 200, *warnings);
}

Answer<json::object> set_replicas(const api::Object& old, const json::object& scale) {
  auto* replicas = api::at(scale, "spec.replicas");
  if (!replicas || !replicas->is_int64() || replicas->get_int64() < 0)
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

awaitable<Answer<Reply>> update(Context c, const Request& r, const ResourcePath& path) {
  if (auto bad = require_json(r)) co_return *bad;
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  if (!parsed->is_object()) co_return Status::bad_request("the body of the request is not an object");
  auto body = std::move(parsed->get_object());
  Change make;
  if (path.subresource == "scale") {
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

Answer<json::object> apply_patch(const std::string& type, const Kind& kind, const json::object& from,
                                 const json::value& patch) {
  if (type == "application/json-patch+json") return api::json_patch(from, patch);
  if (!patch.is_object()) return Status::bad_request("a patch of this type is an object");
  if (type == "application/merge-patch+json") return api::merge_patch(from, patch.get_object());
  return api::strategic_patch(kind, from, patch.get_object());
}

awaitable<Answer<Reply>> patch(Context c, const Request& r, const ResourcePath& path) {
  auto type = media_type(r);
  if (type != "application/json-patch+json" && type != "application/merge-patch+json" &&
      type != "application/strategic-merge-patch+json")
    co_return Status::unsupported_media_type(fmt::format(
        "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, "
        "application/merge-patch+json, application/strategic-merge-patch+json (got {}{})",
        type,
        type == "application/apply-patch+yaml" ? "; server-side apply is not there yet, use client-side apply" : ""));
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  auto document = std::move(*parsed);
  Change make = [&](const api::Object& old) -> Answer<json::object> {
    if (path.subresource == "scale") {
      auto patched = apply_patch(type, *path.kind, scale_of(*path.kind, old), document);
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

Answer<api::DeleteOptions> delete_options(const Request& r) {
  api::DeleteOptions options;
  if (!r.body.empty()) {
    if (auto bad = require_json(r)) return *bad;
    auto parsed = parse_body(r.body);
    if (!parsed) return parsed.error();
    if (!parsed->is_object()) return Status::bad_request("DeleteOptions: the body is not an object");
    auto from_body = api::parse_delete_options(parsed->get_object());
    if (!from_body) return from_body.error();
    options = *from_body;
  }
  auto dry = dry_run(r);
  if (!dry) return dry.error();
  options.dry_run |= dry->wanted;
  if (auto grace = r.parameter("gracePeriodSeconds"); !grace.empty()) {
    auto n = number(grace);
    if (!n) return Status::bad_request("gracePeriodSeconds: expected a number of seconds, 0 or more");
    options.grace_seconds = static_cast<std::int64_t>(*n);
  }
  if (auto policy = r.parameter("propagationPolicy"); !policy.empty()) options.propagation = policy;
  return options;
}

awaitable<Answer<Reply>> remove(Context c, const Request& r, const ResourcePath& path) {
  auto options = delete_options(r);
  if (!options) co_return options.error();
  auto hook = hook_of(c, r, attempt_of(r, path, "delete"));
  store::Decision decide = [&](store::Transaction& tx) {
    return store::remove(tx, storage_kind(*path.kind), key_of(path), *options, now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), options->dry_run);
  if (!done) co_return done.error();
  bool stays = api::at((*done)->body, "metadata.deletionTimestamp") != nullptr;
  if (stays || path.kind->resource == "pods") co_return reply_object(r, *path.kind, *done, 200);
  co_return success(key_of(path), (*done)->uid);
}

awaitable<Answer<Reply>> remove_collection(Context c, const Request& r, const ResourcePath& path) {
  auto options = delete_options(r);
  if (!options) co_return options.error();
  auto selector = api::Selector::parse(*path.kind, r.parameter("labelSelector"), r.parameter("fieldSelector"));
  if (!selector) co_return selector.error();
  auto attempt = attempt_of(r, path, "deletecollection");
  std::string items;
  std::string resource(storage(*path.kind));
  for (const auto& object : c.store.list(resource, path.ns)) {
    if (!selector->matches(*object)) continue;
    auto hook = hook_of(c, r, attempt);
    store::Decision decide = [&](store::Transaction& tx) {
      return store::remove(tx, storage_kind(*path.kind), object->key, *options, now(), hook);
    };
    auto done = co_await commit(c.store, std::move(decide), options->dry_run);
    if (!done && done.error().code != 404) co_return done.error();
    items += (items.empty() ? "" : ",") + object->text();
  }
  Reply out;
  out.body = fmt::format(
      "{{\"kind\":\"{}List\",\"apiVersion\":\"{}\",\"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[{}]}}",
      path.kind->kind, path.kind->api_version(), c.store.revision(), items);
  co_return out;
}

// ---- subresources that are verbs --------------------------------------------------------------------------------

awaitable<Answer<Reply>> bind(Context c, const Request& r, const ResourcePath& path) {
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  auto node = parsed->is_object() ? api::text_at(parsed->get_object(), "target.name") : "";
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

awaitable<Answer<Reply>> evict(Context c, const Request& r, const ResourcePath& path) {
  auto parsed = parse_body(r.body);
  if (!parsed) co_return parsed.error();
  api::DeleteOptions options;
  if (auto* inner = parsed->is_object() ? api::at(parsed->get_object(), "deleteOptions") : nullptr;
      inner && inner->is_object()) {
    auto read = api::parse_delete_options(inner->get_object());
    if (!read) co_return read.error();
    options = *read;
  }
  // drain --dry-run=server says it here: ignoring it would really take the pod away.
  auto dry = dry_run(r);
  if (!dry) co_return dry.error();
  options.dry_run |= dry->wanted;
  auto hook = hook_of(c, r, attempt_of(r, path, "create"));
  store::Decision decide = [&](store::Transaction& tx) {
    return store::remove(tx, *path.kind, key_of(path), options, now(), hook);
  };
  auto done = co_await commit(c.store, std::move(decide), options.dry_run);
  if (!done) co_return done.error();
  auto out = success(key_of(path), (*done)->uid);
  out.status = 201;
  co_return out;
}

awaitable<Answer<Reply>> dispatch(Context c, const Request& r, const ResourcePath& path) {
  if (path.kind->namespaced && path.ns.empty() && !(path.name.empty() && r.method == "GET"))
    co_return Status::bad_request(
        fmt::format("{} live in a namespace: use /namespaces/NAME/{}", path.kind->resource, path.kind->resource));
  bool named = !path.name.empty();
  if (path.subresource == "binding" && r.method == "POST") co_return co_await bind(c, r, path);
  if (path.subresource == "eviction" && r.method == "POST") co_return co_await evict(c, r, path);
  if (r.method == "GET") {
    auto answer = named ? get(c, r, path) : list(c, r, path);
    co_return answer;
  }
  if (r.method == "POST" && !named) co_return co_await create(c, r, path);
  if (r.method == "PUT" && named) co_return co_await update(c, r, path);
  if (r.method == "PATCH" && named) co_return co_await patch(c, r, path);
  if (r.method == "DELETE" && path.subresource.empty()) {
    if (named) co_return co_await remove(c, r, path);
    co_return co_await remove_collection(c, r, path);
  }
  co_return Status::method_not_allowed();
}

std::string verb_of(const Request& r, const ResourcePath& path) {
  bool named = !path.name.empty();
  if (r.method == "GET" || r.method == "HEAD") return named ? "get" : is_watch(r, path) ? "watch" : "list";
  if (r.method == "POST") return "create";
  if (r.method == "PUT") return "update";
  if (r.method == "PATCH") return "patch";
  if (r.method == "DELETE") return named ? "delete" : "deletecollection";
  return r.method;
}

}  // namespace

api::json::object view_of(const Kind& kind, const api::Object& object) {
  json::object out = object.body;
  if (kind.served_as.empty()) return out;
  rename_members(out, false);
  out["apiVersion"] = kind.api_version();
  return out;
}

Reply reply_json(const json::object& body, int status) {
  Reply out;
  out.status = status;
  out.body = json::serialize(body);
  return out;
}

Reply reply_status(const Status& status) {
  auto out = reply_json(status.to_json(), status.code);
  if (status.retry_after_seconds > 0)
    out.headers.emplace_back("Retry-After", std::to_string(status.retry_after_seconds));
  return out;
}

bool wants_table(const Request& r) {
  auto accept = r.header("accept");
  return accept.find("as=Table") != std::string::npos && accept.find("v=v1") != std::string::npos;
}

bool is_watch(const Request& r, const ResourcePath& path) {
  auto v = r.parameter("watch");
  return path.subresource.empty() && r.method == "GET" && (path.watch || v == "true" || v == "1");
}

bool is_raw(const ResourcePath& path) {
  return !path.name.empty() &&
         (path.subresource == "log" || path.subresource == "exec" || path.subresource == "proxy") &&
         path.kind->has(path.subresource);
}

Attempt attempt_of(const Request& r, const ResourcePath& path, std::string verb) {
  Attempt a;
  a.verb = verb.empty() ? verb_of(r, path) : std::move(verb);
  a.kind = path.kind;
  a.ns = path.ns;
  a.name = path.name;
  a.subresource = path.subresource;
  a.field_selector = r.parameter("fieldSelector");
  return a;
}

std::optional<Status> refuse_impersonation(const Request& request) {
  for (const auto& [name, value] : request.headers)
    if (name.starts_with("impersonate-")) return Status::forbidden("impersonation is not supported by this server");
  return std::nullopt;
}

awaitable<Reply> handle(Context context, Request request) {
  if (auto refused = refuse_impersonation(request)) co_return reply_status(*refused);
  auto path = parse_resource(request.path);
  if (!path) {
    if (auto refused = authorize_path(request.identity, request.path)) co_return reply_status(*refused);
    if (request.path == "/metrics" && context.options.metrics) {
      Reply text;
      text.content_type = "text/plain; version=0.0.4";
      text.body = context.options.metrics();
      co_return text;
    }
    if (auto found = discover(request, context.options.cluster_version)) {
      if (request.method == "GET" || request.method == "HEAD") co_return std::move(*found);
      co_return reply_status(Status::method_not_allowed());
    }
    Status s;
    s.code = 404;
    s.reason = "NotFound";
    s.message = "the server could not find the requested resource";
    co_return reply_status(s);
  }
  if (auto refused = authorize(request.identity, attempt_of(request, *path, ""))) co_return reply_status(*refused);
  if (!path->subresource.empty() && !path->kind->has(path->subresource)) {
    Status s;
    s.code = 404;
    s.reason = "NotFound";
    s.message = "the server could not find the requested resource";
    co_return reply_status(s);
  }
  auto answer = co_await dispatch(context, request, *path);
  co_return answer ? std::move(*answer) : reply_status(answer.error());
}

}  // namespace trama::server
