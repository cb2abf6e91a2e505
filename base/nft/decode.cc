// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/decode.h"

#include <algorithm>

#include <arpa/inet.h>
#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

namespace trama::nft {
namespace {
using netlink::Attribute;
using netlink::Attributes;

struct Opened {
  Family family = Family::any;
  Attributes attributes;
};
Result<Opened> open(Bytes payload) {
  auto g = netlink::fixed_header<nfgenmsg>(payload);
  if (!g) return Error::from_errno(EBADMSG, "nftables message cut short");
  auto a = Attributes::parse(netlink::behind_header<nfgenmsg>(payload));
  if (!a) return std::move(a).error();
  Opened o;
  o.family = static_cast<Family>(g->nfgen_family);
  o.attributes = std::move(*a);
  return o;
}
std::uint32_t u32(const Attributes& a, std::uint16_t type) { return ntohl(a.get<std::uint32_t>(type).value_or(0)); }
std::uint64_t u64(const Attributes& a, std::uint16_t type) { return be64toh(a.get<std::uint64_t>(type).value_or(0)); }
// The comment in user data: the record of type 0 of tables, chains, rules and elements.
std::string comment_in(Bytes data) {
  while (data.size() >= 2) {
    auto type = static_cast<std::uint8_t>(data[0]);
    auto length = static_cast<std::size_t>(data[1]);
    if (length > data.size() - 2) return {};
    if (type == 0) {
      auto* p = reinterpret_cast<const char*>(data.data() + 2);
      return std::string(p, length == 0 ? 0 : strnlen(p, length));
    }
    data = data.subspan(2 + length);
  }
  return {};
}
Result<Value> value_in(const Attributes& data) {
  Bytes raw = data.bytes(NFTA_DATA_VALUE);
  if (raw.size() > Value::kMax) return Error::from_errno(EBADMSG, "element longer than the registers");
  return Value::of(raw);
}
}  // namespace

std::uint16_t stamp(Bytes payload) {
  auto g = netlink::fixed_header<nfgenmsg>(payload);
  return g ? ntohs(g->res_id) : 0;
}

Result<Table> decode_table(Bytes payload) {
  auto o = open(payload);
  if (!o) return std::move(o).error();
  Table t;
  t.family = o->family;
  t.name = o->attributes.text(NFTA_TABLE_NAME);
  t.flags = u32(o->attributes, NFTA_TABLE_FLAGS);
  t.comment = comment_in(o->attributes.bytes(NFTA_TABLE_USERDATA));
  return t;
}

Result<ChainSeen> decode_chain(Bytes payload) {
  auto o = open(payload);
  if (!o) return std::move(o).error();
  const auto& a = o->attributes;
  ChainSeen c;
  c.family = o->family;
  c.table = a.text(NFTA_CHAIN_TABLE);
  c.chain.name = a.text(NFTA_CHAIN_NAME);
  c.handle = u64(a, NFTA_CHAIN_HANDLE);
  c.chain.comment = comment_in(a.bytes(NFTA_CHAIN_USERDATA));
  if (a.has(NFTA_CHAIN_HOOK)) {
    auto hook = a.nested(NFTA_CHAIN_HOOK);
    Chain::Base base;
    base.hook = static_cast<Hook>(u32(hook, NFTA_HOOK_HOOKNUM));
    base.priority = static_cast<std::int32_t>(u32(hook, NFTA_HOOK_PRIORITY));
    base.drop = u32(a, NFTA_CHAIN_POLICY) == NF_DROP;
    auto type = a.text(NFTA_CHAIN_TYPE);
    base.type = type == "nat" ? ChainType::nat : type == "route" ? ChainType::route : ChainType::filter;
    c.chain.base = base;
  }
  return c;
}

Result<RuleSeen> decode_rule(Bytes payload) {
  auto o = open(payload);
  if (!o) return std::move(o).error();
  const auto& a = o->attributes;
  RuleSeen rule;
  rule.family = o->family;
  rule.table = a.text(NFTA_RULE_TABLE);
  rule.chain = a.text(NFTA_RULE_CHAIN);
  rule.handle = u64(a, NFTA_RULE_HANDLE);
  rule.comment = comment_in(a.bytes(NFTA_RULE_USERDATA));
  rule.code = rule_code(payload);
  return rule;
}

Result<SetSeen> decode_set(Bytes payload) {
  auto o = open(payload);
  if (!o) return std::move(o).error();
  const auto& a = o->attributes;
  SetSeen s;
  s.family = o->family;
  s.table = a.text(NFTA_SET_TABLE);
  s.name = a.text(NFTA_SET_NAME);
  s.flags = u32(a, NFTA_SET_FLAGS);
  s.key_type = u32(a, NFTA_SET_KEY_TYPE);
  s.key_length = u32(a, NFTA_SET_KEY_LEN);
  s.data_type = u32(a, NFTA_SET_DATA_TYPE);
  s.data_length = u32(a, NFTA_SET_DATA_LEN);
  s.timeout_ms = u64(a, NFTA_SET_TIMEOUT);
  s.size = u32(a.nested(NFTA_SET_DESC), NFTA_SET_DESC_SIZE);
  constexpr std::uint16_t kSetCount = 20;  // NFTA_SET_COUNT
  if (a.has(kSetCount)) s.count = u32(a, kSetCount);
  s.counts = a.nested(NFTA_SET_EXPR).text(NFTA_EXPR_NAME) == "counter";
  auto data = a.bytes(NFTA_SET_USERDATA);
  s.userdata.assign(reinterpret_cast<const char*>(data.data()), data.size());
  return s;
}

bool SetSeen::matches(const Set& set) const {
  return name == set.name && flags == set.flags() && key_type == set.key_type() && key_length == set.key_length() &&
         data_type == set.data_type() && (set.is_verdict_map() || data_length == set.data_length()) &&
         timeout_ms == static_cast<std::uint64_t>(set.timeout.count()) && (set.size == 0 || size == set.size) &&
         counts == set.counts && userdata == set.userdata();
}

Result<> decode_elements(Bytes payload, std::vector<ElementSeen>& out) {
  auto o = open(payload);
  if (!o) return std::move(o).error();
  std::optional<Error> failure;
  auto walked =
      netlink::for_each_attribute(o->attributes.bytes(NFTA_SET_ELEM_LIST_ELEMENTS), [&](const Attribute& item) {
        if (failure || item.type != NFTA_LIST_ELEM) return;
        auto a = Attributes::parse(item.payload);
        if (!a) {
          failure = std::move(a).error();
          return;
        }
        ElementSeen seen;
        auto take = [&](std::uint16_t type, Value& to) {
          auto value = value_in(a->nested(type));
          if (!value)
            failure = std::move(value).error();
          else
            to = *value;
        };
        take(NFTA_SET_ELEM_KEY, seen.element.key);
        if (a->has(NFTA_SET_ELEM_KEY_END)) take(NFTA_SET_ELEM_KEY_END, seen.element.key_end);
        if (seen.element.key_end == seen.element.key) seen.element.key_end = Value();
        if (a->has(NFTA_SET_ELEM_DATA)) {
          auto data = a->nested(NFTA_SET_ELEM_DATA);
          if (data.has(NFTA_DATA_VERDICT))
            seen.element.chain = data.nested(NFTA_DATA_VERDICT).text(NFTA_VERDICT_CHAIN);
          else
            take(NFTA_SET_ELEM_DATA, seen.element.data);
        }
        auto expression = a->nested(NFTA_SET_ELEM_EXPR);
        if (expression.text(NFTA_EXPR_NAME) == "counter")
          seen.element.packets = u64(expression.nested(NFTA_EXPR_DATA), NFTA_COUNTER_PACKETS);
        seen.element.comment = comment_in(a->bytes(NFTA_SET_ELEM_USERDATA));
        seen.element.timeout = std::chrono::milliseconds(u64(*a, NFTA_SET_ELEM_TIMEOUT));
        seen.interval_end = (u32(*a, NFTA_SET_ELEM_FLAGS) & NFT_SET_ELEM_INTERVAL_END) != 0;
        if (!failure) out.push_back(std::move(seen));
      });
  if (failure) return std::move(*failure);
  return walked;
}

std::vector<Element> join_ranges(std::vector<ElementSeen> seen, std::uint32_t key_length) {
  // Starts sort behind the end that has the same key: [a,b) [b,c) share b.
  std::stable_sort(seen.begin(), seen.end(), [](const ElementSeen& a, const ElementSeen& b) {
    if (auto order = a.element.key <=> b.element.key; order != 0) return order < 0;
    return a.interval_end && !b.interval_end;
  });
  std::vector<Element> out;
  bool open_range = false;
  auto close = [&](const Value* behind) {
    if (!open_range) return;
    open_range = false;
    std::vector<std::byte> last(key_length, std::byte{0xff});  // no end: to the last value
    if (behind) {
      auto b = behind->bytes().first(std::min<std::size_t>(key_length, behind->size()));
      last.assign(b.begin(), b.end());
      for (std::size_t i = last.size(); i-- > 0;) {
        bool borrow = last[i] == std::byte{0};
        last[i] = static_cast<std::byte>(static_cast<unsigned>(last[i]) - 1);
        if (!borrow) break;
      }
    }
    Value end = Value::of(last);
    if (!(end == out.back().key)) out.back().key_end = end;
  };
  for (auto& s : seen) {
    if (s.interval_end) {
      close(&s.element.key);
    } else {
      close(&s.element.key);
      out.push_back(std::move(s.element));
      open_range = true;
    }
  }
  close(nullptr);
  return out;
}

}  // namespace trama::nft
