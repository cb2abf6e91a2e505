// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/ruleset.h"

#include <fmt/format.h>

namespace trama::servicelb {
namespace {
using namespace nft;  // NOLINT: expressions read like nft here
using nft::Value;

// Clients that are remembered at a time, of all services with affinity.
constexpr std::uint32_t kMostRemembered = 262'144;

std::array<Set, kHomes> make_sets(Family f) {
  Field src = f == Family::v4 ? field::ip_saddr() : field::ip6_saddr();
  Field dst = f == Family::v4 ? field::ip_daddr() : field::ip6_daddr();
  std::vector<Field> address = {dst, field::l4proto(), field::th_dport()};
  std::vector<Field> port = {field::l4proto(), field::th_dport()};
  std::vector<Field> endpoint = {dst, field::th_dport()};
  std::vector<Field> mark = {field::ct_mark()};
  std::array<Set, kHomes> all;
  auto make = [&](Home home, const char* name, const char* comment, std::vector<Field> key,
                  std::vector<Field> data = {}) -> Set& {
    Set& s = all[static_cast<std::size_t>(home)];
    s.name = name, s.comment = comment, s.key = std::move(key), s.data = std::move(data);
    return s;
  };
  make(Home::slots, "slots", "service id << 12 . slot: an endpoint", {field::ct_mark(), field::numgen_random()},
       endpoint);
  make(Home::counted, "counted", "the same, for services whose connections are counted",
       {field::ct_mark(), field::numgen_random()}, endpoint)
      .counts = true;
  make(Home::sticky, "sticky", "service id << 12 . front end . number of an endpoint: the endpoint",
       {field::ct_mark(), field::l4proto(), field::th_dport(), field::meta_priority()}, endpoint)
      .counts = true;
  make(Home::picks, "picks", "service id << 12 . front end . slot: number of an endpoint",
       {field::ct_mark(), field::l4proto(), field::th_dport(), field::numgen_random()}, {field::meta_priority()});
  std::vector<Field> client = {field::ct_mark(), src};
  if (f == Family::v6) client = {field::ct_mark(), field::raw(Base::network, 128, 64), field::numgen_random()};
  Set& affinity =
      make(Home::affinity, "affinity",
           f == Family::v4 ? "service id << 12 . client: number of its endpoint"
                           : "service id << 12 . client's last 64 bits . hash of its address: number of its endpoint",
           client, {field::meta_priority()});
  affinity.dynamic = true, affinity.has_timeout = true, affinity.size = kMostRemembered;
  make(Home::classes, "class", "how a connection's endpoint is drawn", mark, {field::verdict()});
  make(Home::inside, "inside", "external policy Local: what pods and this node see", address, mark);
  make(Home::outside, "outside", "external policy Local: what everybody else sees", address, mark);
  make(Home::inside_ports, "inside-ports", "external policy Local: what pods and this node see", port, mark);
  make(Home::outside_ports, "outside-ports", "external policy Local: what everybody else sees", port, mark);
  make(Home::guarded, "guarded", "front ends that only allowed sources may use", address, mark);
  make(Home::allowed, "allowed", "and who may", {dst, field::l4proto(), field::th_dport(), src}).interval = true;
  make(Home::services, "services", "front ends: service id << 12 | masquerade 0x800 | class", address, mark);
  make(Home::nodeports, "nodeports", "ports of this node: service id << 12 | masquerade 0x800 | class", port, mark);
  make(Home::vips, "vips", "ClusterIPs in use: what services does not know of them is refused", {dst});
  make(Home::ping, "ping", "ClusterIPs with endpoints: echo requests are answered by this node", {dst}, {dst});
  make(Home::hairpin, "hairpin", "pods of this node that may reach themselves through a service", {src, dst});
  make(Home::pods, "pods", "pods of the cluster: other sources are masqueraded", {src}).interval = true;
  make(Home::service_cidrs, "service-cidrs", "ClusterIPs that no service owns are dropped", {dst}).interval = true;
  make(Home::nodeport_cidrs, "nodeport-addresses", "addresses of this node that have node ports", {dst}).interval =
      true;
  return all;
}

// "ip daddr . meta l4proto . th dport" from register `at` on.
std::string address_key(const AddressLayout& a) { return fmt::format("{} daddr . meta l4proto . th dport", a.name); }
Exprs load_address_key(const AddressLayout& a) {
  unsigned next = a.size / 4;
  return {load_payload(Base::network, a.daddr, a.size, r(0)), load_meta(Meta::l4proto, r(next)),
          load_payload(Base::transport, 2, 2, r(next + 1))};
}
constexpr const char* kPortKey = "meta l4proto . th dport";
Exprs load_port_key() { return {load_meta(Meta::l4proto, r(0)), load_payload(Base::transport, 2, 2, r(1))}; }

Exprs mark_and(std::uint32_t mask, std::uint32_t flip = 0) {
  return {load_ct(Ct::mark, r(0)), bitwise(r(0), r(0), Value().mark(mask), Value().mark(flip))};
}

// "ct mark set KEY map @MAP [ct mark set ct mark | 0x800] ct mark & 0x7ff vmap @class"
std::string by_mark(const std::string& key, const char* set, bool masquerade) {
  return fmt::format("ct mark set {} map @{} {}ct mark & 0x000007ff vmap @class", key, set,
                     masquerade ? "ct mark set ct mark | 0x00000800 " : "");
}
Exprs code_by_mark(Exprs key, const char* set, bool masquerade) {
  Exprs e = std::move(key);
  auto add = [&e](Exprs more) { e.insert(e.end(), more.begin(), more.end()); };
  e.push_back(map(set, r(0), r(0)));
  e.push_back(set_ct(Ct::mark, r(0)));
  if (masquerade) {
    add(mark_and(~kMasquerade, kMasquerade));
    e.push_back(set_ct(Ct::mark, r(0)));
  }
  add(mark_and(kClassMask));
  e.push_back(vmap("class", r(0)));
  return e;
}

// "ct mark set KEY map @MAP goto by-class": for marks that may lead on to another map.
Rule lead_on(const std::string& key, Exprs load, const char* set) {
  return Rule(fmt::format("ct mark set {} map @{} goto by-class", key, set))
      .add(std::move(load))
      .add(map(set, r(0), r(0)))
      .add(set_ct(Ct::mark, r(0)))
      .add(goto_("by-class"));
}
Rule if_class(std::uint32_t cls, const char* chain) {
  return Rule(fmt::format("ct mark & 0x000007ff == 0x{:08x} goto {}", cls, chain))
      .add(mark_and(kClassMask))
      .add(compare(r(0), Cmp::eq, Value().mark(cls)))
      .add(goto_(chain));
}

Exprs from_set(const AddressLayout& a, const char* set, bool invert) {
  return {load_payload(Base::network, a.saddr, a.size, r(0)), lookup(set, r(0), invert)};
}
Exprs from_this_node() { return {fib_saddr_type(r(0)), compare(r(0), Cmp::eq, Value().host32(kRtnLocal))}; }

Blueprint::ChainRules chain(std::string name, std::string comment, std::vector<Rule> rules) {
  Blueprint::ChainRules c;
  c.chain.name = std::move(name), c.chain.comment = std::move(comment), c.rules = std::move(rules);
  return c;
}
Blueprint::ChainRules hook(const char* name, Hook at, std::int32_t priority, const char* comment,
                           std::vector<Rule> rules) {
  auto c = chain(name, comment, std::move(rules));
  c.chain.base = Chain::Base{ChainType::nat, at, priority, false};
  return c;
}

Blueprint::ChainRules refuse(const AddressLayout& a) {
  std::vector<Rule> rules;
  rules.push_back(Rule("reject with tcp reset").add(match_l4proto(6)).add(reject_tcp_reset()));
  rules.push_back(Rule("reject").add(reject_port_unreachable(a.nft)));
  return chain("refuse", "no endpoints, or no such port", std::move(rules));
}

// A verdict map must not lead back to a rule that uses it: the kernel takes that for a loop. So what leads on is no
// class.
Blueprint::ChainRules by_class() {
  std::vector<Rule> rules;
  rules.push_back(Rule("ct mark & 0x000007ff vmap @class").add(mark_and(kClassMask)).add(vmap("class", r(0))));
  rules.push_back(if_class(kGuardedClass, "guarded"));
  rules.push_back(if_class(kLocalAddressClass, "local-address"));
  rules.push_back(if_class(kLocalPortClass, "local-port"));
  rules.push_back(Rule("drop").add(drop()));
  return chain("by-class", "from a mark to what draws its endpoint", std::move(rules));
}

Blueprint::ChainRules guarded(const AddressLayout& a) {
  std::vector<Rule> rules;
  unsigned next = a.size / 4;
  Exprs key = {load_payload(Base::network, a.daddr, a.size, r(0)), load_meta(Meta::l4proto, r(next)),
               to_network_order(r(next), 1), load_payload(Base::transport, 2, 2, r(next + 1)),
               load_payload(Base::network, a.saddr, a.size, r(next + 2))};
  key.push_back(lookup("allowed", r(0), true));
  rules.push_back(Rule(fmt::format("{} . {} saddr != @allowed drop", address_key(a), a.name)).add(key).add(drop()));
  rules.push_back(
      Rule(by_mark(address_key(a), "guarded", false)).add(code_by_mark(load_address_key(a), "guarded", false)));
  rules.push_back(if_class(kLocalAddressClass, "local-address"));
  rules.push_back(Rule("drop").add(drop()));
  return chain("guarded", "load balancer addresses with source ranges", std::move(rules));
}

// The rules of a front end with external policy Local; the key is an address and a port, or a port.
Blueprint::ChainRules local_policy(const AddressLayout& a, const char* name, const std::string& key, const Exprs& load,
                                   const char* inside, const char* outside) {
  std::vector<Rule> rules;
  rules.push_back(Rule(fmt::format("{} saddr @pods {}", a.name, by_mark(key, inside, false)))
                      .add(from_set(a, "pods", false))
                      .add(code_by_mark(load, inside, false))
                      .comment("pods may use every endpoint"));
  rules.push_back(Rule(fmt::format("fib saddr type local {}", by_mark(key, inside, true)))
                      .add(from_this_node())
                      .add(code_by_mark(load, inside, true))
                      .comment("so may this node"));
  rules.push_back(Rule(by_mark(key, outside, false)).add(code_by_mark(load, outside, false)));
  rules.push_back(Rule("drop").add(drop()));
  return chain(name, "external policy Local: endpoints of this node, which see the client's address", std::move(rules));
}

Blueprint::ChainRules clusterip(const AddressLayout& a) {
  std::vector<Rule> rules;
  std::string key = address_key(a);
  rules.push_back(Rule(fmt::format("{} saddr != @pods {}", a.name, by_mark(key, "services", true)))
                      .add(from_set(a, "pods", true))
                      .add(code_by_mark(load_address_key(a), "services", true))
                      .comment("from outside the cluster: answers must come back here"));
  rules.push_back(Rule(by_mark(key, "services", false)).add(code_by_mark(load_address_key(a), "services", false)));
  bool v4 = a.size == 4;
  rules.push_back(Rule(fmt::format("{} type echo-request dnat to {} daddr map @ping", v4 ? "icmp" : "icmpv6", a.name))
                      .add(match_l4proto(v4 ? 1 : 58))
                      .add(load_payload(Base::transport, 0, 1, r(0)))
                      .add(compare(r(0), Cmp::eq, Value().proto(v4 ? 8 : 128)))
                      .add(load_payload(Base::network, a.daddr, a.size, r(0)))
                      .add(map("ping", r(0), r(0)))
                      .add(dnat(a.nft, r(0))));
  rules.push_back(Rule("goto refuse").add(goto_("refuse")));
  return chain("clusterip", "a ClusterIP: known port, or refused", std::move(rules));
}

Blueprint::ChainRules services(const AddressLayout& a, bool restrict_node_ports) {
  std::vector<Rule> rules;
  Rule to_front = lead_on(address_key(a), load_address_key(a), "services");
  rules.push_back(Rule(fmt::format("{} saddr @pods {}", a.name, to_front.text()))
                      .add(from_set(a, "pods", false))
                      .add(to_front.expressions())
                      .comment("pods, whatever the front end"));
  rules.push_back(Rule(fmt::format("{} daddr @vips goto clusterip", a.name))
                      .add(match_addr_set(a.nft, false, "vips"))
                      .add(goto_("clusterip")));
  rules.push_back(Rule(fmt::format("{} daddr @service-cidrs drop", a.name))
                      .add(match_addr_set(a.nft, false, "service-cidrs"))
                      .add(drop())
                      .comment("nobody's ClusterIP"));
  rules.push_back(to_front.comment("external and load balancer addresses"));
  std::string where;
  Exprs matches;
  if (restrict_node_ports) {
    where = fmt::format("{} daddr @nodeport-addresses", a.name);
    matches = match_addr_set(a.nft, false, "nodeport-addresses");
  } else {
    // Loopback is left alone: its packets cannot leave the node, and 127.0.0.1 keeps refusing at once.
    bool v4 = a.size == 4;
    where = fmt::format("{} daddr != {}", a.name, v4 ? "127.0.0.0/8" : "::1");
    matches = match_addr(false, v4 ? Cidr::of(Ip::v4(127, 0, 0, 0), 8) : Cidr::host(*Ip::parse("::1")), true);
  }
  Rule to_port = lead_on(kPortKey, load_port_key(), "nodeports");
  rules.push_back(Rule(fmt::format("{} fib daddr type local {}", where, to_port.text()))
                      .add(std::move(matches))
                      .add(fib_daddr_type(r(0)))
                      .add(compare(r(0), Cmp::eq, Value().host32(kRtnLocal)))
                      .add(to_port.expressions()));
  return chain("services", "new connections only: nat chains never see the others", std::move(rules));
}

Blueprint::ChainRules postrouting(const AddressLayout& a) {
  std::vector<Rule> rules;
  rules.push_back(Rule("ct status dnat ct mark & 0x00000800 != 0x00000000 masquerade fully-random")
                      .add(match_ct_status(kCtStatusDnat))
                      .add(mark_and(kMasquerade))
                      .add(compare(r(0), Cmp::ne, Value().mark(0)))
                      .add(masquerade()));
  rules.push_back(Rule(fmt::format("ct status dnat {0} saddr . {0} daddr @hairpin masquerade fully-random", a.name))
                      .add(match_ct_status(kCtStatusDnat))
                      .add(load_payload(Base::network, a.saddr, a.size, r(0)))
                      .add(load_payload(Base::network, a.daddr, a.size, r(a.size / 4)))
                      .add(lookup("hairpin", r(0)))
                      .add(masquerade())
                      .comment("a pod that drew itself"));
  return hook("postrouting", Hook::postrouting, 100, "sources whose answers would miss this node", std::move(rules));
}
}  // namespace

const Table& table_of(Family family) {
  constexpr const char* kComment = "trama: Services and NodePorts. Services change elements of the maps, never rules.";
  static const Table v4{nft::Family::ip, "trama", kComment, 0};
  static const Table v6{nft::Family::ip6, "trama", kComment, 0};
  return family == Family::v4 ? v4 : v6;
}

const Set& set_of(Family family, Home home) {
  static const auto v4 = make_sets(Family::v4);
  static const auto v6 = make_sets(Family::v6);
  return (family == Family::v4 ? v4 : v6)[static_cast<std::size_t>(home)];
}

const std::vector<std::pair<std::uint32_t, std::string>>& fixed_classes() {
  static const std::vector<std::pair<std::uint32_t, std::string>> all = {{kNoLocalClass, "no-local"},
                                                                         {kRefuseClass, "refuse"}};
  return all;
}

Blueprint::ChainRules services_chain(Family f, bool restrict_node_ports) {
  return services(layout(f), restrict_node_ports);
}

Blueprint blueprint(Family f, const Shape& shape) {
  const auto& a = layout(f);
  Blueprint b;
  b.table = table_of(f);
  for (std::size_t h = 0; h < kHomes; ++h) b.sets.push_back(set_of(f, static_cast<Home>(h)));
  b.chains.push_back(refuse(a));
  std::vector<Rule> dropped;
  dropped.push_back(Rule("drop").add(drop()));
  b.chains.push_back(chain("no-local", "policy Local, and no endpoint on this node", std::move(dropped)));
  for (const auto& [cls, draw] : shape.classes) b.chains.push_back(draw_chain(f, draw));
  b.chains.push_back(local_policy(a, "local-address", address_key(a), load_address_key(a), "inside", "outside"));
  b.chains.push_back(local_policy(a, "local-port", kPortKey, load_port_key(), "inside-ports", "outside-ports"));
  b.chains.push_back(guarded(a));
  b.chains.push_back(by_class());
  b.chains.push_back(clusterip(a));
  b.chains.push_back(services_chain(f, shape.restrict_node_ports));
  std::vector<Rule> to_services;
  to_services.push_back(Rule("jump services").add(jump("services")));
  b.chains.push_back(hook("prerouting", Hook::prerouting, -100, "from pods and from outside", to_services));
  b.chains.push_back(hook("output", Hook::output, -100, "from this node", std::move(to_services)));
  b.chains.push_back(postrouting(a));
  return b;
}

}  // namespace trama::servicelb
