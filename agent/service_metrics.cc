// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/service_metrics.h"

#include <algorithm>

namespace trama::agent {
namespace {

// kube-proxy's own, so that dashboards find what they know (pkg/proxy/metrics).
std::vector<double> programming_bounds() {
  std::vector<double> out;
  add_linear_bounds(out, 0.25, 0.25, 2);
  add_linear_bounds(out, 1, 1, 59);
  add_linear_bounds(out, 60, 5, 12);
  add_linear_bounds(out, 120, 30, 7);
  return out;
}

double seconds(std::chrono::nanoseconds time) { return std::chrono::duration<double>(time).count(); }
double unix_seconds(const std::optional<base::Timestamp>& time) {
  return time ? std::chrono::duration<double>(time->time_since_epoch()).count() : 0;
}

void statuses(MetricsText& m, const char* name, const char* help, const std::map<int, std::uint64_t>& counts) {
  m.family(name, "counter", help);
  for (const auto& [code, count] : counts) m.value(count, fmt::format("code=\"{}\"", code));
}

}  // namespace

ServiceMetrics::ServiceMetrics(Now started)
    : started_(started.wall),
      updated_(started.wall),
      sync_(exponential_bounds(0.001, 2, 15)),
      latency_(exponential_bounds(0.0005, 2, 16)),
      programming_(programming_bounds()) {}

void ServiceMetrics::told(const ToldChange& change, Now now) {
  pending_.push_back({change, now});
  last_queued_ = now.wall;
  service_changes_ += change.service, service_pending_ += change.service;
  endpoint_changes_ += change.endpoints, endpoint_pending_ += change.endpoints;
}

void ServiceMetrics::passed(const ServicePass& pass, Now now) {
  ++passes_;
  operations_ += pass.operations;
  heals_ += pass.healed;
  failures_ += pass.failed;
  retries_ += failing_;
  failing_ = pass.failed;
  if (!pending_.empty() && pending_.front().change.generation <= pass.generation) {
    sync_.observe(seconds(pass.took));
    last_synced_ = now.wall;
  }
  elements_ = pass.elements;
  while (!pending_.empty() && pending_.front().change.generation <= pass.generation) {
    const auto& [change, since] = pending_.front();
    latency_.observe(seconds(now.steady - since.steady));
    // What happened before we watched says nothing about us.
    if (change.triggered && *change.triggered > started_)
      programming_.observe(std::max(0.0, seconds(now.wall - *change.triggered)));
    service_pending_ -= change.service;
    endpoint_pending_ -= change.endpoints;
    pending_.pop_front();
  }
  if (pending_.empty()) updated_ = now.wall;
}

std::optional<std::chrono::steady_clock::time_point> ServiceMetrics::oldest_pending() const {
  if (pending_.empty()) return std::nullopt;
  return pending_.front().since.steady;
}

std::string ServiceMetrics::text(const Totals& totals, const std::vector<CountedEndpoint>& counted) const {
  MetricsText m;
  m.gauge("trama_service_elements", "Elements of our maps and sets in the kernel.", elements_);
  m.family("trama_service_connections_total", "counter",
           "New connections of an endpoint since it got its slot, for Services that count them.");
  for (const auto& c : counted)
    m.value(c.connections, fmt::format(R"(namespace="{}",service="{}",port="{}",protocol="{}",endpoint="{}",pod="{}")",
                                       c.ns, c.service, c.port, c.protocol, c.endpoint, c.pod));
  m.histogram("kubeproxy_sync_proxy_rules_duration_seconds", "Duration of a pass that programmed something.", sync_);
  m.histogram("kubeproxy_network_programming_duration_seconds",
              "From the change of the endpoints (annotation of their slice) to the rule in the kernel.", programming_);
  m.gauge("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "When something was last programmed.",
          unix_seconds(last_synced_));
  m.gauge("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "When a change was last queued.",
          unix_seconds(last_queued_));
  m.gauge("kubeproxy_sync_proxy_rules_service_changes_pending", "Changes of Services that are not programmed yet.",
          service_pending_);
  m.counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of Services.", service_changes_);
  m.gauge("kubeproxy_sync_proxy_rules_endpoint_changes_pending", "Changes of endpoints that are not programmed yet.",
          endpoint_pending_);
  m.counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of endpoints.", endpoint_changes_);
  m.family("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "gauge",
           "Service ports with policy Local that have endpoints, but none on this node.");
  m.value(totals.no_local.internal, R"(traffic_policy="internal")");
  m.value(totals.no_local.external, R"(traffic_policy="external")");
  m.counter("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", "Passes that could not do everything.",
            failures_);
  statuses(m, "kubeproxy_proxy_healthz_total", "Answers of /healthz, by status.", healthz_);
  statuses(m, "kubeproxy_proxy_livez_total", "Answers of /livez, by status.", livez_);

  m.histogram("trama_service_sync_duration_seconds", "Duration of a pass that programmed something.", sync_);
  m.histogram("trama_service_change_latency_seconds", "From a change that this agent saw to the rule in the kernel.",
              latency_);
  m.gauge("trama_service_ports", "Ports of the Services of this node.", totals.ports);
  m.gauge("trama_service_endpoints", "Endpoints of all these ports, whether they are used or not.", totals.endpoints);
  m.counter("trama_service_elements_written_total", "Elements, rules and chains written to the kernel.", operations_);
  m.counter("trama_service_passes_total", "Passes with news.", passes_);
  m.counter("trama_service_failures_total", "Passes that could not do everything.", failures_);
  m.counter("trama_service_retries_total", "Passes after one that could not do everything.", retries_);
  m.counter("trama_service_heals_total", "Passes that repaired what somebody else had changed.", heals_);
  return std::move(m).text();
}

}  // namespace trama::agent
