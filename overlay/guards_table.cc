// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/guards_table.h"

#include <algorithm>
#include <stdexcept>

namespace trama::overlay {
namespace {

using nft::r;
using nft::Rule;
using nft::Value;

constexpr std::uint8_t kUdp = 17, kTcp = 6;
constexpr std::uint16_t kMasqueradeLow = 32768, kMasqueradeHigh = 60999;  // never 6783 to 6785

// Where things stand behind the start of the outer UDP header, in bytes.
constexpr std::uint32_t kFlagsAt = 8, kVniAt = 12, kEthertypeAt = 28, kInnerSource4At = 42, kInnerSource6At = 38;

constexpr std::array<std::byte, 2> kEthernet{std::byte{1}, std::byte{0}};  // ARPHRD_ETHER, as the kernel holds it

nft::Family of(Family f) { return f == Family::v4 ? nft::Family::ip : nft::Family::ip6; }
const char* word(Family f) { return f == Family::v4 ? "ip" : "ip6"; }
const char* digit(Family f) { return f == Family::v4 ? "4" : "6"; }
std::uint32_t source_offset(Family f) { return f == Family::v4 ? 12 : 8; }
std::uint32_t bytes_of(Family f) { return f == Family::v4 ? 4 : 16; }
unsigned registers_of(Family f) { return bytes_of(f) / 4; }

// In an inet table an address only means something once the family is known.
nft::Exprs in_set(nft::Family family, bool source, const std::string& set, bool invert = false) {
  auto out = nft::match_nfproto(family);
  auto match = nft::match_addr_set(family, source, set, invert);
  out.insert(out.end(), match.begin(), match.end());
  return out;
}

Cidr cidr(const char* text) { return *Cidr::parse(text); }

std::vector<nft::Element> elements_of(const std::vector<Cidr>& cidrs, Family family) {
  std::vector<nft::Element> out;
  for (const auto& c : cidrs)
    if (c.family() == family) out.push_back(nft::Element::of(c));
  return out;
}

nft::Set range_set(std::string name, Family family, bool source, std::string comment) {
  nft::Set set;
  set.name = std::move(name);
  set.key = {family == Family::v4 ? (source ? nft::field::ip_saddr() : nft::field::ip_daddr())
                                  : (source ? nft::field::ip6_saddr() : nft::field::ip6_daddr())};
  set.interval = true;
  set.comment = std::move(comment);
  return set;
}

void add_range_sets(GuardTable& t, const GuardFrame& frame) {
  for (Family f : {Family::v4, Family::v6}) {
    auto never = elements_of(f == Family::v4 ? std::vector{cidr("127.0.0.0/8"), cidr("169.254.0.0/16")}
                                             : std::vector{cidr("::1/128"), cidr("fe80::/10")},
                             f);
    auto own = elements_of(frame.own, f);
    never.insert(never.end(), own.begin(), own.end());
    t.sets.push_back({range_set(std::string("never") + digit(f), f, true, "no peer has pods there"), never});
    t.sets.push_back({range_set(std::string("own") + digit(f), f, true, "pods of this node"), own});
    t.sets.push_back(
        {range_set(std::string("cluster") + digit(f), f, true, "pods of all nodes"), elements_of(frame.cluster, f)});
    t.sets.push_back({range_set(std::string("dns") + digit(f), f, true, "the cluster's DNS, answered by this node"),
                      elements_of(frame.dns, f)});
  }
}

// Of VXLAN with a peer, on its way in or out.
Rule drop_clear(const GuardFrame& frame, bool in, nft::Exprs before, const std::string& text) {
  Rule rule(text + fmt::format("{} {} != @clear counter drop", word(frame.underlay), in ? "saddr" : "daddr"));
  rule.add(std::move(before));
  rule.add(in_set(of(frame.underlay), in, kClearSet, true)).add(nft::counter()).add(nft::drop());
  rule.comment("in the clear, where encryption is required");
  return rule;
}

Rule admit_pods(Family underlay, Family pods) {
  auto at = pods == Family::v4 ? kInnerSource4At : kInnerSource6At;
  std::uint16_t ethertype = pods == Family::v4 ? 0x0800 : 0x86dd;
  unsigned behind = registers_of(underlay);
  return Rule(fmt::format("@th,{},16 0x{:x} {} saddr . @th,{},{} @pods{} accept", kEthertypeAt * 8, ethertype,
                          word(underlay), at * 8, bytes_of(pods) * 8, digit(pods)))
      .add(nft::load_payload(nft::Base::transport, kEthertypeAt, 2, r(0)))
      .add(nft::compare(r(0), nft::Cmp::eq, Value().be16(ethertype)))
      .add(nft::match_nfproto(of(underlay)))
      .add(nft::load_payload(nft::Base::network, source_offset(underlay), bytes_of(underlay), r(0)))
      .add(nft::load_payload(nft::Base::transport, at, bytes_of(pods), r(behind)))
      .add(nft::lookup(std::string("pods") + digit(pods), r(0)))
      .add(nft::accept());
}

GuardTable::ChainOfRules peer_chain(const GuardFrame& frame) {
  std::array<std::byte, 1> flag{std::byte{0x08}};
  std::array<std::byte, 1> zero{};
  auto vni = frame.vni.value;
  std::array<std::byte, 3> vni_bytes{std::byte(vni >> 16), std::byte(vni >> 8), std::byte(vni)};
  GuardTable::ChainOfRules out;
  out.chain.name = "from-peer";
  if (frame.encrypt) out.rules.push_back(drop_clear(frame, true, {}, ""));
  out.rules.push_back(Rule("notrack").add(nft::notrack()).comment("the outer flow needs no conntrack entry"));
  out.rules.push_back(Rule(fmt::format("@th,{},8 & 0x8 != 0x8 counter drop", kFlagsAt * 8))
                          .add(nft::load_payload(nft::Base::transport, kFlagsAt, 1, r(0)))
                          .add(nft::bitwise(r(0), r(0), Value::of(flag), Value::of(zero)))
                          .add(nft::compare(r(0), nft::Cmp::ne, Value::of(flag)))
                          .add(nft::counter())
                          .add(nft::drop())
                          .comment("VXLAN without a VNI"));
  out.rules.push_back(Rule(fmt::format("@th,{},24 != 0x{:x} counter drop", kVniAt * 8, vni))
                          .add(nft::load_payload(nft::Base::transport, kVniAt, 3, r(0)))
                          .add(nft::compare(r(0), nft::Cmp::ne, Value::of(vni_bytes)))
                          .add(nft::counter())
                          .add(nft::drop())
                          .comment(fmt::format("another VNI than our {}", vni)));
  for (Family pods : {Family::v4, Family::v6})
    out.rules.push_back(
        admit_pods(frame.underlay, pods).comment("the inner source is a pod of the peer that sent the packet"));
  out.rules.push_back(
      Rule("counter drop").add(nft::counter()).add(nft::drop()).comment("the inner source is no pod of that peer"));
  return out;
}

Rule no_peer() {
  return Rule("fib daddr type local counter drop")
      .add(nft::fib_daddr_type(r(0)))
      .add(nft::compare(r(0), nft::Cmp::eq, Value().host32(nft::kRtnLocal)))
      .add(nft::counter())
      .add(nft::drop())
      .comment("the sender is no peer");
}

GuardTable::ChainOfRules underlay_chain(const GuardFrame& frame) {
  GuardTable::ChainOfRules out;
  out.chain.name = "vxlan";
  out.rules.push_back(Rule(fmt::format("{} saddr @peers goto from-peer", word(frame.underlay)))
                          .add(in_set(of(frame.underlay), true, kPeersSet))
                          .add(nft::goto_("from-peer")));
  out.rules.push_back(no_peer());
  return out;
}

// What is sealed needs no other look than who sends it: a stranger could not be understood anyway, but would be
// answered with work, and by replaying from another place he could draw packets there, since the kernel follows a peer
// that moves.
GuardTable::ChainOfRules wireguard_chain(const GuardFrame& frame) {
  GuardTable::ChainOfRules out;
  out.chain.name = "wireguard";
  Rule from_peer(fmt::format("{} saddr @peers notrack accept", word(frame.underlay)));
  from_peer.add(in_set(of(frame.underlay), true, kPeersSet)).add(nft::notrack()).add(nft::accept());
  out.rules.push_back(std::move(from_peer));
  out.rules.push_back(no_peer());
  return out;
}

// Pods' packets as they are, on the link that plain routes lead over. Whoever sends them must be the node that the
// pods belong to, by the address that it has named in its conversation with us; nobody else's pod has any business
// there.
GuardTable::ChainOfRules plain_chain() {
  GuardTable::ChainOfRules out;
  out.chain.name = "plain";
  for (Family f : {Family::v4, Family::v6}) {
    Rule rule(fmt::format("ether saddr . {} saddr @direct{} return", word(f), digit(f)));
    // As nft writes it: once it is about Ethernet, the family stands in its header.
    rule.add(nft::load_meta(nft::Meta::iiftype, r(0)))
        .add(nft::compare(r(0), nft::Cmp::eq, Value::of(kEthernet)))
        .add(nft::load_payload(nft::Base::link, 12, 2, r(0)))
        .add(nft::compare(r(0), nft::Cmp::eq, Value().be16(f == Family::v4 ? 0x0800 : 0x86dd)))
        .add(nft::load_payload(nft::Base::link, 6, 6, r(0)))
        .add(nft::load_payload(nft::Base::network, source_offset(f), bytes_of(f), r(2)))
        .add(nft::lookup(std::string("direct") + digit(f), r(0)))
        .add(nft::return_())
        .comment("from the node that the pod belongs to");
    out.rules.push_back(std::move(rule));
  }
  out.rules.push_back(Rule("counter drop")
                          .add(nft::counter())
                          .add(nft::drop())
                          .comment("a pod's packet that another than its node has sent"));
  return out;
}

GuardTable::ChainOfRules inner_chain() {
  GuardTable::ChainOfRules out;
  out.chain.name = "decapsulated";
  for (Family f : {Family::v4, Family::v6})
    out.rules.push_back(Rule(fmt::format("{} saddr @never{} counter drop", word(f), digit(f)))
                            .add(in_set(of(f), true, std::string("never") + digit(f)))
                            .add(nft::counter())
                            .add(nft::drop())
                            .comment("a source that cannot come from a peer"));
  return out;
}

nft::Chain base_chain(std::string name, nft::ChainType type, nft::Hook hook, std::int32_t priority) {
  nft::Chain c;
  c.name = std::move(name);
  c.base = nft::Chain::Base{type, hook, priority, false};
  return c;
}

// A question and its answer stay on this node: no connection tracking entry for each, and no Service in their way.
void untrack_dns(GuardTable::ChainOfRules& chain, const GuardFrame& frame, bool answers) {
  for (const auto& f : {Family::v4, Family::v6}) {
    if (elements_of(frame.dns, f).empty()) continue;
    for (auto [protocol, name] : {std::pair{kUdp, "udp"}, std::pair{kTcp, "tcp"}}) {
      const char* port = answers ? "sport" : "dport";
      const char* address = answers ? "saddr" : "daddr";
      chain.rules.push_back(
          Rule(fmt::format("{} {} {} {} {} @dns{} notrack", name, port, kDnsPort, word(f), address, digit(f)))
              .add(answers ? nft::match_sport(protocol, kDnsPort) : nft::match_dport(protocol, kDnsPort))
              .add(in_set(of(f), answers, std::string("dns") + digit(f)))
              .add(nft::notrack()));
    }
  }
}

GuardTable::ChainOfRules prerouting_chain(const GuardFrame& frame) {
  GuardTable::ChainOfRules out;
  out.chain = base_chain("prerouting", nft::ChainType::filter, nft::Hook::prerouting, -300);
  out.rules.push_back(Rule(fmt::format("udp dport {} jump vxlan", frame.port))
                          .add(nft::match_dport(kUdp, frame.port))
                          .add(nft::jump("vxlan")));
  out.rules.push_back(Rule(fmt::format("iifname \"{}\" jump decapsulated", kDevice))
                          .add(nft::match_iifname(kDevice))
                          .add(nft::jump("decapsulated")));
  if (frame.tunnel)
    out.rules.push_back(Rule(fmt::format("iifname \"{}\" jump decapsulated", kTunnelDevice))
                            .add(nft::match_iifname(kTunnelDevice))
                            .add(nft::jump("decapsulated")));
  if (frame.wireguard != 0) {
    out.rules.push_back(Rule(fmt::format("udp dport {} jump wireguard", frame.wireguard))
                            .add(nft::match_dport(kUdp, frame.wireguard))
                            .add(nft::jump("wireguard")));
    out.rules.push_back(Rule(fmt::format("iifname \"{}\" jump decapsulated", kWireguardDevice))
                            .add(nft::match_iifname(kWireguardDevice))
                            .add(nft::jump("decapsulated")));
  }
  for (Family f : {Family::v4, Family::v6})
    if (!frame.uplink.empty())
      out.rules.push_back(
          Rule(fmt::format("iifname \"{}\" {} saddr @cluster{} jump plain", frame.uplink, word(f), digit(f)))
              .add(nft::match_iifname(frame.uplink))
              .add(in_set(of(f), true, std::string("cluster") + digit(f)))
              .add(nft::jump("plain")));
  untrack_dns(out, frame, false);
  return out;
}

GuardTable::ChainOfRules output_chain(const GuardFrame& frame) {
  GuardTable::ChainOfRules out;
  out.chain = base_chain("output", nft::ChainType::filter, nft::Hook::output, -300);
  if (frame.encrypt) {
    auto to_peer = nft::match_dport(kUdp, frame.port);
    auto address = in_set(of(frame.underlay), false, kPeersSet);
    to_peer.insert(to_peer.end(), address.begin(), address.end());
    out.rules.push_back(drop_clear(frame, false, std::move(to_peer),
                                   fmt::format("udp dport {} {} daddr @peers ", frame.port, word(frame.underlay))));
  }
  out.rules.push_back(Rule(fmt::format("udp dport {} {} daddr @peers notrack", frame.port, word(frame.underlay)))
                          .add(nft::match_dport(kUdp, frame.port))
                          .add(in_set(of(frame.underlay), false, kPeersSet))
                          .add(nft::notrack()));
  if (frame.wireguard != 0)
    out.rules.push_back(Rule(fmt::format("udp sport {} {} daddr @peers notrack", frame.wireguard, word(frame.underlay)))
                            .add(nft::match_sport(kUdp, frame.wireguard))
                            .add(in_set(of(frame.underlay), false, kPeersSet))
                            .add(nft::notrack()));
  untrack_dns(out, frame, false);
  untrack_dns(out, frame, true);
  return out;
}

// Source ports stay out of the range of our own ports: a NATed flow that leaves from port 6784 would break the tunnel.
GuardTable::ChainOfRules masquerade_chain() {
  GuardTable::ChainOfRules out;
  out.chain.name = "as-this-node";
  for (auto [protocol, name] : {std::pair{kTcp, "tcp"}, std::pair{kUdp, "udp"}})
    out.rules.push_back(
        Rule(fmt::format("meta l4proto {} masquerade to :{}-{} fully-random", name, kMasqueradeLow, kMasqueradeHigh))
            .add(nft::match_l4proto(protocol))
            .add(nft::load(Value().port(kMasqueradeLow), r(0)))
            .add(nft::load(Value().port(kMasqueradeHigh), r(4)))
            .add(nft::masquerade(r(0), r(4))));
  out.rules.push_back(Rule("masquerade fully-random").add(nft::masquerade()));
  return out;
}

GuardTable::ChainOfRules postrouting_chain(const GuardFrame& frame) {
  GuardTable::ChainOfRules out;
  out.chain = base_chain("postrouting", nft::ChainType::nat, nft::Hook::postrouting, 100);
  for (const char* device : {kDevice, kTunnelDevice, kWireguardDevice})
    for (Family f : {Family::v4, Family::v6})
      if (device == kDevice || (device == kTunnelDevice ? frame.tunnel : frame.wireguard != 0))
        out.rules.push_back(
            Rule(fmt::format("oifname \"{0}\" {1} saddr != @cluster{2} goto as-this-node", device, word(f), digit(f)))
                .add(nft::match_oifname(device))
                .add(in_set(of(f), true, std::string("cluster") + digit(f), true))
                .add(nft::goto_("as-this-node"))
                .comment("peers take nothing but pods of ours"));
  // The same address as through the overlay: a flow may change from one to the other.
  for (const auto& own : frame.own)
    if (!frame.uplink.empty())
      out.rules.push_back(
          Rule(fmt::format("oifname \"{0}\" {1} saddr != @cluster{2} {1} daddr @cluster{2} snat {1} to {3}",
                           frame.uplink, word(own.family()), digit(own.family()), own.address().to_string()))
              .add(nft::match_oifname(frame.uplink))
              .add(in_set(of(own.family()), true, std::string("cluster") + digit(own.family()), true))
              .add(nft::match_addr_set(of(own.family()), false, std::string("cluster") + digit(own.family())))
              .add(nft::load(Value().ip(own.address()), r(0)))
              .add(nft::snat(of(own.family()), r(0)))
              .comment("peers take nothing but pods of ours"));
  if (!frame.masquerade) return out;
  for (Family f : {Family::v4, Family::v6})
    out.rules.push_back(Rule(fmt::format("oifname != \"{0}\" {1} saddr @own{2} {1} daddr != @cluster{2} goto "
                                         "as-this-node",
                                         kDevice, word(f), digit(f)))
                            .add(nft::match_oifname(kDevice, true))
                            .add(in_set(of(f), true, std::string("own") + digit(f)))
                            .add(nft::match_addr_set(of(f), false, std::string("cluster") + digit(f), true))
                            .add(nft::goto_("as-this-node"))
                            .comment("pods beyond the cluster speak as their node"));
  return out;
}

}  // namespace

const nft::Set& GuardTable::set(const std::string& name) const {
  for (const auto& s : sets)
    if (s.set.name == name) return s.set;
  throw std::out_of_range(name);
}

nft::Table guard_table_name() {
  nft::Table t;
  t.family = nft::Family::inet;
  t.name = kGuardTable;
  t.comment = "made by trama; changes are undone";
  return t;
}

nft::Set peers_set(Family underlay) {
  nft::Set set;
  set.name = kPeersSet;
  set.key = {underlay == Family::v4 ? nft::field::ip_saddr() : nft::field::ip6_saddr()};
  set.has_timeout = true;  // of retired elements
  set.comment = "underlay addresses of the other nodes";
  return set;
}

nft::Set clear_set(Family underlay) {
  auto set = peers_set(underlay);
  set.name = kClearSet;
  set.has_timeout = false;
  set.comment = "peers that may be spoken with in the clear";
  return set;
}

nft::Set pods_set(Family underlay, Family pods) {
  nft::Set set;
  set.name = pods == Family::v4 ? kPods4Set : kPods6Set;
  auto at = pods == Family::v4 ? kInnerSource4At : kInnerSource6At;
  set.key = {underlay == Family::v4 ? nft::field::ip_saddr() : nft::field::ip6_saddr(),
             nft::field::raw(nft::Base::transport, at * 8, bytes_of(pods) * 8)};
  set.interval = true;
  set.has_timeout = true;
  set.comment = "underlay address . pods behind it, as the inner source";
  return set;
}

nft::Set direct_set(Family pods) {
  nft::Set set;
  set.name = pods == Family::v4 ? kDirect4Set : kDirect6Set;
  set.key = {nft::field::ether_saddr(), pods == Family::v4 ? nft::field::ip_saddr() : nft::field::ip6_saddr()};
  set.interval = true;
  set.comment = "who sends pods' packets as they are . its pods";
  return set;
}

GuardTable guard_table(const GuardFrame& frame) {
  GuardTable t;
  t.table = guard_table_name();
  t.sets.push_back({peers_set(frame.underlay), {}});
  t.sets.push_back({pods_set(frame.underlay, Family::v4), {}});
  t.sets.push_back({pods_set(frame.underlay, Family::v6), {}});
  if (frame.encrypt) t.sets.push_back({clear_set(frame.underlay), {}});
  for (Family f : {Family::v4, Family::v6})
    if (!frame.uplink.empty()) t.sets.push_back({direct_set(f), {}});
  add_range_sets(t, frame);
  t.chains = {peer_chain(frame),   underlay_chain(frame),   inner_chain(),           masquerade_chain(),
              output_chain(frame), prerouting_chain(frame), postrouting_chain(frame)};
  if (!frame.uplink.empty()) t.chains.insert(t.chains.begin(), plain_chain());
  if (frame.wireguard != 0) t.chains.insert(t.chains.begin(), wireguard_chain(frame));
  return t;
}

}  // namespace trama::overlay
