// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/watch_stream.h"

#include <charconv>
#include <random>
#include <utility>

#include <fmt/format.h>

#include "control/api/selector.h"
#include "control/api/table.h"
#include "control/server/answers.h"
#include "control/server/reads.h"
#include "control/server/storage_form.h"

namespace trama::server {
namespace {

namespace json = api::json;
using api::ObjectPtr;
using api::Status;
using std::chrono::steady_clock;

constexpr std::size_t kPiece = 256 << 10;  // what waits for a slow client as text, besides one object

// Writes events of one watch in the form that its client asked for.
class Writer {
 public:
  Writer(const Request& request, const ResourcePath& path) : kind_(*path.kind), table_(wants_table(request)) {
    auto v = request.parameter("includeObject");
    include_ = v == "Object" ? api::RowObject::object : v == "None" ? api::RowObject::none : api::RowObject::metadata;
  }

  // Appends to `out`, so that the object's bytes, which all watchers share, are copied once.
  void event(std::string& out, std::string_view type, const ObjectPtr& object) {
    if (!table_) return line(out, type, kind_.served_as.empty() ? object->text() : serialized_view(*object));
    auto& kind = kind_.served_as.empty() ? kind_ : *api::kind_of_resource(kind_.served_as);
    auto table = api::make_table(kind, {object}, include_, std::chrono::system_clock::now());
    if (!first_) table.erase("columnDefinitions");
    first_ = false;
    table["metadata"].get_object()["resourceVersion"] = std::to_string(object->revision);
    line(out, type, json::serialize(table));
  }

  std::string bookmark(std::uint64_t revision, bool initial_end) const {
    json::object metadata;
    metadata["resourceVersion"] = std::to_string(revision);
    metadata["creationTimestamp"] = nullptr;
    if (initial_end) {
      json::object annotations;
      annotations["k8s.io/initial-events-end"] = "true";
      metadata["annotations"] = std::move(annotations);
    }
    return fmt::format(
        "{{\"type\":\"BOOKMARK\",\"object\":{{\"kind\":\"{}\",\"apiVersion\":\"{}\",\"metadata\":{}}}}}\n", kind_.kind,
        kind_.api_version(), json::serialize(metadata));
  }

  static std::string error(const Status& status) {
    return fmt::format("{{\"type\":\"ERROR\",\"object\":{}}}\n", json::serialize(status.to_json()));
  }

 private:
  static void line(std::string& out, std::string_view type, const std::string& object) {
    out.reserve(out.size() + type.size() + object.size() + 32);
    out.append(R"({"type":")").append(type).append(R"(","object":)").append(object).append("}\n");
  }
  const std::string& serialized_view(const api::Object& object) {
    view_ = json::serialize(view_of(kind_, object));
    return view_;
  }

