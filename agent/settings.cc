// SPDX-License-Identifier: GPL-2.0-or-later
#include <algorithm>
#include <sstream>

#include "agent/machine.h"
#include "agent/node_agent.h"
#include "control/api/service_options.h"

namespace trama::agent {

namespace {

bool is_dns_name(const std::string& name) {
  if (name.empty() || name.size() > 253) return false;
  bool edge = true;  // the next character must be a letter or a digit
  for (char c : name) {
    bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!alnum && (edge || (c != '-' && c != '.'))) return false;
    edge = c == '.';
  }
  return name.back() != '-' && name.back() != '.';
}

base::Result<std::vector<base::Cidr>> parse_cidrs(const std::vector<std::string>& texts, const char* option) {
  std::vector<base::Cidr> out;
  for (const auto& text : texts) {
    auto cidr = base::Cidr::parse(text);
    if (!cidr) return base::Error(cidr.error()).in(option);
    out.push_back(*cidr);
  }
  return out;
}

}  // namespace

netns::Paths Settings::paths() const {
  netns::Paths out;
  out.run_dir = options.run_dir;
  out.netns_dir = options.netns_dir;
  out.etc_netns_dir = options.etc_netns_dir;
  out.cgroup_root = options.cgroup_root;
  return out;
}

std::vector<base::Ip> Settings::host_ips() const {
  std::vector<base::Ip> out;
  for (const auto& ip : node_ips)
    if (std::none_of(out.begin(), out.end(), [&](const base::Ip& other) { return other.family() == ip.family(); }))
      out.push_back(ip);
  return out;
}

TopologyContext Settings::topology(std::vector<base::Ip> dns) const {
  TopologyContext out;
  out.node_name = options.node_name;
  out.node_ips = node_ips;
  out.cluster_cidrs = cluster_cidrs;
  out.cluster_id = options.cluster_id;
  out.masquerade = options.masquerade;
  out.tunnel = tunnel();
  out.encrypt = encrypt();
  out.direct = options.direct_routing;
  out.wireguard = wireguard();
  out.wireguard_port = options.ports.wireguard;
  out.dns = std::move(dns);
  return out;
}

