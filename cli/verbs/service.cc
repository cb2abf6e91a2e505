// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/lab/registry.h"
#include "cli/node_of_service.h"
#include "cli/service_text.h"
#include "cli/verbs/verbs.h"
#include "cli/yaml/emit.h"

namespace trama::cli {

int service(const Globals& globals, const ServiceOptions& options) {
  std::vector<std::string> words{options.name.find('/') == std::string::npos ? "svc/" + options.name : options.name};
  auto references = parse_references(words, true);
  if (!references) return fail(references.error());
  if (references->front().kind->resource != "services")
    return fail(Exit::usage, fmt::format("\"{}\" is not a Service", options.name), "trama get svc");
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  // What the API does not have is not looked for on nodes.
  auto known = fetch(*session->api, *references, session->ns);
  if (!known) return fail(known.error(), "trama get svc -A");
  const auto& name = references->front().name;
  auto node = node_to_ask(*session->api, options.node);
  if (!node) return fail(node.error(), "trama get nodes");
  Call c;
  c.path = options.output == "nft"
               ? fmt::format("/api/v1/nodes/{}/proxy/debug/nft?svc={}", *node, encode(session->ns + "/" + name))
               : service_page_path(*node, session->ns, name);
  if (options.output == "nft") {
    auto answer = session->api->call(std::move(c));
    if (!answer) return fail(answer.error());
    if (!answer->ok()) return fail(error_of(*answer));
    std::fputs(answer->text.c_str(), stdout);
    return code(Exit::ok);
  }
  auto page = session->api->object(std::move(c));
  if (!page) return fail(page.error(), fmt::format("trama describe svc {}", name));
  if (options.output == "json")
    std::fputs(to_pretty_json(*page).c_str(), stdout);
  else
    std::fputs(service_text(*page, session->lab.empty() ? "" : node_netns(session->lab, *node)).c_str(), stdout);
  return code(Exit::ok);
}

}  // namespace trama::cli
