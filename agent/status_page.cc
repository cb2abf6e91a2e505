// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/status_page.h"

#include <fmt/format.h>

#include "agent/metrics_text.h"

namespace trama::agent {

namespace json = boost::json;

namespace {

json::array texts(const std::vector<std::string>& lines) {
  json::array out;
  for (const auto& line : lines) out.emplace_back(line);
  return out;
}

json::object room(const RoomFacts& r) {
  json::object out;
  out["inSync"] = r.in_sync;
  out["generation"] = r.generation;
  out["programmedGeneration"] = r.programmed;
  out["passes"] = r.passes;
  out["operations"] = r.operations;
  out["heals"] = r.heals;
  out["failedPasses"] = r.failed_passes;
  out["lastPassMs"] = r.last_pass_ms;
  out["failures"] = texts(r.failures);
  return out;
}

}  // namespace

json::object status_page(const AgentFacts& f) {
  json::object out;
  out["node"] = f.node;
  out["version"] = "v" TRAMA_VERSION;
  out["server"] = f.server;
  out["connected"] = f.connected;
  if (!f.connected) out["connectionTrouble"] = f.connection_trouble;
  out["startedAt"] = f.started_at;
  out["now"] = f.now;
  out["ready"] = f.ready;
  out["reason"] = f.reason;
  out["message"] = f.message;
  json::object rooms;
  rooms["sandboxes"] = room(f.sandboxes);
  rooms["overlay"] = room(f.overlay);
  rooms["services"] = room(f.services);
  out["reconcilers"] = std::move(rooms);
  out["servicesProgrammedRevision"] = std::min(f.service_revision, f.slice_revision);
  out["serviceRevision"] = f.service_revision;
  out["endpointSliceRevision"] = f.slice_revision;
  out["services"] = f.services_count;
  out["pods"] = f.pods;
  out["podsReady"] = f.pods_ready;
  out["sandboxes"] = f.sandboxes_count;
  out["addressesInUse"] = f.addresses;
  out["peers"] = f.peers;
  out["mtu"] = f.mtu;
  out["overlayMode"] = f.overlay_mode;
  out["uplink"] = f.uplink;
  out["podCIDRs"] = texts(f.pod_cidrs);
  out["holding"] = f.holding;
  out["troubles"] = texts(f.troubles);
  if (f.overlay_paths) out["overlayPaths"] = *f.overlay_paths;
  if (f.obstacles) out["foreignChains"] = obstacles_page(*f.obstacles);
  return out;
}

std::string metrics_page(const AgentFacts& f) {
  MetricsText m;
  m.family("trama_build_info", "gauge", "Version of this agent.");
  m.value(1, fmt::format("version=\"{}\"", TRAMA_VERSION));
  m.gauge("trama_agent_connected", "1 while every watch of the API server works.", f.connected ? 1 : 0);
  m.gauge("trama_agent_ready", "1 while this node reports Ready.", f.ready ? 1 : 0);
  m.gauge("trama_pods", "Pods bound to this node.", f.pods);
  m.gauge("trama_pods_ready", "Pods of this node that are Ready.", f.pods_ready);
  m.gauge("trama_pod_addresses_in_use", "Pod addresses that are given out.", f.addresses);
  m.gauge("trama_sandboxes", "Sandboxes found on this node.", f.sandboxes_count);
  m.gauge("trama_peers", "Nodes that are reached through the overlay.", f.peers);
  m.gauge("trama_services", "Services programmed on this node.", f.services_count);
  m.gauge("trama_service_revision", "API revision up to which Services are in the kernel.", f.service_revision);
  m.gauge("trama_endpointslice_revision", "API revision up to which EndpointSlices are in the kernel.",
          f.slice_revision);
  m.counter("trama_api_requests_total", "Requests sent to the API server besides lists and watches.", f.api_requests);
  m.counter("trama_lease_renewals_total", "Renewals of the node's lease.", f.lease_renewals);
  if (f.dns) {
    m.family("trama_dns_questions_total", "counter", "DNS questions of pods, by what became of them.");
    m.value(f.dns->answered, "result=\"answered\"");
    m.value(f.dns->forwarded, "result=\"forwarded\"");
    m.value(f.dns->remembered, "result=\"remembered\"");
    m.value(f.dns->failed, "result=\"failed\"");
    m.value(f.dns->refused, "result=\"refused\"");
    m.value(f.dns->dropped, "result=\"dropped\"");
  }
  const RoomFacts* rooms[] = {&f.sandboxes, &f.overlay, &f.services};
  auto label = [](const RoomFacts* r) { return fmt::format("room=\"{}\"", r->name); };
  m.family("trama_room_in_sync", "gauge", "1 while the kernel has what this room should have.");
  for (auto* r : rooms) m.value(r->in_sync ? 1 : 0, label(r));
  m.family("trama_room_passes_total", "counter", "Passes of a reconciler.");
  for (auto* r : rooms) m.value(r->passes, label(r));
  m.family("trama_room_operations_total", "counter", "Changes made to the kernel.");
  for (auto* r : rooms) m.value(r->operations, label(r));
  m.family("trama_room_heals_total", "counter", "Repairs of what somebody else had changed.");
  for (auto* r : rooms) m.value(r->heals, label(r));
  m.family("trama_room_failed_passes_total", "counter", "Passes that could not do everything.");
  for (auto* r : rooms) m.value(r->failed_passes, label(r));
  m.family("trama_room_last_pass_seconds", "gauge",
           "Duration of the last pass that changed something, from telling to report.");
  for (auto* r : rooms) m.value(r->last_pass_ms / 1000, label(r));
  return std::move(m).text();
}

std::string health_page(const AgentFacts& f, bool with_node, int& code) {
  bool eligible = !f.node_deleting && !f.node_excluded;
  bool well = !f.stale && (!with_node || eligible);
  code = well ? 200 : 503;
  json::object out;
  out["lastUpdated"] = f.stale ? f.services_updated_at : f.now;
  out["currentTime"] = f.now;
  if (with_node) out["nodeEligible"] = eligible;
  return json::serialize(out);
}

}  // namespace trama::agent
