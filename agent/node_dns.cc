// SPDX-License-Identifier: GPL-2.0-or-later
// What a NodeAgent does about DNS: where it answers, and whom it asks about the rest of the world.
#include <algorithm>

#include "agent/node_agent.h"
#include "base/async/run_on.h"
#include "base/file.h"

namespace trama::agent {

namespace {

constexpr auto kResolverLook = std::chrono::seconds(5);

}  // namespace

void NodeAgent::open_dns() {
  if (settings_.dns_servers.empty()) return;
  dns::ZoneFacts facts;
  facts.domain = settings_.options.cluster_domain;
  facts.servers = settings_.dns_servers;
  facts.pods = settings_.cluster_cidrs;
  facts.services = settings_.service_cidrs;
  zone_ = std::make_unique<dns::Zone>(view_, std::move(facts));
  dns::Server::Options serving;
  serving.node = settings_.node_ips;
  dns_ = std::make_unique<dns::Server>(brain_, *zone_, std::move(serving));
}

// A Service at the cluster's DNS address is another name server for this cluster, and the one to be used.
std::vector<base::Ip> NodeAgent::own_dns_addresses() const {
  std::vector<base::Ip> out;
  for (const auto& ip : settings_.dns_servers)
    if (zone_->owner(ip).name.empty()) out.push_back(ip);
  return out;
}

// Whether the addresses that this node answers at are others than before.
bool NodeAgent::update_zone(bool first, const std::set<ServiceKey>& changed) {
  if (!zone_) return false;
  if (first) {
    std::set<ServiceKey> all;
    for (const auto& [name, service] : view_.services()) all.insert({service->key.ns, service->key.name});
    zone_->update(all);
  } else {
    zone_->update(changed);
  }
  auto now = own_dns_addresses();
  if (!first && now == dns_addresses_) return false;
  for (const auto& ip : settings_.dns_servers)
    if (auto owner = zone_->owner(ip); !owner.name.empty())
      log_->info("{} belongs to Service {}: it answers DNS there, not this node", ip.to_string(), owner.to_string());
  dns_addresses_ = std::move(now);
  dns_->listen_on(dns_addresses_);
  return true;
}

awaitable<void> NodeAgent::follow_resolvers() {
  for (;;) {
    auto read = [file = settings_.options.resolv_conf] { return base::read_file(file).value_or(""); };
    auto text = co_await async::run_on(files_.executor(), read);
    dns_->use_resolvers(dns::servers_of(text, settings_.dns_servers));
    co_await async::sleep_for(kResolverLook);
  }
}

}  // namespace trama::agent
