// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <cstdio>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/table.h"
#include "cli/verbs/verbs.h"
#include "cli/yaml/emit.h"
#include "control/api/json_text.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Error;
using base::Result;

namespace {

// The header first, as everybody is used to read it.
json::object in_reading_order(json::object o) {
  json::object out;
  for (auto field : {"apiVersion", "kind", "metadata"})
    if (auto* v = o.if_contains(field)) out[field] = std::move(*v);
  for (auto& [key, value] : o)
    if (!out.contains(key)) out[key] = std::move(value);
  return out;
}

constexpr const char* kTableAccept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

class Getter {
 public:
  Getter(Session session, const Globals& globals, const GetOptions& options)
      : session_(std::move(session)), globals_(globals), options_(options) {}

  int run() {
    auto references = parse_references(expand_all(options_.what), false);
    if (!references) return fail(references.error());
    references_ = std::move(*references);
    if (options_.output == "json" || options_.output == "yaml" || options_.output == "name") return print_objects();
    return print_tables();
  }

 private:
  // "all" stands for the kinds of that category, as in kubectl.
  static std::vector<std::string> expand_all(std::vector<std::string> words) {
    if (words.size() != 1 || words[0] != "all") return words;
    std::string list;
    for (const auto& k : api::kinds())
      if (std::find(k.categories.begin(), k.categories.end(), "all") != k.categories.end())
        list += (list.empty() ? "" : ",") + std::string(k.resource);
    return {list};
  }

  std::string ns() const { return globals_.all_namespaces ? "" : session_.ns; }
  std::string query() const {
    std::string q;
    if (!options_.selector.empty()) q = "labelSelector=" + encode(options_.selector);
    if (!options_.field_selector.empty())
      q += (q.empty() ? "" : "&") + ("fieldSelector=" + encode(options_.field_selector));
    return q;
  }

  int print_objects() {
    if (options_.watch) return fail(Exit::usage, "-w prints a table: leave -o away, or give -o wide");
    auto objects = fetch(*session_.api, references_, ns(), options_.selector);
    if (!objects) return fail(objects.error());
    if (options_.output == "name") {
      for (const auto& o : *objects) {
        auto kind = find_kind(api::text_at(o, "apiVersion"), api::text_at(o, "kind"));
        if (kind) fmt::print("{}\n", display_name(**kind, api::text_at(o, "metadata.name")));
      }
      return code(Exit::ok);
    }
    json::value all;
    if (references_.size() == 1 && !references_[0].name.empty()) {
      all = in_reading_order(std::move((*objects)[0]));
    } else {
      json::object list;
      list["apiVersion"] = "v1";
      list["kind"] = "List";
      json::array items;
      for (auto& o : *objects) items.push_back(in_reading_order(std::move(o)));
      list["items"] = std::move(items);
      all = std::move(list);
    }
    std::fputs((options_.output == "json" ? to_pretty_json(all) : to_yaml(all)).c_str(), stdout);
    return code(Exit::ok);
  }

  Result<json::object> table_of(const std::string& path) {
    Call c;
    c.path = path;
    c.accept = kTableAccept;
    return session_.api->object(std::move(c));
  }

  TableOptions table_options(const Kind& kind) const {
    TableOptions t;
    t.wide = options_.output == "wide";
    t.with_namespace = globals_.all_namespaces && kind.namespaced;
    if (several_kinds()) t.name_prefix = display_name(kind, "");
    return t;
  }
  bool several_kinds() const {
    return std::any_of(references_.begin(), references_.end(),
                       [&](const auto& r) { return r.kind != references_[0].kind; });
  }

