// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/wiring.h"

#include <algorithm>

#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>

#include "base/file.h"
#include "base/log.h"

namespace trama::netns {

using base::Error;
using base::Family;
using base::IfIndex;
using base::Result;
using netlink::Client;
using netlink::Request;

namespace {

constexpr std::size_t kAcceptRa = 3, kAcceptRedirects6 = 4;  // DEVCONF_*; <linux/ipv6.h> clashes with <netinet/in.h>
constexpr const char* kDyingAlias = "trama dying";

// Strict reverse path filtering works because each address has its own route to this very link.
const std::vector<std::pair<std::uint16_t, std::uint32_t>>& host_switches() {
  static const std::vector<std::pair<std::uint16_t, std::uint32_t>> switches = {
      {IPV4_DEVCONF_FORWARDING, 1},       {IPV4_DEVCONF_RP_FILTER, 1},        {IPV4_DEVCONF_SEND_REDIRECTS, 0},
      {IPV4_DEVCONF_ACCEPT_REDIRECTS, 0}, {IPV4_DEVCONF_SECURE_REDIRECTS, 0}, {IPV4_DEVCONF_ACCEPT_SOURCE_ROUTE, 0},
      {IPV4_DEVCONF_PROXY_ARP, 0},        {IPV4_DEVCONF_ROUTE_LOCALNET, 0},
  };
  return switches;
}

Result<> first_failure(std::vector<Result<>> results, std::initializer_list<std::errc> fine = {}) {
  for (auto& r : results)
    if (!r && std::none_of(fine.begin(), fine.end(), [&](std::errc e) { return r.error().is(e); })) return std::move(r);
  return {};
}

unsigned full(const Ip& ip) { return ip.bits(); }
netlink::Cidr everything(Family f) { return netlink::Cidr::of(gateway(f), 0); }

std::vector<Family> families(const Network& n) {
  std::vector<Family> out;
  for (const auto& ip : n.addresses) out.push_back(ip.family());
  return out;
}

netlink::Route gateway_route(IfIndex link, Family f) {
  netlink::Route r;
  r.destination = netlink::Cidr::host(gateway(f));
  r.link = link;
  r.protocol = RTPROT_STATIC;
  r.scope = f == Family::v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  return r;
}
netlink::Route default_route(IfIndex link, Family f) {
  netlink::Route r;
  r.destination = everything(f);
  r.link = link;
  r.gateway = gateway(f);
  r.protocol = RTPROT_STATIC;
  return r;
}
netlink::Neighbour neighbour(IfIndex link, const Ip& ip, const Mac& mac) {
  netlink::Neighbour n;
  n.link = link;
  n.ip = ip;
  n.mac = mac;
  n.state = NUD_PERMANENT;
  return n;
}

}  // namespace

const std::vector<std::pair<std::string, std::string>>& pod_switches() {
  static const std::vector<std::pair<std::string, std::string>> switches = {
      {"net/ipv6/conf/all/accept_ra", "0"},          {"net/ipv6/conf/default/accept_ra", "0"},
      {"net/ipv6/conf/default/accept_dad", "0"},     {"net/ipv4/ip_unprivileged_port_start", "0"},
      {"net/ipv4/ping_group_range", "0 2147483647"}, {"net/ipv4/tcp_mtu_probing", "1"},
  };
  return switches;
}

Result<std::optional<netlink::Link>> find_link(Client& client, const std::string& name) {
  auto request = netlink::get_link(name);
  auto reply = client.call(request);
  if (!reply) {
    if (reply.error().is(std::errc::no_such_device)) return std::optional<netlink::Link>();
    return std::move(reply).error();
  }
  for (const auto& part : *reply)
    if (part.type == RTM_NEWLINK) {
      auto link = netlink::decode_link(part);
      if (!link) return std::move(link).error();
      return std::optional(std::move(*link));
    }
  return Error::from_errno(EBADMSG, "find link " + name);
}

Result<IfIndex> make_pair(Client& here, const Sandbox& s, int netns_fd) {
  netlink::VethSpec spec;
  spec.name = veth_name(s.uid);
  spec.mac = host_mac();
  spec.mtu = s.network.mtu;
  spec.group = kLiveGroup;
  spec.peer_name = kInsideLink;
  spec.peer_mac = pod_mac(s.uid);
  spec.peer_netns_fd = netns_fd;
  auto request = netlink::create_veth(spec);
  auto made = here.call(request);
  if (!made && made.error().is(std::errc::file_exists)) {
    auto there = find_link(here, spec.name);
    if (!there) return std::move(there).error();
    if (*there) {
      auto mark = parse_veth_alias((*there)->alias);
      const netlink::Link& l = **there;
      bool half_made = l.kind == "veth" && ((l.alias.empty() && l.group == kLiveGroup) ||
                                            (l.alias == kDyingAlias && l.group == kDyingGroup));
      if (!half_made && !(mark && mark->uid == s.uid))
        return Error::text(fmt::format("link {} exists and is not ours (alias \"{}\"); rename or remove it", spec.name,
                                       (*there)->alias),
                           std::errc::file_exists);
      auto remove = netlink::delete_link((*there)->index);
      if (auto r = here.call(remove); !r) return std::move(r).error();
    } else {
      return Error::text(fmt::format("{} exists already in the sandbox and is not ours", kInsideLink),
                         std::errc::file_exists);
    }
    made = here.call(request);
  }
  if (!made) return std::move(made).error();
  auto link = find_link(here, spec.name);
  if (!link) return std::move(link).error();
  if (!*link) return Error::from_errno(ENODEV, spec.name);
  return (*link)->index;
}

Result<> put_inside(Client& inside, const Network& network, const Mac& mac) {
  auto eth = find_link(inside, kInsideLink);
  if (!eth) return std::move(eth).error();
  if (!*eth) return Error::from_errno(ENODEV, fmt::format("find {} in the sandbox", kInsideLink));
  IfIndex link = (*eth)->index;
  std::vector<Request> requests;
  requests.push_back(netlink::set_link_up(IfIndex{1}, true));
  if ((*eth)->mac != mac) requests.push_back(netlink::set_link_mac(link, mac));
  if ((*eth)->mtu != network.mtu) requests.push_back(netlink::set_link_mtu(link, network.mtu));
  // Before it goes up: no link-local address of the kernel's making, nothing to probe, nobody to solicit.
  if (!(*eth)->up) requests.push_back(netlink::set_addr_gen_none(link));
  requests.push_back(netlink::set_link_up(link, true));
  for (const auto& ip : network.addresses) {
    netlink::Address a;
    a.link = link;
    a.ip = ip;
    a.length = full(ip);
    a.flags = ip.is_v4() ? IFA_F_NOPREFIXROUTE : IFA_F_NOPREFIXROUTE | IFA_F_NODAD;
    requests.push_back(netlink::put_address(a));
  }
  for (Family f : families(network)) {
    requests.push_back(netlink::put_neighbour(neighbour(link, gateway(f), host_mac())));
    requests.push_back(netlink::put_route(gateway_route(link, f)));
    requests.push_back(netlink::put_route(default_route(link, f)));
  }
  return first_failure(inside.batch(requests));
}

Result<std::string> inside_damage(Client& inside, const Network& network, const Mac& mac) {
  auto links = netlink::list_links();
  auto reply = inside.dump(links);
  if (!reply) return std::move(reply).error();
  std::optional<netlink::Link> eth;
  bool lo = false;
  for (const auto& part : *reply) {
    auto link = netlink::decode_link(part);
    if (!link) return std::move(link).error();
    if (link->index.value == 1) lo = link->up;
    if (link->name == kInsideLink) eth = std::move(*link);
  }
  if (!lo) return std::string("lo is down");
  if (!eth) return fmt::format("{} is missing", kInsideLink);
  if (!eth->up) return fmt::format("{} is down", kInsideLink);
  if (eth->mac != mac) return fmt::format("{} has address {}", kInsideLink, eth->mac.to_string());
  if (eth->mtu != network.mtu) return fmt::format("{} has mtu {}", kInsideLink, eth->mtu);

  auto addresses = netlink::list_addresses();
  reply = inside.dump(addresses);
  if (!reply) return std::move(reply).error();
  std::vector<Ip> have;
  for (const auto& part : *reply) {
    auto a = netlink::decode_address(part);
    if (a && a->link == eth->index) have.push_back(a->ip);
  }
  for (const auto& ip : network.addresses)
    if (std::find(have.begin(), have.end(), ip) == have.end())
      return fmt::format("address {} is missing", ip.to_string());

  for (Family f : families(network)) {
    auto routes = netlink::list_routes(f, RTPROT_STATIC);
    reply = inside.dump(routes);
    if (!reply) return std::move(reply).error();
    bool to_gateway = false, by_gateway = false;
    for (const auto& part : *reply) {
      auto r = netlink::decode_route(part);
      if (!r || r->link != eth->index) continue;
      to_gateway |= r->destination == netlink::Cidr::host(gateway(f));
      by_gateway |= r->destination == everything(f) && r->gateway == gateway(f);
    }
    if (!to_gateway || !by_gateway) return fmt::format("the route by {} is missing", gateway(f).to_string());
    auto neighbours = netlink::list_neighbours(f, eth->index);
    reply = inside.dump(neighbours);
    if (!reply) return std::move(reply).error();
    bool known = std::any_of(reply->begin(), reply->end(), [&](const netlink::Part& part) {
      auto n = netlink::decode_neighbour(part);
      return n && n->ip == gateway(f) && n->mac == host_mac() && (n->state & NUD_PERMANENT);
    });
    if (!known) return fmt::format("the neighbour entry of {} is missing", gateway(f).to_string());
  }
  return std::string();
}

Result<> put_outside_link(Client& here, IfIndex link, const Sandbox& s) {
  std::string name = veth_name(s.uid);
  auto now = netlink::get_link(link);
  auto reply = here.call(now);
  if (!reply) return std::move(reply).error();
  auto have = reply->empty() ? Result<netlink::Link>() : netlink::decode_link(reply->front());
  if (!have) return std::move(have).error().in("find " + name);

  std::vector<Request> requests;
  if (have->mac != host_mac()) requests.push_back(netlink::set_link_mac(link, host_mac()));
  if (have->mtu != s.network.mtu) requests.push_back(netlink::set_link_mtu(link, s.network.mtu));
  if (have->group != kLiveGroup) requests.push_back(netlink::set_link_group(link, kLiveGroup));
  if (have->addr_gen_mode != IN6_ADDR_GEN_MODE_NONE) requests.push_back(netlink::set_addr_gen_none(link));
  requests.push_back(netlink::set_ipv4_conf(link, host_switches()));
  if (auto r = first_failure(here.batch(requests)); !r) return r;
  requests.clear();
  // IPv6 switches have no netlink form. A kernel without IPv6 has no such files and needs none.
  for (const char* knob : {"accept_ra", "accept_redirects"}) {
    auto r = base::write_knob(fmt::format("/proc/sys/net/ipv6/conf/{}/{}", name, knob), "0");
    if (!r && !r.error().is(std::errc::no_such_file_or_directory)) return r;
  }
  std::string alias = veth_alias(s.ns, s.name, s.uid);
  if (have->alias != alias) requests.push_back(netlink::set_link_alias(link, alias));
  requests.push_back(netlink::set_link_up(link, true));
  if (auto r = first_failure(here.batch(requests)); !r) return r;

  // The readable second name is a convenience: when somebody has it (names of pods may run together), another one.
  if (have->altnames.empty()) {
    std::string altname = veth_altname(s.ns, s.name);
    auto request = netlink::add_altname(link, altname);
    if (auto r = here.call(request); !r) {
      altname = fmt::format("{}-{}", altname.substr(0, 114), name.substr(2));
      auto second = netlink::add_altname(link, altname);
      if (auto again = here.call(second); !again)
        base::logger("netns")->warn("{}: {}; the link keeps only its short name", name, again.error().to_string());
    }
  }
  return {};
}

std::string outside_damage(const netlink::Link& link, const Sandbox& s) {
  if (link.alias != veth_alias(s.ns, s.name, s.uid)) return fmt::format("alias \"{}\"", link.alias);
  if (!link.up) return "down";
  if (link.mac != host_mac()) return "address " + link.mac.to_string();
  if (link.mtu != s.network.mtu) return fmt::format("mtu {}", link.mtu);
  if (link.group != kLiveGroup) return fmt::format("group {}", link.group);
  if (link.altnames.empty()) return "no second name";
  if (!link.ipv4_conf.empty())
    for (auto [id, value] : host_switches())
      if (id <= link.ipv4_conf.size() && link.ipv4_conf[id - 1u] != static_cast<std::int32_t>(value))
        return fmt::format("IPv4 switch {} is {}", id, link.ipv4_conf[id - 1u]);
  for (auto id : {kAcceptRa, kAcceptRedirects6})
    if (id < link.ipv6_conf.size() && link.ipv6_conf[id] != 0)
      return fmt::format("IPv6 switch {} is {}", id, link.ipv6_conf[id]);
  return {};
}

std::vector<netlink::Neighbour> outside_neighbours(IfIndex link, const std::vector<Ip>& addresses, const Mac& mac) {
  std::vector<netlink::Neighbour> out;
  for (const auto& ip : addresses) out.push_back(neighbour(link, ip, mac));
  return out;
}

std::vector<netlink::Route> outside_routes(IfIndex link, const std::vector<Ip>& addresses) {
  std::vector<netlink::Route> out;
  for (const auto& ip : addresses) {
    netlink::Route r;
    r.destination = netlink::Cidr::host(ip);
    r.link = link;
    r.protocol = kRouteProtocol;
    r.scope = ip.is_v4() ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    out.push_back(r);
  }
  return out;
}

Result<> put_outside_neighbours(Client& here, IfIndex link, const std::vector<Ip>& addresses, const Mac& mac) {
  std::vector<Request> requests;
  for (const auto& n : outside_neighbours(link, addresses, mac)) requests.push_back(netlink::put_neighbour(n));
  return first_failure(here.batch(requests));
}

Result<> put_outside_routes(Client& here, IfIndex link, const std::vector<Ip>& addresses) {
  for (const auto& want : outside_routes(link, addresses)) {
    auto add = netlink::add_route(want);
    auto added = here.call(add);
    if (added) continue;
    if (!added.error().is(std::errc::file_exists)) return std::move(added).error();
    auto all = netlink::list_routes(want.destination.family(), 0);
    auto reply = here.dump(all);
    if (!reply) return std::move(reply).error();
    for (const auto& part : *reply) {
      auto r = netlink::decode_route(part);
      if (!r || r->destination != want.destination || r->table != want.table) continue;
      if (r->protocol != kRouteProtocol)
        return Error::text(fmt::format("{} is routed elsewhere (protocol {}, link #{}); remove that route or give the "
                                       "pod another address",
                                       want.destination.to_string(), r->protocol, r->link.value),
                           std::errc::file_exists);
    }
    auto put = netlink::put_route(want);
    if (auto r = here.call(put); !r) return std::move(r).error();
  }
  return {};
}

Result<> delete_outside(Client& here, IfIndex link, const std::vector<Ip>& addresses) {
  std::vector<Request> requests;
  for (const auto& r : outside_routes(link, addresses)) requests.push_back(netlink::delete_route(r));
  for (const auto& n : outside_neighbours(link, addresses, Mac{})) requests.push_back(netlink::delete_neighbour(n));
  return first_failure(here.batch(requests),
                       {std::errc::no_such_process, std::errc::no_such_file_or_directory, std::errc::no_such_device});
}

Result<> doom_link(Client& here, const netlink::Link& link) {
  std::vector<Request> requests;
  requests.push_back(netlink::set_link_group(link.index, kDyingGroup));
  // Its names may be wanted again at once by a pod of the same name.
  for (const auto& name : link.altnames) requests.push_back(netlink::delete_altname(link.index, name));
  requests.push_back(netlink::set_link_alias(link.index, kDyingAlias));
  return first_failure(here.batch(requests), {std::errc::no_such_device});
}

}  // namespace trama::netns
