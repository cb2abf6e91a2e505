// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/rule_wire.h"

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

std::string rule_code(Bytes message) {
  if (message.size() < sizeof(nlmsghdr) + sizeof(nfgenmsg)) return "?";
  RulePtr rule(nftnl_rule_alloc());
  if (!rule) throw std::bad_alloc();
  if (nftnl_rule_nlmsg_parse(reinterpret_cast<const nlmsghdr*>(message.data()), rule.get()) < 0) return "?";
  std::string out;
  auto one = [](nftnl_expr* e, void* data) {
    char text[2048];
    auto& all = *static_cast<std::string*>(data);
    const char* kind = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
    std::string line = kind ? kind : "?";
    if (line != "counter") {  // its numbers are no part of the rule
      text[0] = '\0';
      (void)nftnl_expr_snprintf(text, sizeof text, e, NFTNL_OUTPUT_DEFAULT, 0);
      line += " ";
      line += text;
    }
    // Anonymous sets get their number from the kernel.
    if (auto at = line.find("__set"); at != std::string::npos) {
      auto end = line.find(' ', at);
      line.replace(at, end == std::string::npos ? end : end - at, "__set");
    }
    // Attributes the kernel adds with their neutral values.
    auto strip = [&line](std::string_view neutral) {
      if (auto at = line.find(neutral); at != std::string::npos) line.erase(at, neutral.size());
    };
    if (line.starts_with("dynset")) strip(" timeout 0ms");
    while (!line.empty() && line.back() == ' ') line.pop_back();
    if (line.starts_with("lookup") && line.ends_with(" 0x0")) line.resize(line.size() - 4);
    all += "[ " + line + " ]";
    return 0;
  };
  nftnl_expr_foreach(rule.get(), one, &out);
  return out;
}

}  // namespace trama::nft
