// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/node_of_service.h"

#include "cli/condition.h"
#include "cli/fetch.h"
#include "control/api/object.h"

namespace trama::cli {

base::Result<std::string> node_to_ask(Api& api, const std::string& wanted) {
  if (!wanted.empty()) return wanted;
  auto nodes = list_items(api, "/api/v1/nodes");
  if (!nodes) return std::move(nodes).error();
  for (const auto& n : *nodes)
    if (condition_is(n, "Ready")) return api::text_at(n, "metadata.name");
  return base::Error::text("no node is Ready", std::errc::no_such_file_or_directory);
}

std::string service_page_path(const std::string& node, const std::string& ns, const std::string& name) {
  return fmt::format("/api/v1/nodes/{}/proxy/debug/service?namespace={}&name={}", encode(node), encode(ns),
                     encode(name));
}

}  // namespace trama::cli