  int print_tables() {
    if (options_.watch && references_.size() > 1)
      return fail(Exit::usage, "-w watches one kind or one object at a time");
    int rc = code(Exit::ok);
    bool printed = false;
    std::string revision;
    // References of one kind that stand together share a table.
    for (std::size_t i = 0; i < references_.size();) {
      const auto& kind = *references_[i].kind;
      Table joint;
      for (; i < references_.size() && references_[i].kind == &kind; ++i) {
        const auto& r = references_[i];
        auto path = path_of(kind, r.name.empty() || !ns().empty() ? ns() : "default", r.name);
        auto answer = table_of(path + (r.name.empty() ? joined_query({query()}) : ""));
        if (!answer) {
          rc = fail(answer.error());
          continue;
        }
        auto table = render(kind, *answer);
        if (!table) {
          rc = fail(table.error());
          continue;
        }
        revision = api::text_at(*answer, "metadata.resourceVersion");
        joint.header = table->header;
        for (auto& row : table->rows) joint.rows.push_back(std::move(row));
      }
      if (joint.rows.empty()) continue;
      if (printed) std::fputs("\n", stdout);
      std::fputs(joint.to_text(!options_.no_headers, options_.watch ? &widths_ : nullptr).c_str(), stdout);
      printed = true;
    }
    std::fflush(stdout);
    if (!printed && rc == 0 && !options_.watch) say_empty();
    if (options_.watch && rc == 0) return watch(revision, printed);
    return rc;
  }

  void say_empty() const {
    auto where = ns().empty() || !references_[0].kind->namespaced ? "" : fmt::format(" in namespace \"{}\"", ns());
    fmt::print(stderr, "no {} found{}\n",
               references_.size() == 1 ? std::string(references_[0].kind->resource) : "objects", where);
  }

  // A server without tables still answers with objects: name and nothing else is what they have in common.
  Result<Table> render(const Kind& kind, const json::object& answer) {
    if (api::text_at(answer, "kind") == "Table") return from_server_table(answer, table_options(kind));
    Table t;
    t.header = {"NAME"};
    if (const auto* items = answer.if_contains("items"); items && items->is_array()) {
      for (const auto& i : items->get_array())
        if (i.is_object()) t.rows.push_back({api::text_at(i.get_object(), "metadata.name")});
    } else {
      t.rows.push_back({api::text_at(answer, "metadata.name")});
    }
    return t;
  }

  // Prints a row per change, widths as they come. Runs until Ctrl-C or until the server ends the watch.
  int watch(const std::string& revision, bool header_printed) {
    const auto& r = references_[0];
    auto q = query();
    if (!r.name.empty()) q = "fieldSelector=" + encode("metadata.name=" + r.name);
    auto lines = session_.api->lines(
        path_of(*r.kind, ns()) + joined_query({q, "watch=true", "resourceVersion=" + encode(revision)}), kTableAccept);
    if (!lines) return fail(lines.error());
    json::value columns;
    for (;;) {
      auto line = (*lines)->next(std::chrono::hours(24));
      if (!line && line.error().code().value() == ENODATA) return code(Exit::ok);
      if (!line) return fail(line.error());
      boost::system::error_code ec;
      auto event = api::parse_json(*line, ec);
      if (ec || !event.is_object()) return fail(Exit::internal, "the server's watch sent something that is no event");
      auto type = api::text_at(event.get_object(), "type");
      json::object object = api::object_at(event.get_object(), "object");
      if (type == "BOOKMARK") continue;
      if (type == "ERROR")
        return fail(Exit::conflict, api::text_at(object, "message", "the watch ended"), "start the same command again");
      // Only the first table of a watch carries the columns.
      if (!api::array_at(object, "columnDefinitions").empty())
        columns = object["columnDefinitions"];
      else if (!columns.is_null())
        object["columnDefinitions"] = columns;
      auto table = render(*r.kind, object);
      if (!table) return fail(table.error());
      std::fputs(table->to_text(!header_printed && !options_.no_headers, &widths_).c_str(), stdout);
      std::fflush(stdout);
      header_printed = true;
    }
  }

  Session session_;
  const Globals& globals_;
  const GetOptions& options_;
  std::vector<Reference> references_;
  std::vector<std::size_t> widths_;  // of a watch's columns so far
};

}  // namespace

int get(const Globals& globals, const GetOptions& options) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  return Getter(std::move(*session), globals, options).run();
}

}  // namespace trama::cli