base::Result<Settings> check_options(AgentOptions options) {
  Settings out;
  if (options.node_name.empty()) options.node_name = default_node_name();
  if (!is_dns_name(options.node_name))
    return base::Error::text(fmt::format(
        "--node-name: \"{}\" is no node name: lower-case letters, digits, - and . only", options.node_name));
  for (const auto& text : options.node_ips) {
    auto ip = base::Ip::parse(text);
    if (!ip) return base::Error(ip.error()).in("--node-ip");
    if (auto why = unacceptable(*ip); !why.empty())
      return base::Error::text(fmt::format("--node-ip: {} is a {}, which other nodes cannot reach", text, why));
    if (std::find(out.node_ips.begin(), out.node_ips.end(), *ip) != out.node_ips.end())
      return base::Error::text(fmt::format("--node-ip: {} is given twice", text));
    auto others = std::count_if(out.node_ips.begin(), out.node_ips.end(),
                                [&](const base::Ip& other) { return other.family() == ip->family(); });
    if (static_cast<std::size_t>(others) >= overlay::kMostUplinks)
      return base::Error::text(fmt::format("--node-ip: {} is one too many: a node has at most {} addresses of a family",
                                           text, overlay::kMostUplinks));
    out.node_ips.push_back(*ip);
  }
  if (out.node_ips.empty()) out.node_ips = default_node_ips();
  if (out.node_ips.empty())
    return base::Error::text("no default route tells this node's address: give it with --node-ip");
  auto cluster = parse_cidrs(options.cluster_cidrs, "--cluster-cidr");
  if (!cluster) return cluster.error();
  auto services = parse_cidrs(options.service_cidrs, "--service-cidr");
  if (!services) return services.error();
  out.cluster_cidrs = std::move(*cluster);
  out.service_cidrs = std::move(*services);
  auto trusted = parse_cidrs(options.trusted_subnets, "--trusted-subnets");
  if (!trusted) return trusted.error();
  out.trusted = std::move(*trusted);
  if (options.encryption != "off" && options.encryption != "required")
    return base::Error::text(fmt::format("--encryption: expected off or required, got \"{}\"", options.encryption));
  if (options.encryption == "required") {
    const char* why = options.network_only()    ? "beside the kubelets of another cluster nodes have no certificates"
                      : options.ports.peer == 0 ? "--peer-port 0 switches off the conversation that makes the keys"
                      : options.tunnel          ? nullptr
                                                : "--tunnel=false leaves no encrypted path";
    if (why) return base::Error::text(fmt::format("--encryption required is not possible: {}", why));
  }
  if (options.wireguard != "auto" && options.wireguard != "off")
    return base::Error::text(fmt::format("--wireguard: expected auto or off, got \"{}\"", options.wireguard));
  if (options.wireguard == "auto" && options.encryption == "required") {
    auto port = options.ports.wireguard;
    if (port == 0 || port == options.ports.peer || port == overlay::kDataPort)
      return base::Error::text(
          fmt::format("--wireguard-port: {} {}; give it a port of its own, or do without it (--wireguard off)", port,
                      port == 0                    ? "is no port"
                      : port == options.ports.peer ? "is that of --peer-port"
                                                   : "is VXLAN's"));
  }
  if (options.direct_routing) {
    const char* why =
        options.encryption == "required" ? "packets would go in the clear, which --encryption required forbids"
        : options.network_only()         ? "beside the kubelets of another cluster nodes have no certificates"
        : options.ports.peer == 0        ? "--peer-port 0 switches off the conversation in which nodes agree on it"
                                         : nullptr;
    if (why) return base::Error::text(fmt::format("--direct-routing is not possible: {}; leave one of them out", why));
  }
  for (const auto& text : options.nodeport_addresses) {
    if (text == "primary") continue;  // see use_node_ips
    auto cidr = base::Cidr::parse(text);
    if (!cidr) return base::Error(cidr.error()).in("--nodeport-addresses");
    if (cidr->address().is_loopback())
      return base::Error::text(fmt::format(
          "--nodeport-addresses: {} is loopback; --localhost-nodeports serves node ports there", cidr->to_string()));
    out.nodeport_cidrs.push_back(*cidr);
  }
  for (const auto& a : out.cluster_cidrs)
    for (const auto& b : out.service_cidrs)
      if (a.overlaps(b))
        return base::Error::text(
            fmt::format("--cluster-cidr {} and --service-cidr {} overlap", a.to_string(), b.to_string()));
  if (options.cluster_dns == "auto") {
    for (const auto& range : out.service_cidrs)
      if (!options.network_only() && range.contains(range.address().plus(api::kDnsHost)))
        out.dns_servers.push_back(range.address().plus(api::kDnsHost));
  } else if (options.cluster_dns != "none") {
    std::istringstream words(options.cluster_dns);
    for (std::string word; std::getline(words, word, ',');) {
      auto ip = base::Ip::parse(word);
      if (!ip) return base::Error(ip.error()).in("--cluster-dns (addresses, \"auto\" or \"none\")");
      if (auto why = unacceptable(*ip); !why.empty())
        return base::Error::text(fmt::format("--cluster-dns: {} is a {}, which pods cannot reach", word, why));
      for (const auto& a : out.cluster_cidrs)
        if (a.contains(*ip))
          return base::Error::text(fmt::format("--cluster-dns: {} lies in {}, where pods are", word, a.to_string()));
      if (std::find(out.node_ips.begin(), out.node_ips.end(), *ip) != out.node_ips.end())
        return base::Error::text(
            fmt::format("--cluster-dns: {} is this node's own address: every node answers at "
                        "the same one",
                        word));
      out.dns_servers.push_back(*ip);
    }
  }
  if (options.lease_period.count() < 100) return base::Error::text("--lease-period: at least 100 ms");
  out.options = std::move(options);
  if (auto used = out.use_node_ips(out.node_ips); !used) return used.error();
  return out;
}

base::Result<> Settings::use_node_ips(std::vector<base::Ip> ips) {
  for (const auto& a : cluster_cidrs)
    for (const auto& ip : ips)
      if (a.contains(ip))
        return base::Error::text(
            fmt::format("--cluster-cidr {} contains {}, this node's own address", a.to_string(), ip.to_string()));
  const auto& wanted = options.nodeport_addresses;
  if (std::find(wanted.begin(), wanted.end(), "primary") != wanted.end()) {
    for (const auto& ip : node_ips) std::erase(nodeport_cidrs, base::Cidr::host(ip));
    for (const auto& ip : ips) nodeport_cidrs.push_back(base::Cidr::host(ip));
  }
  node_ips = std::move(ips);
  return {};
}

}  // namespace trama::agent
