// SPDX-License-Identifier: GPL-2.0-or-later
// The cluster's zone: what Services and their endpoints are called. Kubernetes DNS-Based Service Discovery 1.1.0.
#pragma once

#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cluster_view.h"
#include "agent/dns/record.h"

namespace trama::agent::dns {

constexpr std::uint32_t kTtl = 5;  // seconds, of every record and every "no": names follow the cluster

struct ZoneFacts {
  std::string domain = "cluster.local";
  std::vector<base::Ip> servers;     // where the zone is answered: ns.dns.<domain>
  std::vector<base::Cidr> pods;      // of the whole cluster
  std::vector<base::Cidr> services;  // reverse names of both belong to the zone
};

// Forward names are not kept: each is looked up in the view when it is asked for, so a change costs nothing.
// Reverse names are kept for ClusterIPs and for endpoints of headless Services.
// On the brain, like the view that it reads.
class Zone {
 public:
  Zone(const ClusterView& view, ZoneFacts facts);

  // The reverse names of these Services, from the view as it is now.
  void update(const std::set<ServiceKey>& changed);
  // The Service whose ClusterIP this is; an empty name if nobody's.
  ServiceKey owner(const base::Ip& ip) const;

  // Whether the name is the zone's to answer; everything else is somebody else's.
  bool covers(std::string_view name) const;
  // Never empty of meaning: a name that exists without such records is Rcode::ok with the zone's SOA, one that does
  // not exist Rcode::no_such_name. Precondition: covers(question.name).
  Answer answer(const Question& question) const;

  const ZoneFacts& facts() const { return facts_; }

 private:
  struct Found;  // what there is at a name
  Found look(std::string_view name) const;
  Found service(const ServiceKey& key, const std::string& name) const;
  Found endpoint(const ServiceKey& key, std::string_view hostname, const std::string& name) const;
  Found protocol(const ServiceKey& key, std::string_view protocol) const;
  Found port(const ServiceKey& key, std::string_view port, std::string_view protocol, const std::string& name) const;
  Found pod(std::string_view dashed, const std::string& name) const;
  Found reverse(const base::Ip& ip, const std::string& name) const;
  bool namespace_known(std::string_view ns) const;
  std::string full_name(const ServiceKey& key) const;
  Record authority(std::string_view name) const;

  const ClusterView& view_;
  ZoneFacts facts_;
  struct Reverse {
    base::Ip ip;
    std::string name;
    bool cluster_ip = false;
  };
  std::map<ServiceKey, std::vector<Reverse>> by_service_;
  struct Names {
    std::set<std::string> names;
    ServiceKey owner;  // of a ClusterIP
  };
  std::map<base::Ip, Names> by_address_;
};

// "4.3.2.1.in-addr.arpa" -> 1.2.3.4; nothing for anything but a whole address.
std::optional<base::Ip> address_of_reverse(std::string_view name);
std::string reverse_of_address(const base::Ip& ip);
// "10-244-1-5", "fd00--1": as upstream writes addresses in names.
std::string dashed(const base::Ip& ip);

}  // namespace trama::agent::dns
