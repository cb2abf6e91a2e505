// SPDX-License-Identifier: GPL-2.0-or-later
#include "agent/compute/names.h"

#include <algorithm>

#include "agent/compute/services.h"
#include "agent/resolv_conf.h"

namespace trama::agent {

ServiceNames::ServiceNames(const ClusterView::Objects& services, std::string cluster_domain, std::size_t most)
    : domain_(std::move(cluster_domain)), most_(most) {
  for (const auto& [name, service] : services) {
    Entry entry{service->key.ns, service->key.name, {}};
    for (const auto& ip : cluster_ips(*service)) entry.addresses.push_back(ip.to_string());
    if (!entry.addresses.empty()) entries_.push_back(std::move(entry));
  }
}

const std::string& ServiceNames::lines_for(const std::string& ns) const {
  auto [it, fresh] = cache_.try_emplace(ns);
  if (!fresh) return it->second;
  bool all = entries_.size() <= most_;
  std::size_t left_out = 0, listed = 0;
  for (const auto& entry : entries_) {
    if ((!all && entry.ns != ns) || listed >= most_) {
      ++left_out;
      continue;
    }
    ++listed;
    for (const auto& address : entry.addresses) {
      it->second += address;
      if (entry.ns == ns) it->second += " " + entry.name;
      it->second += fmt::format(" {0}.{1} {0}.{1}.svc {0}.{1}.svc.{2}\n", entry.name, entry.ns, domain_);
    }
  }
  if (left_out > 0) it->second += fmt::format("# {} more Services are not listed here; DNS knows them\n", left_out);
  return it->second;
}

std::string hosts_file(const api::Object& pod, const std::string& hostname, const std::vector<base::Ip>& addresses,
                       const ServiceNames& services) {
  std::string out = "# kept by trama\n127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";
  for (const auto& ip : addresses)
    out += ip.to_string() + " " + hostname + (pod.key.name == hostname ? "" : " " + pod.key.name) + "\n";
  for (const auto& value : api::array_at(pod.body, "spec.hostAliases")) {
    if (!value.is_object()) continue;
    auto ip = base::Ip::parse(api::text_at(value.get_object(), "ip"));
    if (!ip) continue;
    std::string line = ip->to_string();
    for (const auto& name : api::array_at(value.get_object(), "hostnames"))
      if (name.is_string()) line += " " + std::string(name.get_string());
    out += line + "\n";
  }
  return out + services.lines_for(pod.key.ns);
}

std::string resolv_conf(const api::Object& pod, std::string_view node_resolv_conf, const ClusterDns& dns) {
  std::vector<std::string> nameservers, searches, options;
  auto policy = api::text_at(pod.body, "spec.dnsPolicy");
  bool cluster_first = !dns.servers.empty() && policy != "None" && policy != "Default";
  if (cluster_first) {
    for (const auto& ip : dns.servers) nameservers.push_back(ip.to_string());
    searches = {fmt::format("{}.svc.{}", pod.key.ns, dns.domain), "svc." + dns.domain, dns.domain};
    options = {"ndots:5"};
  }
  if (policy != "None") {
    auto node = read_resolv_conf(node_resolv_conf);
    searches.insert(searches.end(), node.searches.begin(), node.searches.end());
    if (!cluster_first) {
      options = std::move(node.options);
      for (const auto& ip : node.nameservers)
        if (!ip.is_loopback()) nameservers.push_back(ip.to_string());
    }
  }
  auto add = [&](std::string_view field, std::vector<std::string>& to) {
    for (const auto& value : api::array_at(pod.body, field))
      if (value.is_string()) to.emplace_back(value.get_string());
  };
  add("spec.dnsConfig.nameservers", nameservers);
  add("spec.dnsConfig.searches", searches);
  for (const auto& value : api::array_at(pod.body, "spec.dnsConfig.options")) {
    if (!value.is_object()) continue;
    auto text = api::text_at(value.get_object(), "value");
    options.push_back(api::text_at(value.get_object(), "name") + (text.empty() ? "" : ":" + text));
  }
  // What the C library reads; more is ignored there without a word.
  if (nameservers.size() > kMostNameservers) nameservers.resize(kMostNameservers);
  if (searches.size() > kMostSearches) searches.resize(kMostSearches);
  std::string out = "# kept by trama\n";
  for (const auto& server : nameservers) out += "nameserver " + server + "\n";
  auto join = [&](const char* keyword, const std::vector<std::string>& words) {
    if (words.empty()) return;
    out += keyword;
    for (const auto& word : words) out += " " + word;
    out += "\n";
  };
  join("search", searches);
  join("options", options);
  return out;
}

}  // namespace trama::agent
