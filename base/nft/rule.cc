// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/rule.h"

#include <utility>

#include <arpa/inet.h>
#include <libnftnl/expr.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>

#include "base/nft/rule_wire.h"

namespace trama::nft {
namespace {

Expr make(
    std::string kind,
    std::vector<std::pair<std::uint16_t, std::variant<std::uint32_t, std::uint64_t, std::string, Value>>> attributes) {
  Expr e;
  e.kind = std::move(kind);
  e.attributes = std::move(attributes);
  return e;
}
std::uint32_t u(auto v) { return static_cast<std::uint32_t>(v); }

Expr verdict(int code, const std::string& chain = {}) {
  Expr e = make("immediate", {{NFTNL_EXPR_IMM_DREG, u(NFT_REG_VERDICT)}, {NFTNL_EXPR_IMM_VERDICT, u(code)}});
  if (!chain.empty()) e.attributes.emplace_back(NFTNL_EXPR_IMM_CHAIN, chain);
  return e;
}
Expr nat(std::uint32_t type, Family family, Reg address, const Reg* port) {
  std::uint32_t flags = NF_NAT_RANGE_MAP_IPS;
  Expr e = make("nat", {{NFTNL_EXPR_NAT_TYPE, type},
                        {NFTNL_EXPR_NAT_FAMILY, u(family)},
                        {NFTNL_EXPR_NAT_REG_ADDR_MIN, address.wire()},
                        {NFTNL_EXPR_NAT_REG_ADDR_MAX, address.wire()}});
  if (port) {
    flags |= NF_NAT_RANGE_PROTO_SPECIFIED;
    e.attributes.emplace_back(NFTNL_EXPR_NAT_REG_PROTO_MIN, port->wire());
    e.attributes.emplace_back(NFTNL_EXPR_NAT_REG_PROTO_MAX, port->wire());
  }
  e.attributes.emplace_back(NFTNL_EXPR_NAT_FLAGS, flags);
  return e;
}
Expr numgen(std::uint32_t type, std::uint32_t modulus, Reg to) {
  return make("numgen", {{NFTNL_EXPR_NG_DREG, to.wire()},
                         {NFTNL_EXPR_NG_MODULUS, modulus},
                         {NFTNL_EXPR_NG_TYPE, type},
                         {NFTNL_EXPR_NG_OFFSET, u(0)}});
}
Expr fib_type(std::uint32_t of, Reg to) {
  return make("fib", {{NFTNL_EXPR_FIB_DREG, to.wire()},
                      {NFTNL_EXPR_FIB_RESULT, u(NFT_FIB_RESULT_ADDRTYPE)},
                      {NFTNL_EXPR_FIB_FLAGS, of}});
}
std::uint8_t nfproto(Family f) { return static_cast<std::uint8_t>(f); }
Exprs match_ifname(Meta key, const std::string& name, bool invert) {
  Value v;
  if (!name.empty() && name.back() == '*')
    v.raw(std::as_bytes(std::span(name).first(name.size() - 1)));
  else
    v.ifname(name);
  return {load_meta(key, r(0)), compare(r(0), invert ? Cmp::ne : Cmp::eq, v)};
}
Exprs match_ct_bits(Ct key, std::uint32_t any_of) {
  return {load_ct(key, r(0)), bitwise(r(0), r(0), Value().host32(any_of), Value().host32(0)),
          compare(r(0), Cmp::ne, Value().host32(0))};
}
std::uint32_t address_offset(Family f, bool source) {
  return f == Family::ip6 ? (source ? 8 : 24) : (source ? 12 : 16);
}
}  // namespace

std::uint32_t Reg::wire() const { return index % 4 == 0 ? NFT_REG_1 + index / 4 : u(NFT_REG32_00) + index; }

Expr load_payload(Base base, std::uint32_t offset, std::uint32_t bytes, Reg to) {
  return make("payload", {{NFTNL_EXPR_PAYLOAD_DREG, to.wire()},
                          {NFTNL_EXPR_PAYLOAD_BASE, u(base)},
                          {NFTNL_EXPR_PAYLOAD_OFFSET, offset},
                          {NFTNL_EXPR_PAYLOAD_LEN, bytes}});
}
Expr load_meta(Meta key, Reg to) {
  return make("meta", {{NFTNL_EXPR_META_KEY, u(key)}, {NFTNL_EXPR_META_DREG, to.wire()}});
}
Expr set_meta(Meta key, Reg from) {
  return make("meta", {{NFTNL_EXPR_META_KEY, u(key)}, {NFTNL_EXPR_META_SREG, from.wire()}});
}
Expr load_ct(Ct key, Reg to) { return make("ct", {{NFTNL_EXPR_CT_KEY, u(key)}, {NFTNL_EXPR_CT_DREG, to.wire()}}); }
Expr set_ct(Ct key, Reg from) { return make("ct", {{NFTNL_EXPR_CT_KEY, u(key)}, {NFTNL_EXPR_CT_SREG, from.wire()}}); }
Expr load(Value value, Reg to) {
  return make("immediate", {{NFTNL_EXPR_IMM_DREG, to.wire()}, {NFTNL_EXPR_IMM_DATA, value}});
}
Expr bitwise(Reg to, Reg from, Value mask, Value flip) {
  return make("bitwise", {{NFTNL_EXPR_BITWISE_SREG, from.wire()},
                          {NFTNL_EXPR_BITWISE_DREG, to.wire()},
                          {NFTNL_EXPR_BITWISE_LEN, u(mask.tight().size())},
                          {NFTNL_EXPR_BITWISE_MASK, mask},
                          {NFTNL_EXPR_BITWISE_XOR, flip}});
}
Expr to_network_order(Reg reg, std::uint32_t bytes) {
  return make("byteorder", {{NFTNL_EXPR_BYTEORDER_SREG, reg.wire()},
                            {NFTNL_EXPR_BYTEORDER_DREG, reg.wire()},
                            {NFTNL_EXPR_BYTEORDER_OP, u(NFT_BYTEORDER_HTON)},
                            {NFTNL_EXPR_BYTEORDER_LEN, bytes},
                            {NFTNL_EXPR_BYTEORDER_SIZE, u(2)}});
}
Expr numgen_random(std::uint32_t modulus, Reg to) { return numgen(NFT_NG_RANDOM, modulus, to); }
Expr numgen_inc(std::uint32_t modulus, Reg to) { return numgen(NFT_NG_INCREMENTAL, modulus, to); }
Expr jhash(Reg from, std::uint32_t bytes, std::uint32_t modulus, std::uint32_t seed, Reg to) {
  return make("hash", {{NFTNL_EXPR_HASH_SREG, from.wire()},
                       {NFTNL_EXPR_HASH_DREG, to.wire()},
                       {NFTNL_EXPR_HASH_LEN, bytes},
                       {NFTNL_EXPR_HASH_MODULUS, modulus},
                       {NFTNL_EXPR_HASH_SEED, seed},
                       {NFTNL_EXPR_HASH_OFFSET, u(0)},
                       {NFTNL_EXPR_HASH_TYPE, u(NFT_HASH_JENKINS)}});
}
Expr fib_daddr_type(Reg to) { return fib_type(NFTA_FIB_F_DADDR, to); }
Expr fib_saddr_type(Reg to) { return fib_type(NFTA_FIB_F_SADDR, to); }

Expr compare(Reg from, Cmp op, Value value) {
  return make("cmp", {{NFTNL_EXPR_CMP_SREG, from.wire()}, {NFTNL_EXPR_CMP_OP, u(op)}, {NFTNL_EXPR_CMP_DATA, value}});
}
Expr range(Reg from, Value low, Value high, bool invert) {
  return make("range", {{NFTNL_EXPR_RANGE_SREG, from.wire()},
                        {NFTNL_EXPR_RANGE_OP, u(invert ? NFT_RANGE_NEQ : NFT_RANGE_EQ)},
                        {NFTNL_EXPR_RANGE_FROM_DATA, low},
                        {NFTNL_EXPR_RANGE_TO_DATA, high}});
}
Expr lookup(const std::string& set, Reg key, bool invert) {
  Expr e = make("lookup", {{NFTNL_EXPR_LOOKUP_SREG, key.wire()}, {NFTNL_EXPR_LOOKUP_SET, set}});
  if (invert) e.attributes.emplace_back(NFTNL_EXPR_LOOKUP_FLAGS, u(NFT_LOOKUP_F_INV));
  return e;
}
Expr map(const std::string& name, Reg key, Reg to) {
  Expr e = lookup(name, key);
  e.attributes.emplace_back(NFTNL_EXPR_LOOKUP_DREG, to.wire());
  return e;
}
Expr vmap(const std::string& name, Reg key) {
  Expr e = lookup(name, key);
  e.attributes.emplace_back(NFTNL_EXPR_LOOKUP_DREG, u(NFT_REG_VERDICT));
  return e;
}
Expr lookup_any(Field field, std::vector<Value> values, Reg key, bool invert) {
  Expr e = lookup("__set%d", key, invert);
  e.anonymous.push_back({std::move(field), std::move(values)});
  return e;
}
Expr connlimit(std::uint32_t over) {
  return make("connlimit", {{NFTNL_EXPR_CONNLIMIT_COUNT, over}, {NFTNL_EXPR_CONNLIMIT_FLAGS, u(NFT_CONNLIMIT_F_INV)}});
}
Expr limit(std::uint64_t rate, std::uint64_t per_seconds, std::uint32_t burst, bool over) {
  return make("limit", {{NFTNL_EXPR_LIMIT_RATE, rate},
                        {NFTNL_EXPR_LIMIT_UNIT, per_seconds},
                        {NFTNL_EXPR_LIMIT_BURST, burst},
                        {NFTNL_EXPR_LIMIT_TYPE, u(NFT_LIMIT_PKTS)},
                        {NFTNL_EXPR_LIMIT_FLAGS, u(over ? NFT_LIMIT_F_INV : 0)}});
}

Expr accept() { return verdict(1); }  // NF_ACCEPT
Expr drop() { return verdict(0); }    // NF_DROP
Expr return_() { return verdict(NFT_RETURN); }
Expr jump(const std::string& chain) { return verdict(NFT_JUMP, chain); }
Expr goto_(const std::string& chain) { return verdict(NFT_GOTO, chain); }
Expr counter() { return make("counter", {}); }
Expr notrack() { return make("notrack", {}); }
Expr dnat(Family family, Reg address) { return nat(NFT_NAT_DNAT, family, address, nullptr); }
Expr dnat(Family family, Reg address, Reg port) { return nat(NFT_NAT_DNAT, family, address, &port); }
Expr snat(Family family, Reg address) { return nat(NFT_NAT_SNAT, family, address, nullptr); }
Expr masquerade() { return make("masq", {{NFTNL_EXPR_MASQ_FLAGS, u(NF_NAT_RANGE_PROTO_RANDOM_FULLY)}}); }
Expr masquerade(Reg port_low, Reg port_high) {
  return make("masq", {{NFTNL_EXPR_MASQ_FLAGS, u(NF_NAT_RANGE_PROTO_RANDOM_FULLY | NF_NAT_RANGE_PROTO_SPECIFIED)},
                       {NFTNL_EXPR_MASQ_REG_PROTO_MIN, port_low.wire()},
                       {NFTNL_EXPR_MASQ_REG_PROTO_MAX, port_high.wire()}});
}
Expr reject_tcp_reset() {
  return make("reject", {{NFTNL_EXPR_REJECT_TYPE, u(NFT_REJECT_TCP_RST)}, {NFTNL_EXPR_REJECT_CODE, u(0)}});
}
Expr reject_port_unreachable(Family family) {
  std::uint32_t type = family == Family::inet ? u(NFT_REJECT_ICMPX_UNREACH) : u(NFT_REJECT_ICMP_UNREACH);
  std::uint32_t code = family == Family::inet ? u(NFT_REJECT_ICMPX_PORT_UNREACH) : family == Family::ip6 ? 4 : 3;
  return make("reject", {{NFTNL_EXPR_REJECT_TYPE, type}, {NFTNL_EXPR_REJECT_CODE, code}});
}
Expr dynset(Dyn op, const std::string& set, Reg key, std::chrono::milliseconds timeout, Exprs per_element) {
  Expr e = make(
      "dynset",
      {{NFTNL_EXPR_DYNSET_SREG_KEY, key.wire()}, {NFTNL_EXPR_DYNSET_OP, u(op)}, {NFTNL_EXPR_DYNSET_SET_NAME, set}});
  if (timeout.count() > 0)
    e.attributes.emplace_back(NFTNL_EXPR_DYNSET_TIMEOUT, static_cast<std::uint64_t>(timeout.count()));
  e.nested = std::move(per_element);
  return e;
}
Expr dynset_map(Dyn op, const std::string& name, Reg key, Reg data, std::chrono::milliseconds timeout) {
  Expr e = dynset(op, name, key, timeout);
  e.attributes.emplace_back(NFTNL_EXPR_DYNSET_SREG_DATA, data.wire());
  return e;
}

Exprs match_nfproto(Family family) {
  return {load_meta(Meta::nfproto, r(0)), compare(r(0), Cmp::eq, Value().proto(nfproto(family)))};
}
Exprs match_l4proto(std::uint8_t protocol) {
  return {load_meta(Meta::l4proto, r(0)), compare(r(0), Cmp::eq, Value().proto(protocol))};
}
namespace {
Exprs match_port(std::uint8_t protocol, std::uint32_t offset, std::uint16_t port) {
  return {load_meta(Meta::l4proto, r(0)), compare(r(0), Cmp::eq, Value().proto(protocol)),
          load_payload(Base::transport, offset, 2, r(0)), compare(r(0), Cmp::eq, Value().port(port))};
}
}  // namespace
Exprs match_dport(std::uint8_t protocol, std::uint16_t port) { return match_port(protocol, 2, port); }
Exprs match_sport(std::uint8_t protocol, std::uint16_t port) { return match_port(protocol, 0, port); }
Exprs match_iifname(const std::string& name, bool invert) { return match_ifname(Meta::iifname, name, invert); }
Exprs match_oifname(const std::string& name, bool invert) { return match_ifname(Meta::oifname, name, invert); }
Exprs match_ct_state(std::uint32_t any_of) { return match_ct_bits(Ct::state, any_of); }
Exprs match_ct_status(std::uint32_t any_of) { return match_ct_bits(Ct::status, any_of); }

Exprs match_addr(bool source, const Cidr& range, bool invert) {
  Family f = range.address().is_v4() ? Family::ip : Family::ip6;
  unsigned bits = range.length();
  if (bits == 0) return {};
  std::uint32_t offset = address_offset(f, source);
  Cmp op = invert ? Cmp::ne : Cmp::eq;
  auto address = range.address().bytes();
  // nft itself loads only the bytes of a prefix that ends on one, and masks otherwise.
  if (bits % 8 == 0)
    return {load_payload(Base::network, offset, bits / 8, r(0)), compare(r(0), op, Value::of(address.first(bits / 8)))};
  std::vector<std::byte> mask(address.size());
  for (unsigned i = 0; i < bits; ++i) mask[i / 8] |= std::byte(0x80 >> (i % 8));
  std::vector<std::byte> zero(address.size());
  return {load_payload(Base::network, offset, static_cast<std::uint32_t>(address.size()), r(0)),
          bitwise(r(0), r(0), Value::of(mask), Value::of(zero)), compare(r(0), op, Value::of(address))};
}
Exprs match_addr_set(Family family, bool source, const std::string& set, bool invert) {
  std::uint32_t size = family == Family::ip6 ? 16 : 4;
  return {load_payload(Base::network, address_offset(family, source), size, r(0)), lookup(set, r(0), invert)};
}

Rule& Rule::add(Expr e) & {
  expressions_.push_back(std::move(e));
  return *this;
}
Rule& Rule::add(Exprs list) & {
  for (auto& e : list) expressions_.push_back(std::move(e));
  return *this;
}
Rule& Rule::comment(std::string text) & {
  comment_ = clean_comment(text);
  return *this;
}

std::string Rule::code() const {
  std::vector<std::byte> message = encode_rule(Family::ip, "t", "c", *this, {});
  return rule_code(Bytes(message).subspan(NLMSG_HDRLEN));
}

}  // namespace trama::nft
