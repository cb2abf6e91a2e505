// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/doctor.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "cli/context.h"
#include "cli/exit.h"
#include "cli/fetch.h"
#include "cli/verbs/verbs.h"
#include "cli/yaml/emit.h"
#include "control/api/object.h"

namespace trama::cli {

namespace {

// What is told takes milliseconds to be programmed; who is behind for so long is ill.
constexpr auto kPatience = std::chrono::seconds(3);

base::Result<std::uint64_t> newest(Api& api, const std::string& path) {
  auto items = list_items(api, path);
  if (!items) return std::move(items).error();
  std::uint64_t out = 0;
  for (const auto& o : *items)
    out = std::max<std::uint64_t>(out, std::strtoull(api::text_at(o, "metadata.resourceVersion").c_str(), nullptr, 10));
  return out;
}

std::vector<Patient> patients(Api& api, const std::vector<json::object>& nodes) {
  std::vector<Patient> out;
  std::vector<Call> calls;
  for (const auto& n : nodes) {
    Patient p;
    p.name = api::text_at(n, "metadata.name");
    Call c;
    c.path = fmt::format("/api/v1/nodes/{}/proxy/status", encode(p.name));
    calls.push_back(std::move(c));
    out.push_back(std::move(p));
  }
  auto answers = api.call_all(std::move(calls));
  for (std::size_t i = 0; i < out.size(); ++i) {
    auto status = object_of(std::move(answers[i]));
    if (status)
      out[i].status = std::move(*status);
    else
      out[i].error = status.error().to_string();
  }
  return out;
}

}  // namespace

int doctor(const Globals& globals, const DoctorOptions& options) {
  auto session = open_session(globals);
  if (!session) return fail(session.error());
  auto& api = *session->api;
  auto nodes = list_items(api, "/api/v1/nodes");
  if (!nodes) return fail(nodes.error(), "trama lab ls   (is the controller running?)");
  ApiRevisions revisions;
  for (auto [into, path] : {std::pair{&revisions.services, "/api/v1/services"},
                            std::pair{&revisions.slices, "/apis/discovery.k8s.io/v1/endpointslices"}}) {
    auto found = newest(api, path);
    if (!found) return fail(found.error());
    *into = *found;
  }
  auto give_up = std::chrono::steady_clock::now() + kPatience;
  auto all = patients(api, *nodes);
  auto behind = [&revisions](const Patient& p) { return is_behind(p, revisions); };
  while (std::any_of(all.begin(), all.end(), behind) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    all = patients(api, *nodes);
  }
  std::vector<Finding> findings;
  for (const auto& p : all) {
    auto more = examine(p, revisions, options.what.empty());
    findings.insert(findings.end(), more.begin(), more.end());
  }
  if (options.output == "json")
    std::fputs(to_pretty_json(doctor_page(findings)).c_str(), stdout);
  else
    std::fputs(doctor_text(findings).c_str(), stdout);
  return code(all_well(findings) ? Exit::ok : Exit::no);
}

}  // namespace trama::cli
