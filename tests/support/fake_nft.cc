// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/fake_nft.h"

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

namespace trama::test {
namespace {
using base::Error;
using base::Result;
using netlink::Attributes;
using nft::Bytes;

using Key = std::pair<nft::Family, std::string>;

struct Message {
  nft::Family family;
  Attributes attributes;
};
Message open(Bytes payload) {
  auto g = netlink::fixed_header<nfgenmsg>(payload);
  return {static_cast<nft::Family>(g->nfgen_family), *Attributes::parse(netlink::behind_header<nfgenmsg>(payload))};
}

// As the kernel sees it: one end of the new range lies in one that is there. Of concatenations, only the last field may
// be a range.
bool overlaps(const std::map<nft::Value, nft::Element>& elements, const nft::Element& e) {
  auto last = [](const nft::Element& x) { return x.key_end.empty() ? x.key : x.key_end; };
  return std::any_of(elements.begin(), elements.end(), [&](const auto& other) {
    return (other.first <= e.key && e.key <= last(other.second)) ||
           (other.first <= last(e) && last(e) <= last(other.second));
  });
}

Result<> apply(FakeNft::Tables& tables, const nlmsghdr& h, Bytes payload) {
  Message m = open(payload);
  auto name = [&](std::uint16_t type) { return m.attributes.text(type); };
  auto no = [](int err, const std::string& what) { return Error::from_errno(err, what); };
  // Attribute 1 is the table's name in every message.
  auto it = tables.find(Key{m.family, name(1)});
  int type = h.nlmsg_type & 0xff;
  if (type == NFT_MSG_NEWTABLE) {
    auto t = nft::decode_table(payload);
    auto [at, fresh] = tables.try_emplace(Key{t->family, t->name});
    if (fresh) at->second.comment = t->comment;
    return {};
  }
  if (it == tables.end()) return no(ENOENT, "no table " + name(1));
  auto& table = it->second;
  switch (type) {
    case NFT_MSG_DELTABLE: tables.erase(it); return {};
    case NFT_MSG_NEWSET: {
      auto s = nft::decode_set(payload);
      if (!s->anonymous()) table.sets.try_emplace(s->name, *s);
      return {};
    }
    case NFT_MSG_NEWCHAIN: {
      auto c = nft::decode_chain(payload);
      table.chains.try_emplace(c->chain.name, *c);
      return {};
    }
    case NFT_MSG_DELCHAIN: {
      auto chain = name(NFTA_CHAIN_NAME);
      if (!table.chains.contains(chain)) return no(ENOENT, "no chain " + chain);
      if (!table.rules[chain].empty()) return no(EBUSY, "chain has rules: " + chain);
      for (auto& [set, elements] : table.elements)
        for (auto& [key, e] : elements)
          if (e.chain == chain) return no(EBUSY, "chain is used: " + chain);
      table.chains.erase(chain);
      table.rules.erase(chain);
      return {};
    }
    case NFT_MSG_NEWRULE: {
      auto r = nft::decode_rule(payload);
      if (!table.chains.contains(r->chain)) return no(ENOENT, "no chain " + r->chain);
      table.rules[r->chain].push_back(*r);
      return {};
    }
    case NFT_MSG_DELRULE: {
      auto chain = name(NFTA_RULE_CHAIN);
      if (!table.chains.contains(chain)) return no(ENOENT, "no chain " + chain);
      table.rules[chain].clear();
      return {};
    }
    case NFT_MSG_NEWSETELEM:
    case NFT_MSG_DELSETELEM: {
      auto set = name(NFTA_SET_ELEM_LIST_SET);
      if (set == "__set%d") return {};
      auto spec = table.sets.find(set);
      if (spec == table.sets.end()) return no(ENOENT, "no set " + set);
      std::vector<nft::ElementSeen> seen;
      if (auto ok = nft::decode_elements(payload, seen); !ok) return ok;
      bool plain_interval = (spec->second.flags & (NFT_SET_INTERVAL | 0x80)) == NFT_SET_INTERVAL;
      std::vector<nft::Element> list;
      if (plain_interval)
        list = nft::join_ranges(std::move(seen), spec->second.key_length);
      else
        for (auto& s : seen) list.push_back(std::move(s.element));
      auto& elements = table.elements[set];
      for (auto& e : list) {
        auto have = elements.find(e.key);
        if (type == NFT_MSG_DELSETELEM) {
          if (have == elements.end()) return no(ENOENT, "no such element in " + set);
          elements.erase(have);
        } else if (have == elements.end() && (spec->second.flags & NFT_SET_INTERVAL) != 0 && overlaps(elements, e)) {
          return no(EEXIST, "an overlapping range in " + set);
        } else if (have == elements.end()) {
          if (!e.chain.empty() && !table.chains.contains(e.chain)) return no(ENOENT, "no chain " + e.chain);
          elements.emplace(e.key, e);
        } else if (have->second.data != e.data || have->second.chain != e.chain) {
          return no(EEXIST, "another element in " + set);
        }
      }
      return {};
    }
    default: return no(EOPNOTSUPP, "the fake does not know message " + std::to_string(type));
  }
}
}  // namespace

std::map<std::string, std::vector<std::string>> FakeNft::Table::rule_codes() const {
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& [chain, seen] : chains) out[chain];
  for (const auto& [chain, list] : rules)
    for (const auto& r : list) out[chain].push_back(r.code);
  return out;
}

