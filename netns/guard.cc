// SPDX-License-Identifier: GPL-2.0-or-later
#include "netns/guard.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/netfilter/nf_tables.h>

namespace trama::netns {

using base::Error;
using base::Result;
using nft::Base;
using nft::Cmp;
using nft::Reg;
using nft::Rule;
using nft::Value;

namespace {

constexpr std::uint16_t kPeerPort = 6783, kVxlanPort = 6784, kWireguardPort = 6785;
constexpr std::uint8_t kTcp = 6, kUdp = 17;
constexpr std::int32_t kPriorityRaw = -300, kPriorityAfterDnat = -90;
constexpr std::uint32_t kFlowsSize = 65536;
constexpr auto kIifGroup = static_cast<nft::Meta>(NFT_META_IIFGROUP);

constexpr std::string_view kCapped = "capped-";
std::string capped_name(unsigned limit) { return fmt::format("{}{}", kCapped, limit); }

nft::Exprs from_group(std::uint32_t group) {
  return {nft::load_meta(kIifGroup, Reg{0}), nft::compare(Reg{0}, Cmp::eq, Value().host32(group))};
}

// "meta l4proto { tcp, udp } th dport { 6783, 6784, 6785 }"
nft::Exprs to_overlay_ports() {
  return {
      nft::load_meta(nft::Meta::l4proto, Reg{0}),
      nft::lookup_any(nft::field::l4proto(), {Value().proto(kTcp), Value().proto(kUdp)}, Reg{0}),
      nft::load_payload(Base::transport, 2, 2, Reg{0}),
      nft::lookup_any(nft::field::th_dport(),
                      {Value().port(kPeerPort), Value().port(kVxlanPort), Value().port(kWireguardPort)}, Reg{0}),
  };
}

// "iifname . ether saddr . ip saddr @set", as the nft tool writes it.
nft::Exprs own_source(bool v4, const std::string& set) {
  std::uint16_t iiftype = ARPHRD_ETHER;
  Reg name{0}, mac{4}, address{6};
  return {
      nft::load_meta(nft::Meta::iiftype, Reg{0}),
      nft::compare(Reg{0}, Cmp::eq, Value::of(std::as_bytes(std::span(&iiftype, 1)))),
      nft::load_payload(Base::link, 12, 2, Reg{0}),
      nft::compare(Reg{0}, Cmp::eq, Value().be16(v4 ? ETH_P_IP : ETH_P_IPV6)),
      nft::load_meta(nft::Meta::iifname, name),
      nft::load_payload(Base::link, 6, 6, mac),
      nft::load_payload(Base::network, v4 ? 12 : 8, v4 ? 4 : 16, address),
      nft::lookup(set, name),
  };
}

nft::Set pods_set(bool v4) {
  nft::Set set;
  set.name = v4 ? "pods4" : "pods6";
  set.key = {nft::field::iifname(), nft::field::ether_saddr(), v4 ? nft::field::ip_saddr() : nft::field::ip6_saddr()};
  set.comment = "which link, MAC and source address belong together";
  return set;
}

nft::Set capped_set(unsigned limit) {
  nft::Set set;
  set.name = capped_name(limit);
  set.key = {nft::field::iifname()};
  set.comment = fmt::format("pods that may have {} connections open", limit);
  return set;
}

nft::Set flows_set() {
  nft::Set set;
  set.name = "flows";
  set.key = {nft::field::iifname()};
  set.dynamic = true;
  set.size = kFlowsSize;
  set.comment = "connections counted per pod";
  return set;
}

const std::vector<std::string>& set_names() {
  static const std::vector<std::string> names = {"pods4", "pods6"};
  return names;
}

}  // namespace

GuardEntry guard_entry(const Sandbox& s) {
  return {veth_name(s.uid), pod_mac(s.uid), s.network.addresses, s.network.connection_limit, s.ns + "/" + s.name};
}
GuardEntry guard_entry(const Record& r) {
  return {veth_name(r.uid), pod_mac(r.uid), r.addresses, r.connection_limit, r.ns + "/" + r.name};
}

nft::Blueprint guard_blueprint(const std::set<unsigned>& limits) {
  nft::Blueprint out;
  out.table = {nft::Family::inet, "trama-pods", "trama: what may come out of a pod"};
  out.sets = {pods_set(true), pods_set(false), flows_set()};

  nft::Blueprint::ChainRules prerouting;
  prerouting.chain.name = "prerouting";
  prerouting.chain.base = {nft::ChainType::filter, nft::Hook::prerouting, kPriorityRaw, false};
  prerouting.rules.push_back(Rule(fmt::format("iifgroup {} goto from-pod", kLiveGroup))
                                 .add(from_group(kLiveGroup))
                                 .add(nft::goto_("from-pod")));
  prerouting.rules.push_back(Rule(fmt::format("iifgroup {} counter packets 0 bytes 0 drop", kDyingGroup))
                                 .add(from_group(kDyingGroup))
                                 .add(nft::counter())
                                 .add(nft::drop())
                                 .comment("pods that are gone"));

  nft::Blueprint::ChainRules from_pod;
  from_pod.chain.name = "from-pod";
  from_pod.rules.push_back(
      Rule("meta l4proto { tcp, udp } th dport { 6783, 6784, 6785 } counter packets 0 bytes 0 drop")
          .add(to_overlay_ports())
          .add(nft::counter())
          .add(nft::drop())
          .comment("the overlay's own ports are not for pods"));
  for (bool v4 : {true, false})
    from_pod.rules.push_back(
        Rule(v4 ? "iifname . ether saddr . ip saddr @pods4 accept" : "iifname . ether saddr . ip6 saddr @pods6 accept")
            .add(own_source(v4, v4 ? "pods4" : "pods6"))
            .add(nft::accept()));
  from_pod.rules.push_back(Rule("counter packets 0 bytes 0 drop")
                               .add(nft::counter())
                               .add(nft::drop())
                               .comment("not the pod's own MAC and address"));

  // After address translation: a Service must not lead there either.
  nft::Blueprint::ChainRules translated;
  translated.chain.name = "translated";
  translated.chain.base = {nft::ChainType::filter, nft::Hook::prerouting, kPriorityAfterDnat, false};
  translated.rules.push_back(
      Rule(fmt::format(
               "iifgroup {} meta l4proto {{ tcp, udp }} th dport {{ 6783, 6784, 6785 }} counter packets 0 bytes 0 drop",
               kLiveGroup))
          .add(from_group(kLiveGroup))
          .add(to_overlay_ports())
          .add(nft::counter())
          .add(nft::drop())
          .comment("nor by a Service"));
  for (unsigned limit : limits) {
    if (limit == 0) continue;
    std::string name = capped_name(limit);
    out.sets.push_back(capped_set(limit));
    translated.rules.push_back(
        Rule(fmt::format(
                 "iifname @{} ct state new add @flows {{ iifname ct count over {} }} counter packets 0 bytes 0 drop",
                 name, limit))
            .add(nft::load_meta(nft::Meta::iifname, Reg{0}))
            .add(nft::lookup(name, Reg{0}))
            .add(nft::match_ct_state(nft::kCtNew))
            .add(nft::load_meta(nft::Meta::iifname, Reg{0}))
            .add(nft::dynset(nft::Dyn::add, "flows", Reg{0}, {}, {nft::connlimit(limit)}))
            .add(nft::counter())
            .add(nft::drop())
            .comment("connection limit of the pod is reached"));
  }
  out.chains = {prerouting, from_pod, translated};
  return out;
}

std::vector<GuardElement> guard_elements(const nft::Blueprint& blueprint, const GuardEntry& entry) {
  auto set = [&](const std::string& name) {
    auto it = std::find_if(blueprint.sets.begin(), blueprint.sets.end(), [&](const auto& s) { return s.name == name; });
    return it == blueprint.sets.end() ? nullptr : &*it;
  };
  std::vector<GuardElement> out;
  for (const auto& ip : entry.addresses) {
    nft::Element e;
    e.key.ifname(entry.link).mac(entry.mac).ip(ip);
    e.comment = nft::clean_comment(entry.comment);
    out.push_back({set(set_names()[ip.is_v4() ? 0 : 1]), e});
  }
  if (entry.connection_limit > 0) {
    nft::Element e;
    e.key.ifname(entry.link);
    e.comment = nft::clean_comment(entry.comment);
    out.push_back({set(capped_name(entry.connection_limit)), e});
  }
  return out;
}

Result<Guard::Seen> Guard::look(const std::map<Uid, GuardEntry>& known) {
  auto epoch = session_.epoch();
  if (!epoch) return std::move(epoch).error();
  if (verified_ != *epoch) {
    auto seen = read(known);
    if (seen) verified_ = *epoch;
    return seen;
  }
  Seen seen;
  seen.table = table_;
  for (const auto& [uid, entry] : known) {
    auto it = entries_.find(uid);
    if (it != entries_.end() && it->second == entry) seen.guarded.insert(uid);
  }
  return seen;
}

Result<bool> Guard::touched() {
  if (!verified_) return false;
  auto epoch = session_.epoch();
  if (!epoch) return std::move(epoch).error();
  return *verified_ != *epoch;
}

Result<Guard::Seen> Guard::read(const std::map<Uid, GuardEntry>& known) {
  std::set<unsigned> limits;
  for (const auto& [uid, entry] : known)
    if (entry.connection_limit) limits.insert(entry.connection_limit);
  auto tables = session_.tables(nft::Family::inet);
  if (!tables) return std::move(tables).error();
  auto table = guard_blueprint({}).table;
  entries_.clear();
  Seen seen;
  table_ = GuardTable::absent;
  bool exists = std::any_of(tables->begin(), tables->end(), [&](const nft::Table& t) { return t.name == table.name; });
  if (!exists) {
    limits_.clear();
    return seen;
  }
  // A limit that nobody has any more stays until the table is made anew.
  auto sets = session_.sets(table);
  if (!sets) return std::move(sets).error();
  for (const auto& set : *sets) {
    unsigned limit = 0;
    if (set.name.starts_with(kCapped) &&
        std::from_chars(set.name.data() + kCapped.size(), set.name.data() + set.name.size(), limit).ec == std::errc{})
      limits.insert(limit);
  }
  auto blueprint = guard_blueprint(limits);
  limits_ = limits;
  auto damaged = nft::damage(session_, blueprint);
  if (!damaged) return std::move(damaged).error();
  table_ = seen.table = damaged->empty() ? GuardTable::intact : GuardTable::damaged;
  // A damaged table is made anew with all its entries: reading them would tell nothing.
  if (table_ == GuardTable::damaged) return seen;

  std::map<std::string, std::set<Value>> have;
  for (const auto& set : blueprint.sets) {
    if (set.dynamic) continue;
    auto elements = session_.elements(blueprint.table, set);
    if (!elements) return std::move(elements).error();
    for (const auto& e : *elements) have[set.name].insert(e.key);
  }
  for (const auto& [uid, entry] : known) {
    bool all = true;
    for (const auto& e : guard_elements(blueprint, entry)) all = have[e.set->name].erase(e.element.key) > 0 && all;
    if (!all) continue;
    entries_.emplace(uid, entry);
    seen.guarded.insert(uid);
  }
  bool foreign = std::any_of(have.begin(), have.end(), [](const auto& s) { return !s.second.empty(); });
  if (foreign) table_ = seen.table = GuardTable::damaged;
  return seen;
}

Result<> Guard::commit(nft::Batch& batch) {
  auto r = session_.commit(batch);
  if (!r) verified_.reset();
  return r;
}

Result<> Guard::rebuild(const std::map<Uid, GuardEntry>& entries) {
  std::set<unsigned> limits;
  for (const auto& [uid, entry] : entries)
    if (entry.connection_limit) limits.insert(entry.connection_limit);
  auto blueprint = guard_blueprint(limits);
  nft::Batch batch;
  nft::replace_frame(batch, blueprint);
  for (const auto& [uid, entry] : entries)
    for (const auto& e : guard_elements(blueprint, entry)) batch.put_element(blueprint.table, *e.set, e.element);
  nft::put_rules(batch, blueprint);
  if (auto r = commit(batch); !r) return std::move(r).error().in("table inet trama-pods");
  limits_ = std::move(limits);
  entries_ = entries;
  table_ = GuardTable::intact;
  return {};
}

Result<> Guard::put(const Uid& uid, const GuardEntry& entry) {
  auto it = entries_.find(uid);
  if (it != entries_.end() && it->second == entry && table_ == GuardTable::intact) return {};
  // Fail closed: no link goes up before the table stands.
  if (table_ != GuardTable::intact)
    return Error::from_errno(ENOENT, "table inet trama-pods: guard of " + entry.comment);
  if (entry.connection_limit && !limits_.contains(entry.connection_limit)) {
    auto all = entries_;
    all.insert_or_assign(uid, entry);
    return rebuild(all);
  }
  auto blueprint = guard_blueprint(limits_);
  nft::Batch batch;
  if (it != entries_.end())
    for (const auto& e : guard_elements(blueprint, it->second))
      batch.delete_element(blueprint.table, *e.set, e.element);
  for (const auto& e : guard_elements(blueprint, entry)) batch.put_element(blueprint.table, *e.set, e.element);
  if (auto r = commit(batch); !r) return std::move(r).error().in("guard of " + entry.comment);
  entries_.insert_or_assign(uid, entry);
  return {};
}

Result<> Guard::remove(const Uid& uid, const GuardEntry& entry) {
  if (table_ == GuardTable::absent) return {};
  auto it = entries_.find(uid);
  auto blueprint = guard_blueprint(limits_);
  auto elements = guard_elements(blueprint, it != entries_.end() ? it->second : entry);
  std::erase_if(elements, [](const GuardElement& e) { return !e.set; });
  nft::Batch all;
  for (const auto& e : elements) all.delete_element(blueprint.table, *e.set, e.element);
  auto r = session_.commit(all);
  if (!r && r.error().is(std::errc::no_such_file_or_directory)) {
    // Somebody deleted one: it must not keep the others in.
    r = {};
    for (const auto& e : elements) {
      nft::Batch one;
      one.delete_element(blueprint.table, *e.set, e.element);
      auto alone = session_.commit(one);
      if (!alone && !alone.error().is(std::errc::no_such_file_or_directory)) r = std::move(alone);
    }
  }
  if (!r) {
    verified_.reset();
    return std::move(r).error().in("guard of " + entry.comment);
  }
  entries_.erase(uid);
  return {};
}

Result<> Guard::remove_table() {
  nft::Batch batch;
  nft::Table table = guard_blueprint({}).table;
  table.comment.clear();
  batch.put_table(table);
  batch.delete_table(table);
  if (auto r = commit(batch); !r) return r;
  entries_.clear();
  limits_.clear();
  table_ = GuardTable::absent;
  return {};
}

}  // namespace trama::netns
