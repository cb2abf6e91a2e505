// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/rule_wire.h"

#include <algorithm>
#include <map>
#include <stdexcept>

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/c_ptr.h"

namespace trama::nft {
namespace {
using RulePtr = base::CPtr<nftnl_rule, nftnl_rule_free>;
using ExprPtr = base::CPtr<nftnl_expr, nftnl_expr_free>;

ExprPtr build(const Expr& e, const std::vector<std::uint32_t>& set_ids, std::size_t& next_set) {
  ExprPtr out(nftnl_expr_alloc(e.kind.c_str()));
  if (!out) throw std::invalid_argument("libnftnl knows no expression " + e.kind);
  for (const auto& [type, value] : e.attributes) {
    if (auto* n = std::get_if<std::uint32_t>(&value)) nftnl_expr_set_u32(out.get(), type, *n);
    if (auto* n = std::get_if<std::uint64_t>(&value)) nftnl_expr_set_u64(out.get(), type, *n);
    if (auto* s = std::get_if<std::string>(&value)) nftnl_expr_set_str(out.get(), type, s->c_str());
    if (auto* v = std::get_if<Value>(&value))
      nftnl_expr_set(out.get(), type, v->tight().data(), static_cast<std::uint32_t>(v->tight().size()));
  }
  if (!e.anonymous.empty() && next_set < set_ids.size())
    nftnl_expr_set_u32(out.get(), NFTNL_EXPR_LOOKUP_SET_ID, set_ids[next_set++]);
  // One statement goes in the old attribute, which every kernel with dynset has.
  if (e.nested.size() == 1)
    nftnl_expr_set(out.get(), NFTNL_EXPR_DYNSET_EXPR, build(e.nested.front(), set_ids, next_set).release(), 0);
  if (e.nested.size() > 1) {
    nftnl_expr_set_u32(out.get(), NFTNL_EXPR_DYNSET_FLAGS, NFT_DYNSET_F_EXPR);
    for (const auto& inner : e.nested)
      nftnl_expr_add_expr(out.get(), NFTNL_EXPR_DYNSET_EXPRESSIONS, build(inner, set_ids, next_set).release());
  }
  return out;
}
}  // namespace

std::vector<std::byte> encode_rule(Family family, const std::string& table, const std::string& chain, const Rule& rule,
                                   const std::vector<std::uint32_t>& set_ids) {
  RulePtr out(nftnl_rule_alloc());
  if (!out) throw std::bad_alloc();
  nftnl_rule_set_u32(out.get(), NFTNL_RULE_FAMILY, static_cast<std::uint32_t>(family));
  nftnl_rule_set_str(out.get(), NFTNL_RULE_TABLE, table.c_str());
  nftnl_rule_set_str(out.get(), NFTNL_RULE_CHAIN, chain.c_str());
  std::size_t next_set = 0;
  for (const auto& e : rule.expressions()) nftnl_rule_add_expr(out.get(), build(e, set_ids, next_set).release());
  if (!rule.comment().empty()) {
    std::string data{'\0', static_cast<char>(rule.comment().size() + 1)};  // type 0: the comment, with its NUL
    data.append(rule.comment()).push_back('\0');
    nftnl_rule_set_data(out.get(), NFTNL_RULE_USERDATA, data.data(), static_cast<std::uint32_t>(data.size()));
  }
  // An expression is at most a few hundred bytes: registers are 64, names 128.
  std::vector<std::byte> buffer(4096 + 512 * rule.expressions().size());
  auto* header = nftnl_nlmsg_build_hdr(reinterpret_cast<char*>(buffer.data()), NFT_MSG_NEWRULE,
                                       static_cast<std::uint16_t>(family), NLM_F_CREATE | NLM_F_APPEND, 0);
  nftnl_rule_nlmsg_build_payload(header, out.get());
  buffer.resize(header->nlmsg_len);
  return buffer;
}

namespace {

constexpr std::uint16_t kDynsetExpressions = 10;  // NFTA_DYNSET_EXPRESSIONS

// Attributes that hold attributes in turn.
bool is_nest(std::string_view expression, std::uint16_t type) {
  if (expression == "cmp") return type == NFTA_CMP_DATA;
  if (expression == "immediate") return type == NFTA_IMMEDIATE_DATA;
  if (expression == "bitwise")
    return type == NFTA_BITWISE_MASK || type == NFTA_BITWISE_XOR || type == NFTA_BITWISE_DATA;
  if (expression == "range") return type == NFTA_RANGE_FROM_DATA || type == NFTA_RANGE_TO_DATA;
  if (expression == "data") return type == NFTA_DATA_VERDICT;
  return false;
}
// What differs between a rule as it was sent and as it is listed.
bool is_noise(std::string_view expression, std::uint16_t type, Bytes payload) {
  if (expression == "counter") return true;
  if (expression == "lookup" && type == NFTA_LOOKUP_SET_ID) return true;
  if (expression == "dynset" && type == NFTA_DYNSET_SET_ID) return true;
  if (expression == "lookup" && type == NFTA_LOOKUP_DREG) return false;  // register 0 is the verdict
  // The kernel lists what was not given with its neutral value.
  return std::all_of(payload.begin(), payload.end(), [](std::byte b) { return b == std::byte{0}; });
}
std::string hex(Bytes bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  for (std::byte b : bytes) {
    out += kDigits[static_cast<unsigned>(b) >> 4];
    out += kDigits[static_cast<unsigned>(b) & 15];
  }
  return out;
}
std::string expression_list(Bytes list, int depth);
std::string expression_text(Bytes expression, int depth);

std::string attributes_text(std::string_view expression, Bytes attributes, int depth) {
  std::map<std::uint16_t, std::string> parts;  // the order of attributes means nothing
  (void)netlink::for_each_attribute(attributes, [&](const netlink::Attribute& a) {
    if (is_noise(expression, a.type, a.payload)) return;
    std::string text;
    if (expression == "dynset" && (a.type == NFTA_DYNSET_EXPR || a.type == kDynsetExpressions)) {
      // One expression stands alone, several stand in a list.
      if (depth > 0)
        text =
            a.type == NFTA_DYNSET_EXPR ? expression_text(a.payload, depth - 1) : expression_list(a.payload, depth - 1);
    } else if (is_nest(expression, a.type)) {
      text = attributes_text("data", a.payload, depth);
    } else {
      text = hex(a.payload);
      // Anonymous sets get their numbers from the kernel.
      if (expression == "lookup" && a.type == NFTA_LOOKUP_SET && text.starts_with("5f5f736574")) text.resize(10);
    }
    parts[a.type] = std::move(text);
  });
  std::string out;
  for (const auto& [type, text] : parts) out += (out.empty() ? "" : " ") + std::to_string(type) + "=" + text;
  return "(" + out + ")";
}

std::string expression_text(Bytes expression, int depth) {
  auto parts = netlink::Attributes::parse(expression);
  if (!parts) return "?";
  std::string name = parts->text(NFTA_EXPR_NAME);
  return name + attributes_text(name, parts->bytes(NFTA_EXPR_DATA), depth);
}

std::string expression_list(Bytes list, int depth) {
  std::string out;
  auto walked = netlink::for_each_attribute(list, [&](const netlink::Attribute& a) {
    if (a.type == NFTA_LIST_ELEM) out += (out.empty() ? "" : " ") + expression_text(a.payload, depth);
  });
  return walked ? out : "?";
}
}  // namespace

std::string rule_code(Bytes payload) {
  auto attributes = netlink::Attributes::parse(netlink::behind_header<nfgenmsg>(payload));
  if (!attributes) return "?";
  constexpr int kNesting = 2;  // expressions inside a dynset hold no others
  return expression_list(attributes->bytes(NFTA_RULE_EXPRESSIONS), kNesting);
}

}  // namespace trama::nft