bool operator==(const FakeNft::Table& a, const FakeNft::Table& b) {
  auto filled = [](auto elements) {
    std::erase_if(elements, [](const auto& set) { return set.second.empty(); });
    return elements;
  };
  return filled(a.elements) == filled(b.elements) && a.rule_codes() == b.rule_codes();
}

Result<> FakeNft::commit(nft::Batch& batch) {
  if (batch.empty()) return {};
  if (refuse)
    if (auto ok = refuse(batch); !ok) return ok;
  Tables next = tables;
  std::optional<Error> failure;
  batch.for_each([&](const nlmsghdr& h, Bytes payload) {
    if (failure) return;
    if (auto ok = apply(next, h, payload); !ok) failure = std::move(ok).error();
  });
  if (failure) return std::move(*failure);
  tables = std::move(next);
  ++commits;
  if (lose_answers) return Error::from_errno(ENOBUFS, "answers were lost");
  return {};
}

Result<std::string> FakeNft::damage(const nft::Blueprint& blueprint, std::map<std::string, std::size_t>& counts) {
  std::vector<nft::Table> seen;
  std::vector<nft::ChainSeen> chains;
  std::vector<nft::RuleSeen> rules;
  std::vector<nft::SetSeen> sets;
  for (const auto& [key, table] : tables) {
    seen.push_back(nft::Table{key.first, key.second, table.comment, 0});
    if (key != Key{blueprint.table.family, blueprint.table.name}) continue;
    for (const auto& [name, c] : table.chains) chains.push_back(c);
    for (const auto& [name, s] : table.sets) sets.push_back(s), counts[name] = 0;
    for (const auto& [name, list] : table.rules) rules.insert(rules.end(), list.begin(), list.end());
    for (const auto& [name, list] : table.elements) counts[name] = list.size();
  }
  if (!counts_known) counts.clear();
  return nft::damage(blueprint, seen, chains, rules, sets);
}

Result<std::vector<nft::Element>> FakeNft::elements(const nft::Table& table, const nft::Set& set) {
  std::vector<nft::Element> out;
  ++reads;
  auto it = tables.find(Key{table.family, table.name});
  if (it == tables.end()) return out;
  for (const auto& [key, e] : it->second.elements[set.name]) out.push_back(e);
  return out;
}

Result<std::size_t> FakeNft::forget_flows(const std::vector<servicelb::FlowsOf>& stale) {
  if (flows_fail) return Error::from_errno(EBUSY, "conntrack");
  forgotten.insert(forgotten.end(), stale.begin(), stale.end());
  return stale.size();
}

std::map<nft::Value, nft::Element>& FakeNft::elements_of(base::Family family, const std::string& set) {
  return tables[Key{servicelb::table_of(family).family, "trama"}].elements[set];
}

}  // namespace trama::test
