// SPDX-License-Identifier: GPL-2.0-or-later
// Paths and queries of the agent's API: no name that is accepted leads out of its directory.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "agent/api/routes.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trama::agent;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  HttpRequest request;
  request.method = text.starts_with('!') ? "POST" : "GET";
  auto question = std::min(text.find('?'), text.size());
  request.path = std::string(text.substr(0, question));
  request.query = parse_query(text.substr(std::min(question + 1, text.size())));
  auto ask = parse_route(request);
  if (!ask) return 0;
  if (auto* service = std::get_if<AskService>(&*ask))
    for (const auto* name : {&service->key.ns, &service->key.name})
      if (name->empty() || name->find('/') != std::string::npos) std::abort();
  const PodContainer* where = nullptr;
  if (auto* logs = std::get_if<AskLogs>(&*ask)) where = &logs->where;
  if (auto* exec = std::get_if<AskExec>(&*ask)) where = &exec->where;
  if (!where) return 0;
  for (const auto* name : {&where->ns, &where->pod, &where->container})
    if (name->empty() || name->front() == '.' || name->find('/') != std::string::npos) std::abort();
  return 0;
}