  const api::Kind& kind_;
  std::string view_;
  bool table_;
  bool first_ = true;
  api::RowObject include_ = api::RowObject::metadata;
};

std::optional<std::uint64_t> number(const std::string& text) {
  std::uint64_t n = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (ec != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return n;
}

// What an event means to a watcher with this selector: objects come into view and leave it.
void translate(std::string& out, Writer& writer, const api::Selector& selector, const std::string& ns,
               const store::Event& e) {
  if (!ns.empty() && e.object->key.ns != ns) return;
  bool now = e.type != store::Event::Type::deleted && selector.matches(*e.object);
  bool before = e.previous && selector.matches(*e.previous);
  if (now) return writer.event(out, before ? "MODIFIED" : "ADDED", e.object);
  if (!before) return;
  if (e.type == store::Event::Type::deleted) return writer.event(out, "DELETED", e.object);
  // Left the view: the last content that matched, with the revision at which it stopped to.
  writer.event(out, "DELETED", api::make_object(e.object->key, e.previous->body, e.revision));
}

}  // namespace

awaitable<void> serve_watch(Context c, Request r, ResourcePath path, Stream& stream) {
  auto refuse = [&stream](const Status& s) -> awaitable<void> {
    auto reply = reply_status(s);
    (void)co_await stream.reply(std::move(reply));
  };
  std::string fields = r.parameter("fieldSelector");
  if (!path.name.empty()) fields += (fields.empty() ? "" : ",") + ("metadata.name=" + path.name);
  auto selector = api::Selector::parse(*path.kind, r.parameter("labelSelector"), fields);
  if (!selector) {
    co_await refuse(selector.error());
    co_return;
  }
  auto version = r.parameter("resourceVersion");
  bool from_now = version.empty() || version == "0";
  bool initial = r.flag("sendInitialEvents");
  bool bookmarks = r.flag("allowWatchBookmarks");
  if (auto behind = co_await catch_up(c, r)) {
    co_await refuse(*behind);
    co_return;
  }
  auto after = from_now ? std::optional<std::uint64_t>(c.store.revision()) : number(version);
  if (!after) {
    auto bad = Status::bad_request(
        fmt::format("resourceVersion: Invalid value: \"{}\": not a revision that this server gave out", version));
    co_await refuse(bad);
    co_return;
  }
  if (auto ahead = check_revision(c, version)) {
    co_await refuse(*ahead);
    co_return;
  }
  std::chrono::seconds limit{1800 + static_cast<int>(std::random_device{}() % 1800)};
  if (auto text = r.parameter("timeoutSeconds"); !text.empty()) {
    auto n = number(text);
    if (!n) {
      auto bad = Status::bad_request("timeoutSeconds: expected a number of seconds");
      co_await refuse(bad);
      co_return;
    }
    if (*n > 0 && *n < 86'400) limit = std::chrono::seconds(*n);
  }
  Writer writer(r, path);
  std::string resource(path.kind->served_as.empty() ? path.kind->resource : path.kind->served_as);
  std::vector<ObjectPtr> listed;
  std::uint64_t reached = *after;
  if (from_now || initial) {
    reached = c.store.revision();
    listed = c.store.list(resource, path.ns);
    std::erase_if(listed, [&](const ObjectPtr& object) { return !selector->matches(*object); });
  }
  auto watch = c.store.watch(resource, reached);
  if (!co_await stream.begin(200, "application/json")) co_return;
  if (!watch) {
    auto error = Writer::error(watch.error());
    (void)co_await stream.chunk(std::move(error));
    (void)co_await stream.finish();
    co_return;
  }
  std::string text;
  for (const auto& object : listed) {
    writer.event(text, "ADDED", object);
    if (text.size() < kPiece) continue;
    auto piece = std::exchange(text, std::string());
    if (!co_await stream.chunk(std::move(piece))) co_return;
  }
  listed.clear();
  if (initial && bookmarks) text += writer.bookmark(reached, true);
  if (!text.empty() && !co_await stream.chunk(std::move(text))) co_return;
  auto end = steady_clock::now() + limit;
  auto next_bookmark = steady_clock::now() + c.options.bookmark_period;
  for (;;) {
    auto now = steady_clock::now();
    if (now >= end) break;
    auto until = std::min(end, bookmarks ? next_bookmark : end);
    auto wait = std::chrono::duration_cast<std::chrono::milliseconds>(until - now) + std::chrono::milliseconds(1);
    auto events = co_await (*watch)->next(wait);
    if (!events) {
      auto error = Writer::error(events.error());
      (void)co_await stream.chunk(std::move(error));
      break;
    }
    text.clear();
    for (const auto& e : *events) {
      translate(text, writer, *selector, path.ns, e);
      reached = e.revision;
      if (text.size() < kPiece) continue;
      auto piece = std::exchange(text, std::string());
      if (!co_await stream.chunk(std::move(piece))) co_return;
    }
    now = steady_clock::now();
    if (bookmarks && (now >= next_bookmark || now + std::chrono::seconds(2) >= end)) {
      // Everything up to the store's revision has been delivered when the queue was empty.
      if (events->empty()) reached = std::max(reached, c.store.revision());
      if (now >= next_bookmark) text += writer.bookmark(reached, false);
      next_bookmark = now + c.options.bookmark_period;
    }
    if (!text.empty() && !co_await stream.chunk(std::move(text))) co_return;
  }
  if (bookmarks) {
    auto last = writer.bookmark(reached, false);
    (void)co_await stream.chunk(std::move(last));
  }
  (void)co_await stream.finish();
}

}  // namespace trama::server
