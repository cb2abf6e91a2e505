// SPDX-License-Identifier: GPL-2.0-or-later
#include <cstdio>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/verbs/verbs.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"

namespace trama::cli {

int overlay(const Globals& globals, const OverlayOptions& options) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto& api = *session->api;
  std::vector<std::string> names;
  if (options.node.empty()) {
    auto nodes = list_items(api, "/api/v1/nodes");
    if (!nodes) return fail(nodes.error(), "trama lab ls   (is the controller running?)");
    for (const auto& n : *nodes) names.push_back(api::text_at(n, "metadata.name"));
  } else {
    names.push_back(options.node);
  }
  bool as_json = options.output == "json";
  std::vector<Call> calls;
  for (const auto& name : names) {
    Call c;
    c.path = fmt::format("/api/v1/nodes/{}/proxy/overlay/{}", encode(name), as_json ? "report" : options.page);
    calls.push_back(std::move(c));
  }
  auto answers = api.call_all(std::move(calls));
  int rc = code(Exit::ok);
  json::object reports;
  for (std::size_t i = 0; i < names.size(); ++i) {
    auto& answer = answers[i];
    if (!answer || !answer->ok()) {
      auto why = answer ? error_of(*answer) : answer.error();
      rc = fail(base::Error(why).in("node " + names[i]), options.node.empty() ? "trama doctor" : "trama get nodes");
      continue;
    }
    if (as_json) {
      auto report = object_of(std::move(answer));
      if (!report) return fail(report.error());
      reports[names[i]] = std::move(*report);
    } else {
      if (names.size() > 1) fmt::print("{}node {}\n", i > 0 ? "\n" : "", names[i]);
      std::fputs(answer->text.c_str(), stdout);
    }
  }
  if (as_json) std::fputs(to_pretty_json(reports).c_str(), stdout);
  return rc;
}

}  // namespace trama::cli
