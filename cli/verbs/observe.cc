// SPDX-License-Identifier: GPL-2.0-or-later
// events, status, version, scale: the short verbs.
#include <algorithm>
#include <cstdio>
#include <set>

#include "cli/age.h"
#include "cli/condition.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/verbs/verbs.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"

namespace trama::cli {

using api::int_at;
using api::text_at;

namespace {

std::string event_time(const json::object& e) {
  auto t = text_at(e, "lastTimestamp");
  return t.empty() ? text_at(e, "eventTime", text_at(e, "metadata.creationTimestamp")) : t;
}

std::vector<std::string> event_row(const json::object& e, bool with_namespace) {
  std::vector<std::string> row;
  if (with_namespace) row.push_back(text_at(e, "metadata.namespace"));
  auto about = text_at(e, "involvedObject.kind") + "/" + text_at(e, "involvedObject.name");
  for (char& c : about)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  auto count = int_at(e, "count", 1);
  row.push_back(age_of(event_time(e)) + (count > 1 ? fmt::format(" (x{})", count) : ""));
  row.insert(row.end(), {text_at(e, "type"), text_at(e, "reason"), about, text_at(e, "message")});
  return row;
}

}  // namespace

int events(const Globals& globals, const EventsOptions& options) {
  std::string query;
  if (!options.about.empty()) {
    std::vector<std::string> words{options.about};
    auto references = parse_references(words, true);
    if (!references) return fail(references.error());
    query = "fieldSelector=" + encode(fmt::format("involvedObject.kind={},involvedObject.name={}",
                                                  std::string((*references)[0].kind->kind), (*references)[0].name));
  }
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto path = path_of(*api::kind_of_resource("events"), globals.all_namespaces ? "" : session->ns);
  std::set<std::string> seen;  // "uid/revision" of what was printed: a watch that begins anew lists everything again
  bool header = true;
  auto id_of = [](const json::object& e) {
    return text_at(e, "metadata.uid") + "/" + text_at(e, "metadata.resourceVersion");
  };
  auto print = [&](const ObjectSet& now, const json::object* changed) {
    std::vector<const json::object*> fresh;
    if (changed) fresh.push_back(changed);
    for (const auto& [key, e] : now)
      if (!changed && !seen.count(id_of(e))) fresh.push_back(&e);
    std::stable_sort(fresh.begin(), fresh.end(), [](auto* a, auto* b) { return event_time(*a) < event_time(*b); });
    Table table;
    if (globals.all_namespaces) table.header.emplace_back("NAMESPACE");
    table.header.insert(table.header.end(), {"LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"});
    for (const auto* e : fresh) table.rows.push_back(event_row(*e, globals.all_namespaces));
    if (!fresh.empty()) {
      std::fputs(table.to_text(header).c_str(), stdout);
      std::fflush(stdout);
      header = false;
    }
    if (!changed) seen.clear();
    for (const auto& [key, e] : now)
      if (!changed) seen.insert(id_of(e));
    if (changed) seen.insert(id_of(*changed));
    return !options.watch;
  };
  auto forever = std::chrono::steady_clock::now() + std::chrono::hours(24 * 365);
  auto ended = watch_until(*session->api, path, query, print, forever);
  if (!ended) return fail(ended.error());
  if (header) fmt::print(stderr, "no events found\n");
  return code(Exit::ok);
}

int scale(const Globals& globals, const ScaleOptions& options) {
  if (options.replicas < 0) return fail(Exit::usage, "scale: to how many?", "trama scale deployment/web --replicas 3");
  auto references = parse_references(options.what, true);
  if (!references) return fail(references.error());
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  int rc = code(Exit::ok);
  for (const auto& r : *references) {
    if (!r.kind->has("scale")) {
      rc = fail(Exit::usage, fmt::format("a {} cannot be scaled (deployments and replicasets can)", r.kind->singular));
      continue;
    }
    json::object spec, body;
    spec["replicas"] = options.replicas;
    body["spec"] = std::move(spec);
    Call c;
    c.method = "PATCH";
    c.path = path_of(*r.kind, session->ns, r.name) + "/scale";
    c.body = json::serialize(body);
    c.content_type = "application/merge-patch+json";
    auto answer = session->api->object(std::move(c));
    if (!answer)
      rc = fail(answer.error());
    else
      fmt::print("{} scaled\n", display_name(*r.kind, r.name));
  }
  return rc;
}

int version(const Globals& globals, bool client_only, const std::string& output) {
  json::object all, client;
  client["version"] = TRAMA_VERSION;
  all["client"] = std::move(client);
  int rc = code(Exit::ok);
  if (!client_only) {
    auto session = open_session(globals);
    Call c;
    c.path = "/version";
    auto server = session ? session->api->object(std::move(c)) : base::Result<json::object>(session.error());
    if (server)
      all["server"] = std::move(*server);
    else
      fmt::print(stderr, "no server version: {}\n", server.error().to_string());
  }
  if (output == "json") {
    std::fputs(to_pretty_json(all).c_str(), stdout);
  } else if (output == "yaml") {
    std::fputs(to_yaml(all).c_str(), stdout);
  } else {
    fmt::print("trama {}\n", TRAMA_VERSION);
    if (all.contains("server")) fmt::print("server {}\n", text_at(all["server"].get_object(), "gitVersion"));
  }
  return rc;
}

namespace {

// What each node's agent says about itself; an agent that does not answer is an error of its own.
json::array node_statuses(Api& api, const std::vector<json::object>& nodes) {
  std::vector<Call> calls;
  for (const auto& n : nodes) {
    Call c;
    c.path = fmt::format("/api/v1/nodes/{}/proxy/status", text_at(n, "metadata.name"));
    calls.push_back(std::move(c));
  }
  auto answers = api.call_all(std::move(calls));
  json::array out;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    json::object o;
    o["name"] = text_at(nodes[i], "metadata.name");
    o["ready"] = condition_is(nodes[i], "Ready");
    auto agent = object_of(std::move(answers[i]));
    if (agent)
      o["agent"] = std::move(*agent);
    else
      o["error"] = agent.error().to_string();
    out.push_back(std::move(o));
  }
  return out;
}

std::string agent_text(const json::object& node) {
  if (!text_at(node, "error").empty()) return "does not answer: " + text_at(node, "error");
  std::string text;
  for (const auto& [key, value] : api::object_at(node, "agent")) {
    if (value.is_object() || value.is_array()) continue;
    text += (text.empty() ? "" : "  ") +
            fmt::format("{} {}", std::string_view(key),
                        value.is_string() ? std::string(value.get_string()) : json::serialize(value));
  }
  return text;
}

}  // namespace

