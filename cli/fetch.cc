// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/fetch.h"

#include "control/api/json_text.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;
using Clock = std::chrono::steady_clock;

std::string joined_query(const std::vector<std::string>& parts) {
  std::string out;
  for (const auto& p : parts)
    if (!p.empty()) out += (out.empty() ? "?" : "&") + p;
  return out;
}

namespace {

Call get_call(std::string path) {
  Call c;
  c.path = std::move(path);
  return c;
}

// One consistent look at a collection: all pages.
struct Listed {
  std::vector<json::object> items;
  std::string revision;
};
Result<Listed> list_all(Api& api, const std::string& path, const std::string& query) {
  Listed out;
  std::string next;
  do {
    auto page =
        api.object(get_call(path + joined_query({query, "limit=500", next.empty() ? "" : "continue=" + encode(next)})));
    if (!page) return std::move(page).error();
    auto api_version = api::text_at(*page, "apiVersion");
    auto kind = api::text_at(*page, "kind");
    if (kind.ends_with("List")) kind.resize(kind.size() - 4);
    if (auto* items = page->if_contains("items"); items && items->is_array())
      for (auto& item : items->get_array()) {
        auto* o = item.if_object();
        if (!o) continue;
        json::object full;
        full["apiVersion"] = api_version;
        full["kind"] = kind;
        for (auto& [key, value] : *o) full[key] = std::move(value);
        out.items.push_back(std::move(full));
      }
    out.revision = api::text_at(*page, "metadata.resourceVersion");
    next = api::text_at(*page, "metadata.continue");
  } while (!next.empty());
  return out;
}

}  // namespace

Result<std::vector<json::object>> list_items(Api& api, const std::string& path, const std::string& query) {
  auto all = list_all(api, path, query);
  if (!all) return std::move(all).error();
  return std::move(all->items);
}

Result<std::vector<json::object>> fetch(Api& api, const std::vector<Reference>& references, const std::string& ns,
                                        const std::string& selector) {
  std::vector<json::object> out;
  for (const auto& r : references) {
    if (!r.name.empty()) {
      auto o = api.object(get_call(path_of(*r.kind, ns.empty() ? "default" : ns, r.name)));
      if (!o) return std::move(o).error();
      out.push_back(std::move(*o));
      continue;
    }
    auto items = list_items(api, path_of(*r.kind, ns), selector.empty() ? "" : "labelSelector=" + encode(selector));
    if (!items) return std::move(items).error();
    for (auto& i : *items) out.push_back(std::move(i));
  }
  return out;
}

Result<> watch_until(Api& api, const std::string& path, const std::string& query, const Check& check,
                     Clock::time_point deadline) {
  auto left = [&] { return std::chrono::duration_cast<milliseconds>(deadline - Clock::now()); };
  auto late = [&] { return Error::from_errno(ETIMEDOUT, path); };
  auto key_of = [](const json::object& o) {
    auto ns = api::text_at(o, "metadata.namespace");
    return (ns.empty() ? "" : ns + "/") + api::text_at(o, "metadata.name");
  };
  for (;;) {
    auto listed = list_all(api, path, query);
    if (!listed) return std::move(listed).error();
    ObjectSet now;
    for (auto& o : listed->items) {
      auto key = key_of(o);
      now[key] = std::move(o);
    }
    if (check(now, nullptr)) return {};
    auto seconds = std::max<std::int64_t>(1, left().count() / 1000 + 1);
    auto lines = api.lines(path + joined_query({query, "watch=true", "resourceVersion=" + encode(listed->revision),
                                                fmt::format("timeoutSeconds={}", seconds)}));
    if (!lines) return std::move(lines).error();
    for (;;) {
      if (left().count() <= 0) return late();
      auto line = (*lines)->next(left());
      if (!line && line.error().is(std::errc::timed_out)) return late();
      if (!line && line.error().code().value() == ENODATA) break;  // the server ended the watch: list again
      if (!line) return std::move(line).error();
      boost::system::error_code ec;
      auto event = api::parse_json(*line, ec);
      if (ec || !event.is_object()) break;
      auto type = api::text_at(event.get_object(), "type");
      if (type == "ERROR") break;
      if (type == "BOOKMARK") continue;
      const auto& o = api::object_at(event.get_object(), "object");
      auto key = key_of(o);
      if (type == "DELETED")
        now.erase(key);
      else
        now[key] = o;
      if (check(now, type == "DELETED" ? nullptr : &now[key])) return {};
    }
  }
}

Result<> wait_until_gone(Api& api, const Kind& kind, const std::string& ns, const std::string& name,
                         const std::string& uid, Clock::time_point deadline) {
  auto gone = [&](const ObjectSet& now, const json::object*) {
    return now.empty() || api::text_at(now.begin()->second, "metadata.uid") != uid;
  };
  return watch_until(api, path_of(kind, ns), "fieldSelector=" + encode("metadata.name=" + name), gone, deadline);
}

}  // namespace trama::cli
