// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/reads.h"

#include <fmt/format.h>

#include "control/api/selector.h"
#include "control/api/table.h"
#include "control/server/answers.h"
#include "control/server/body.h"
#include "control/server/storage_form.h"

namespace trama::server {

namespace json = api::json;
using api::Answer;
using api::ObjectPtr;
using api::Status;

namespace {

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

}  // namespace

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

awaitable<std::optional<Status>> catch_up(Context c, const Request& r) {
  auto text = r.parameter("resourceVersion");
  std::optional<std::uint64_t> wanted;
  if (auto from = r.parameter("continue"); !from.empty()) {
    if (auto parsed = parse_continue(from)) wanted = parsed->revision;
  } else if (text.empty()) {
    auto now = co_await c.store.current();
    if (!now) co_return now.error();
    co_return std::nullopt;
  } else {
    wanted = number(text);
  }
  // As upstream: what this controller has not seen yet is waited for, and said when it does not come.
  if (wanted && *wanted > c.store.revision()) (void)co_await c.store.reached(*wanted, std::chrono::seconds(3));
  co_return std::nullopt;
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
  for (auto& object : c.store.list(key_of(path).resource, path.ns)) {
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
  if (path.kind->served_as.empty()) {
    std::size_t size = out.body.size() + 2;
    for (const auto& item : items) size += item->text().size() + 1;
    out.body.reserve(size);
  }
  for (const auto& item : items) {
    if (!first) out.body += ',';
    first = false;
    out.body += path.kind->served_as.empty() ? item->text() : json::serialize(view_of(*path.kind, *item));
  }
  out.body += "]}";
  return out;
}

json::object scale_of(const api::Object& object) {
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
  return out;
}

Answer<Reply> get(const Context& c, const Request& r, const ResourcePath& path) {
  auto object = c.store.get(key_of(path));
  if (!object) return Status::not_found(key_of(path));
  if (auto refused = authorize_object(r.identity, attempt_of(r, path, "get"), object.get(), nullptr, c.known()))
    return *refused;
  if (path.subresource == "scale") return reply_json(scale_of(*object));
  return reply_object(r, *path.kind, object, 200);
}

}  // namespace trama::server
