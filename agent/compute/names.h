// SPDX-License-Identifier: GPL-2.0-or-later
// The files by which a pod finds names: hosts and resolv.conf. Pure.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cluster_view.h"

namespace trama::agent {

// Services that appear in hosts files. Beyond this many only those of the pod's own namespace are listed (again at most
// this many), and the file says so: ten thousand names in a hundred files would be rewritten for every new Service.
constexpr std::size_t kMostHostsServices = 1000;

// The Service lines of the hosts files, made once for all pods of a namespace.
class ServiceNames {
 public:
  ServiceNames(const ClusterView::Objects& services, std::string cluster_domain, std::size_t most = kMostHostsServices);
  // "10.96.0.10 db db.default db.default.svc db.default.svc.cluster.local": the short name only for pods of the
  // Service's own namespace.
  const std::string& lines_for(const std::string& ns) const;

 private:
  struct Entry {
    std::string ns, name;
    std::vector<std::string> addresses;
  };
  std::vector<Entry> entries_;
  std::string domain_;
  std::size_t most_;
  mutable std::map<std::string, std::string> cache_;
};

// localhost, the pod itself, its spec.hostAliases, then the Services.
std::string hosts_file(const api::Object& pod, const std::string& hostname, const std::vector<base::Ip>& addresses,
                       const ServiceNames& services);
// Where pods ask for names. No servers: nothing but the node's own resolvers.
struct ClusterDns {
  std::vector<base::Ip> servers;
  std::string domain = "cluster.local";
};
// As a kubelet's: dnsPolicy ClusterFirst (the default) asks the cluster's DNS and searches the pod's namespace first;
// Default is the node's own file, without nameservers on loopback addresses (a pod cannot reach those); None has
// nothing but spec.dnsConfig, which is added to the others. At most three servers and 32 search domains, as upstream.
std::string resolv_conf(const api::Object& pod, std::string_view node_resolv_conf, const ClusterDns& dns);

}  // namespace trama::agent
