// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/describe.h"

#include <algorithm>
#include <cstdio>

#include "cli/age.h"
#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/lab/registry.h"
#include "cli/node_of_service.h"
#include "cli/service_text.h"
#include "cli/verbs/verbs.h"
#include "control/api/object.h"

namespace trama::cli {

using base::Result;

namespace {

// What the first Ready node has programmed for a Service. Whoever cannot be asked must not hide the Service itself.
std::string programmed_on_a_node(Api& api, const std::string& lab, const std::string& ns, const std::string& name) {
  auto node = node_to_ask(api, "");
  if (!node) return node.error().to_string() + "\n";
  Call c;
  c.path = service_page_path(*node, ns, name);
  auto page = api.object(std::move(c));
  if (!page) return fmt::format("node {}: {}\n", *node, page.error().to_string());
  return service_text(*page, lab.empty() ? "" : node_netns(lab, *node));
}

// What stands beside an object: events about it, and what else its kind makes interesting.
Result<Surroundings> surroundings_of(Api& api, const std::string& lab, const Kind& kind, const json::object& o) {
  Surroundings s;
  auto name = api::text_at(o, "metadata.name");
  auto ns = api::text_at(o, "metadata.namespace");
  auto about = fmt::format("involvedObject.name={},involvedObject.kind={}", name, std::string(kind.kind));
  auto events = list_items(api, path_of(*api::kind_of_resource("events"), ns), "fieldSelector=" + encode(about));
  // Events are an extra: their absence must not hide the object itself.
  if (events) s.events = std::move(*events);
  if (kind.resource == "services") {
    auto slices = list_items(api, path_of(*api::kind_of_resource("endpointslices"), ns),
                             "labelSelector=" + encode("kubernetes.io/service-name=" + name));
    if (!slices) return std::move(slices).error();
    s.related = std::move(*slices);
    s.programmed = programmed_on_a_node(api, lab, ns, name);
  } else if (kind.resource == "nodes") {
    auto pods = list_items(api, "/api/v1/pods", "fieldSelector=" + encode("spec.nodeName=" + name));
    if (!pods) return std::move(pods).error();
    s.related = std::move(*pods);
  }
  return s;
}

}  // namespace

int describe(const Globals& globals, const DescribeOptions& options) {
  auto references = parse_references(options.what, false);
  if (!references) return fail(references.error());
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto ns = globals.all_namespaces ? std::string() : session->ns;
  int rc = code(Exit::ok);
  bool first = true;
  for (const auto& r : *references) {
    std::vector<Reference> one{r};
    auto objects = fetch(*session->api, one, ns, options.selector);
    if (!objects) {
      rc = fail(objects.error(), fmt::format("trama get {}", std::string(r.kind->resource)));
      continue;
    }
    for (const auto& o : *objects) {
      auto around = surroundings_of(*session->api, session->lab, *r.kind, o);
      if (!around) {
        rc = fail(around.error());
        continue;
      }
      if (!first) std::fputs("\n\n", stdout);
      first = false;
      std::fputs(describe_text(*r.kind, o, *around).c_str(), stdout);
    }
  }
  if (first && rc == 0) fmt::print(stderr, "there is nothing to describe\n");
  return rc;
}

}  // namespace trama::cli
