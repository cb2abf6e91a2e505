// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/ruleset.h"

#include <fmt/format.h>

namespace trama::servicelb {
namespace {
using namespace nft;  // NOLINT: expressions read like nft here
using nft::Value;

nft::Family nft_family(Family f) { return f == Family::v4 ? nft::Family::ip : nft::Family::ip6; }
const char* prefix(Family f) { return f == Family::v4 ? "ip" : "ip6"; }
std::uint32_t address_size(Family f) { return f == Family::v4 ? 4 : 16; }
std::uint32_t saddr(Family f) { return f == Family::v4 ? 12 : 8; }
std::uint32_t daddr(Family f) { return f == Family::v4 ? 16 : 24; }
// Register behind an address in register 0.
Reg after_address(Family f) { return r(address_size(f) / 4); }

Sets make_sets(Family f) {
  Field src = f == Family::v4 ? field::ip_saddr() : field::ip6_saddr();
  Field dst = f == Family::v4 ? field::ip_daddr() : field::ip6_daddr();
  auto set = [](const char* name, const char* comment, std::vector<Field> key, std::vector<Field> data = {}) {
    Set s;
    s.name = name, s.comment = comment, s.key = std::move(key), s.data = std::move(data);
    return s;
  };
  Sets s;
  s.vips = set("vips", "ClusterIPs in use: what services does not know of them is refused", {dst});
  s.services = set("services", "front ends: service id << 12 | class", {dst, field::l4proto(), field::th_dport()},
                   {field::ct_mark()});
  s.nodeports = set("nodeports", "ports of this node: service id << 12 | masquerade 0x800 | class",
                    {field::l4proto(), field::th_dport()}, {field::ct_mark()});
  s.slots = set("slots", "service id << 12 . slot: an endpoint", {field::ct_mark(), field::numgen_random()},
                {dst, field::th_dport()});
  s.classes =
      set("class", "how many slots a service has: the chain that draws one", {field::ct_mark()}, {field::verdict()});
  s.hairpin = set("hairpin", "pods of this node that may reach themselves through a service", {src, dst});
  s.pods = set("pods", "pods of the cluster: other sources are masqueraded", {src});
  s.pods.interval = true;
  s.service_cidrs = set("service-cidrs", "ClusterIPs that no service owns are dropped", {dst});
  s.service_cidrs.interval = true;
  return s;
}

Exprs load_front(Family f) {
  Reg next = after_address(f);
  return {load_payload(Base::network, daddr(f), address_size(f), r(0)), load_meta(Meta::l4proto, next),
          load_payload(Base::transport, 2, 2, r(next.index + 1))};
}
Exprs mark_and(std::uint32_t mask, std::uint32_t flip = 0) {
  return {load_ct(Ct::mark, r(0)), bitwise(r(0), r(0), Value().mark(mask), Value().mark(flip))};
}

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

Rule draw(Family f, std::uint32_t slots) {
  std::string text =
      fmt::format("meta l4proto {{ tcp, udp, sctp }} dnat {} to ct mark & 0xfffff000 . numgen random mod {} map @slots",
                  prefix(f), slots);
  return Rule(text)
      .add(load_meta(Meta::l4proto, r(0)))
      .add(lookup_any(field::l4proto(), {Value().proto(6), Value().proto(17), Value().proto(132)}, r(0)))
      .add(mark_and(kIdMask))
      .add(nft::numgen_random(slots, r(1)))
      .add(map("slots", r(0), r(0)))
      .add(dnat(nft_family(f), r(0), after_address(f)));
}
}  // namespace

const Table& table_of(Family family) {
  constexpr const char* kComment = "trama: Services and NodePorts. Services change elements of the maps, never rules.";
  static const Table v4{nft::Family::ip, "trama", kComment, 0};
  static const Table v6{nft::Family::ip6, "trama", kComment, 0};
  return family == Family::v4 ? v4 : v6;
}

const Sets& sets_of(Family family) {
  static const Sets v4 = make_sets(Family::v4);
  static const Sets v6 = make_sets(Family::v6);
  return family == Family::v4 ? v4 : v6;
}

std::string class_chain_name(std::uint32_t slots) { return fmt::format("n{}", slots); }

Blueprint::ChainRules class_chain(Family f, std::uint32_t slots) {
  std::vector<Rule> rules;
  rules.push_back(draw(f, slots));
  // A slot can vanish between the two lookups of one packet; slot 0 is always there.
  if (slots > 1) rules.push_back(draw(f, 1));
  rules.push_back(Rule("drop").add(drop()));
  return chain(class_chain_name(slots),
               slots == 1 ? "services with 1 endpoint" : fmt::format("services with {} endpoints", slots),
               std::move(rules));
}

Blueprint blueprint(Family f, const Classes& classes) {
  const char* ip = prefix(f);
  const Sets& sets = sets_of(f);
  Blueprint b;
  b.table = table_of(f);
  for (const auto* s : sets.all()) b.sets.push_back(*s);

  std::vector<Rule> refuse;
  refuse.push_back(Rule("reject with tcp reset").add(match_l4proto(6)).add(reject_tcp_reset()));
  refuse.push_back(Rule("reject").add(reject_port_unreachable(nft_family(f))));
  b.chains.push_back(chain("refuse", "no endpoints, or no such port", std::move(refuse)));
  for (const auto& [cls, slots] : classes)
    if (cls != kRefuseClass) b.chains.push_back(class_chain(f, slots));

  std::vector<Rule> clusterip;
  clusterip.push_back(
      Rule(fmt::format("{0} saddr != @pods ct mark set {0} daddr . meta l4proto . th dport map @services "
                       "ct mark set ct mark | 0x00000800 ct mark & 0x000007ff vmap @class",
                       ip))
          .add(load_payload(Base::network, saddr(f), address_size(f), r(0)))
          .add(lookup("pods", r(0), true))
          .add(load_front(f))
          .add(map("services", r(0), r(0)))
          .add(set_ct(Ct::mark, r(0)))
          .add(mark_and(~kMasquerade, kMasquerade))
          .add(set_ct(Ct::mark, r(0)))
          .add(mark_and(kClassMask))
          .add(vmap("class", r(0)))
          .comment("from outside the cluster: answers must come back here"));
  clusterip.push_back(
      Rule(fmt::format("ct mark set {} daddr . meta l4proto . th dport map @services ct mark & 0x000007ff vmap @class",
                       ip))
          .add(load_front(f))
          .add(map("services", r(0), r(0)))
          .add(set_ct(Ct::mark, r(0)))
          .add(mark_and(kClassMask))
          .add(vmap("class", r(0))));
  clusterip.push_back(Rule("goto refuse").add(goto_("refuse")));
  b.chains.push_back(chain("clusterip", "a ClusterIP: known port, or refused", std::move(clusterip)));

  std::vector<Rule> services;
  services.push_back(Rule(fmt::format("{} daddr @vips goto clusterip", ip))
                         .add(match_addr_set(nft_family(f), false, "vips"))
                         .add(goto_("clusterip")));
  services.push_back(Rule(fmt::format("{} daddr @service-cidrs drop", ip))
                         .add(match_addr_set(nft_family(f), false, "service-cidrs"))
                         .add(drop())
                         .comment("nobody's ClusterIP"));
  // Loopback is left alone: its packets cannot leave the node, and 127.0.0.1 keeps refusing at once.
  const Cidr loopback = f == Family::v4 ? Cidr::of(Ip::v4(127, 0, 0, 0), 8) : Cidr::host(*Ip::parse("::1"));
  services.push_back(
      Rule(fmt::format("{} daddr != {} fib daddr type local ct mark set meta l4proto . th dport map @nodeports "
                       "ct mark & 0x000007ff vmap @class",
                       ip, f == Family::v4 ? "127.0.0.0/8" : "::1"))
          .add(match_addr(false, loopback, true))
          .add(fib_daddr_type(r(0)))
          .add(compare(r(0), Cmp::eq, Value().host32(kRtnLocal)))
          .add(load_meta(Meta::l4proto, r(0)))
          .add(load_payload(Base::transport, 2, 2, r(1)))
          .add(map("nodeports", r(0), r(0)))
          .add(set_ct(Ct::mark, r(0)))
          .add(mark_and(kClassMask))
          .add(vmap("class", r(0))));
  b.chains.push_back(chain("services", "new connections only: nat chains never see the others", std::move(services)));

  std::vector<Rule> to_services;
  to_services.push_back(Rule("jump services").add(jump("services")));
  b.chains.push_back(hook("prerouting", Hook::prerouting, -100, "from pods and from outside", to_services));
  b.chains.push_back(hook("output", Hook::output, -100, "from this node", std::move(to_services)));
  std::vector<Rule> postrouting;
  postrouting.push_back(Rule("ct status dnat ct mark & 0x00000800 != 0x00000000 masquerade fully-random")
                            .add(match_ct_status(kCtStatusDnat))
                            .add(mark_and(kMasquerade))
                            .add(compare(r(0), Cmp::ne, Value().mark(0)))
                            .add(masquerade()));
  postrouting.push_back(Rule(fmt::format("ct status dnat {0} saddr . {0} daddr @hairpin masquerade fully-random", ip))
                            .add(match_ct_status(kCtStatusDnat))
                            .add(load_payload(Base::network, saddr(f), address_size(f), r(0)))
                            .add(load_payload(Base::network, daddr(f), address_size(f), after_address(f)))
                            .add(lookup("hairpin", r(0)))
                            .add(masquerade())
                            .comment("a pod that drew itself"));
  b.chains.push_back(hook("postrouting", Hook::postrouting, 100, "sources whose answers would miss this node",
                          std::move(postrouting)));
  return b;
}

std::string Front::to_string() const {
  switch (kind) {
    case Kind::vip: return ip.to_string();
    case Kind::cluster: return fmt::format("{}/{}", base::IpPort{ip, port}.to_string(), servicelb::to_string(protocol));
    case Kind::node: return fmt::format("node port {}/{}", port, servicelb::to_string(protocol));
  }
  return "?";
}

const nft::Set& set_of(const Front& front) {
  const Sets& s = sets_of(front.family);
  return front.kind == Front::Kind::vip ? s.vips : front.kind == Front::Kind::cluster ? s.services : s.nodeports;
}

nft::Element front_element(const Front& front, std::uint32_t mark, std::string comment) {
  nft::Element e;
  auto protocol = static_cast<std::uint8_t>(front.protocol);
  if (front.kind != Front::Kind::node) e.key.ip(front.ip);
  if (front.kind != Front::Kind::vip) {
    e.key.proto(protocol).port(front.port);
    e.data.mark(mark);
  }
  e.comment = nft::clean_comment(comment);
  return e;
}
nft::Element slot_element(std::uint32_t id, std::uint32_t slot, const Ip& ip, std::uint16_t port, std::string comment) {
  nft::Element e;
  e.key.mark(id << kIdShift).host32(slot);
  e.data.ip(ip).port(port);
  e.comment = nft::clean_comment(comment);
  return e;
}
nft::Element class_element(std::uint32_t cls, const std::string& name) {
  nft::Element e;
  e.key.mark(cls);
  e.chain = name;
  return e;
}
nft::Element hairpin_element(const Ip& pod) {
  nft::Element e;
  e.key.ip(pod).ip(pod);
  return e;
}

namespace {
std::uint32_t host32(nft::Bytes b) {
  std::uint32_t v = 0;
  std::memcpy(&v, b.data(), sizeof v);
  return v;
}
std::uint16_t be16(nft::Bytes b) {
  return static_cast<std::uint16_t>(static_cast<unsigned>(b[0]) << 8 | static_cast<unsigned>(b[1]));
}
std::optional<Protocol> protocol_in(std::byte b) {
  switch (static_cast<unsigned>(b)) {
    case 6: return Protocol::tcp;
    case 17: return Protocol::udp;
    case 132: return Protocol::sctp;
    default: return std::nullopt;
  }
}
}  // namespace

std::optional<Front> front_of_services_key(Family family, const nft::Value& key) {
  auto b = key.bytes();
  std::size_t n = address_size(family);
  if (b.size() != n + 8) return std::nullopt;
  auto protocol = protocol_in(b[n]);
  auto ip = Ip::from_bytes(b.first(n));
  if (!protocol || !ip) return std::nullopt;
  Front f;
  f.kind = Front::Kind::cluster, f.family = family, f.protocol = *protocol, f.port = be16(b.subspan(n + 4)), f.ip = *ip;
  return f;
}
std::optional<Front> front_of_nodeports_key(Family family, const nft::Value& key) {
  auto b = key.bytes();
  if (b.size() != 8) return std::nullopt;
  auto protocol = protocol_in(b[0]);
  if (!protocol) return std::nullopt;
  Front f;
  f.kind = Front::Kind::node, f.family = family, f.protocol = *protocol, f.port = be16(b.subspan(4));
  return f;
}
std::optional<std::uint32_t> mark_in(const nft::Value& data) {
  if (data.size() != 4) return std::nullopt;
  return host32(data.bytes());
}
std::optional<SlotSeen> slot_in(Family family, const nft::Element& element) {
  std::size_t n = address_size(family);
  if (element.key.size() != 8 || element.data.size() != n + 4) return std::nullopt;
  SlotSeen s;
  s.id = id_of(host32(element.key.bytes()));
  s.slot = host32(element.key.bytes().subspan(4));
  auto ip = Ip::from_bytes(element.data.bytes().first(n));
  if (!ip) return std::nullopt;
  s.ip = *ip;
  s.port = be16(element.data.bytes().subspan(n));
  return s;
}

}  // namespace trama::servicelb
