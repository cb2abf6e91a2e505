// SPDX-License-Identifier: GPL-2.0-or-later
// What a NodeAgent does about Services: whom it tells, what it makes of the answers.
#include <algorithm>

#include "agent/conntrack_sysctls.h"
#include "agent/machine.h"
#include "agent/nft_tool.h"
#include "agent/node_agent.h"
#include "servicelb/translation_hold.h"

namespace trama::agent {

namespace {

constexpr const char* kZoneLabel = "topology.kubernetes.io/zone";

// Where health checks of load balancers arrive: wherever node ports do.
std::vector<base::Ip> nodeport_addresses(const Settings& settings) {
  if (settings.nodeport_cidrs.empty()) return settings.node_ips;
  std::vector<base::Ip> out;
  for (const auto& ip : local_addresses())
    if (std::any_of(settings.nodeport_cidrs.begin(), settings.nodeport_cidrs.end(),
                    [&ip](const base::Cidr& cidr) { return cidr.contains(ip); }))
      out.push_back(ip);
  return out;
}

constexpr auto kAddressLook = std::chrono::milliseconds(500);

}  // namespace

// Nothing tells a process that the machine would choose another address now, so it asks. No packet is sent for it.
awaitable<void> NodeAgent::follow_addresses() {
  std::string said;
  for (;;) {
    co_await async::sleep_for(kAddressLook);
    auto ips = followed_addresses(settings_.node_ips, default_node_ips(), local_addresses());
    if (ips == settings_.node_ips) continue;
    auto fits = settings_.use_node_ips(ips);
    if (!fits && std::exchange(said, fits.error().to_string()) != said)
      log_->error("this node's address has changed, but: {}; keeping {}", said, settings_.node_ips.front().to_string());
    if (fits) co_await readdress(std::move(ips));
  }
}

// The peers first: they find us by our datagrams before the controller has told them.
awaitable<void> NodeAgent::readdress(std::vector<base::Ip> ips) {
  log_->warn("this node's address is {} now", ips.front().to_string());
  if (client_) client_->close_all();
  pods_->set_host_ips(settings_.host_ips());
  readdressed_ = true;
  changed_.set();
  health_ports_->use_addresses(nodeport_addresses(settings_));
  if (dns_) dns_->use_node(ips);
  renew_serving_.set();
  if (!health_) co_return;
  co_await health_->stop();
  if (auto started = start_health(); !started) log_->error("{}", started.error().to_string());
}

ServiceContext Settings::services(const TopologyOutcome& topology) const {
  ServiceContext out;
  out.node_name = options.node_name;
  out.service_cidrs = service_cidrs;
  out.node_addresses = topology.node_addresses;
  out.allow_external_ips = options.allow_external_ips;
  return out;
}

servicelb::NodeFacts Settings::node_facts(const api::Object* own, std::vector<base::Ip> local_pods) const {
  servicelb::NodeFacts out;
  out.name = options.node_name;
  const std::map<std::string, std::string>& labels = own ? own->labels : options.labels;
  if (auto zone = labels.find(kZoneLabel); zone != labels.end()) out.zone = zone->second;
  out.addresses = node_ips;
  out.service_cidrs = service_cidrs;
  out.pod_cidrs = cluster_cidrs;
  out.local_pods = std::move(local_pods);
  out.nodeport_cidrs = nodeport_cidrs;
  out.masquerade_all = options.masquerade_all;
  return out;
}

ServiceMetrics::Now NodeAgent::service_clock() const { return {Clock::now(), base::now()}; }

void NodeAgent::open_services() {
  HealthPorts::Options checking;
  checking.addresses = nodeport_addresses(settings_);
  HealthPorts::Events events;
  events.proxy_healthy = [this] { return !services_stale(); };
  events.failed = [this](const ServiceKey& key, const std::string& line) {
    log_->warn("{}; trying again", line);
    if (auto service = view_.service(key))
      reporter_->event(*service, "Service", "Warning", "FailedToStartServiceHealthcheck",
                       fmt::format("node {}: {}", settings_.options.node_name, line));
  };
  health_ports_ = std::make_unique<HealthPorts>(brain_, std::move(checking), std::move(events));
  if (settings_.options.localhost_nodeports) {
    auto failed = [this](const std::string& line) { log_->warn("{}; trying again", line); };
    localhost_ports_ = std::make_unique<LocalhostPorts>(brain_, LocalhostPorts::Options(), failed);
  }

  ServiceSink sink;
  auto& balancer = rooms_->services();
  sink.update = [&balancer](const ServiceKey& key, std::optional<servicelb::Service> service) {
    return balancer.update(key, std::move(service));
  };
  sink.set_node = [&balancer](servicelb::NodeFacts facts) { return balancer.set_node(std::move(facts)); };
  sink.synced = [&balancer] { balancer.synced(); };
  sink.heard = [this](const ServiceKey& key, const api::ObjectPtr&, const ServiceOutcome& out) {
    health_ports_->set(key, out.service ? out.health_check_port : 0, out.local_endpoints);
    if (localhost_ports_) localhost_ports_->set(key, out.service ? &*out.service : nullptr);
  };
  sink.told = [this](const ToldChange& change) { service_metrics_.told(change, service_clock()); };
  services_ = std::make_unique<ServiceFeed>(std::move(sink));
}

void NodeAgent::service_report(const servicelb::Reconciler::Report& report) {
  services_->programmed(report.generation);
  ServicePass pass;
  pass.generation = report.generation;
  pass.operations = report.operations;
  pass.healed = report.healed;
  pass.failed = !report.failures.empty();
  pass.took = report.took, pass.elements = report.elements;
  service_metrics_.passed(pass, service_clock());
  for (const auto& [key, line] : report.troubled)
    if (auto service = view_.service(key))
      reporter_->event(*service, "Service", "Warning", "NotAsAskedFor",
                       fmt::format("node {}: {}", settings_.options.node_name, line));
  ++service_facts_.passes;
  service_facts_.operations += report.operations;
  if (report.healed) ++service_facts_.heals;
  if (report.operations > 0 && !report.healed)
    service_facts_.last_pass_ms = std::chrono::duration<double, std::milli>(Clock::now() - services_told_).count();
  if (!report.failures.empty()) ++service_facts_.failed_passes;
  if (report.failures != service_facts_.failures)
    for (const auto& line : report.failures) log_->warn("services: {}", line);
  service_facts_.failures = report.failures;
  service_facts_.programmed = report.generation;
  service_facts_.in_sync = report.failures.empty() && report.generation >= rooms_->services().generation();
  // Now our tables are there, and so is connection tracking.
  if (settings_.options.conntrack_sysctls && !std::exchange(conntrack_set_, true))
    for (const auto& line : apply_conntrack_sysctls(machine_.cpus)) log_->debug("sysctl {}", line);
  changed_.set();
}

// Until the hold is there. A killed agent's goes with its socket, a moment later; a kernel that cannot is asked once.
awaitable<void> NodeAgent::hold_translation() {
  constexpr const char* kPrice =
      "while this node's tables are away, as after `nft flush ruleset`, busy connections to "
      "Services may be reset";
  if (settings_.options.hold_translation == "auto") {
    auto version = co_await async::run_on(files_.executor(), nft_version);
    if (!lists_owned_tables(version)) {
      log_->info(
          "{}. --hold-translation=true prevents it; but {}, like all before 1.1.0, then prints wrong or empty "
          "JSON listings (nft -j)",
          kPrice, version);
      co_return;
    }
  }
  for (int tries = 1;; ++tries) {
    auto held = co_await rooms_->hold_translation();
    if (held) co_return;
    bool taken = held.error().is(std::errc::operation_not_permitted);
    if (!taken) {
      log_->warn("{}: this kernel has no tables with an owner (Linux 5.12); {}", held.error().to_string(), kPrice);
      co_return;
    }
    if (tries == 10)
      log_->warn("{}: another process owns table inet {}, another agent perhaps; {}. Trying again",
                 held.error().to_string(), servicelb::TranslationHold::kTable, kPrice);
    co_await async::sleep_for(std::chrono::milliseconds(500));
  }
}

awaitable<std::vector<CountedEndpoint>> NodeAgent::counted_endpoints() {
  std::vector<CountedEndpoint> out;
  auto found = co_await rooms_->services().connections();
  if (!found) co_return out;  // the table is being made anew: next time
  for (auto& c : *found)
    out.push_back({c.service.ns, c.service.name, std::move(c.port), servicelb::to_string(c.protocol),
                   c.endpoint.to_string(), std::move(c.pod), c.connections});
  co_return out;
}

bool NodeAgent::services_stale() const {
  auto since = service_metrics_.oldest_pending();
  return since && Clock::now() - *since > 2 * settings_.options.resync;
}

}  // namespace trama::agent