int status(const Globals& globals, const std::string& output) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto& api = *session->api;
  Call c;
  c.path = "/version";
  auto server = api.object(std::move(c));
  if (!server) return fail(server.error(), "trama lab ls   (is the controller running?)");
  auto nodes = list_items(api, "/api/v1/nodes");
  if (!nodes) return fail(nodes.error());
  auto pods = list_items(api, "/api/v1/pods");
  if (!pods) return fail(pods.error());
  auto services = list_items(api, "/api/v1/services");
  if (!services) return fail(services.error());

  json::object all;
  all["server"] = api.server();
  all["version"] = text_at(*server, "gitVersion");
  all["nodes"] = node_statuses(api, *nodes);
  auto ready_pods = std::count_if(pods->begin(), pods->end(), [](const auto& p) { return condition_is(p, "Ready"); });
  json::object counts;
  counts["pods"] = pods->size();
  counts["podsReady"] = ready_pods;
  counts["services"] = services->size();
  all["counts"] = counts;
  bool good = std::all_of(nodes->begin(), nodes->end(), [](const auto& n) { return condition_is(n, "Ready"); }) &&
              std::all_of(all["nodes"].get_array().begin(), all["nodes"].get_array().end(),
                          [](const json::value& n) { return !n.get_object().contains("error"); });
  if (output == "json") {
    std::fputs(to_pretty_json(all).c_str(), stdout);
  } else if (output == "yaml") {
    std::fputs(to_yaml(all).c_str(), stdout);
  } else {
    fmt::print("controller  {}  {}\n", api.server(), text_at(*server, "gitVersion"));
    fmt::print("pods        {}/{} ready\n", ready_pods, pods->size());
    fmt::print("services    {}\n", services->size());
    for (const auto& n : all["nodes"].get_array()) {
      const auto& o = n.get_object();
      bool ready = api::bool_at(o, "ready");
      fmt::print("node {:<6} {}  {}\n", text_at(o, "name"),
                 paint(1, ready ? Colour::green : Colour::red, ready ? "ready    " : "not ready"), agent_text(o));
    }
  }
  return code(good ? Exit::ok : Exit::no);
}

}  // namespace trama::cli
