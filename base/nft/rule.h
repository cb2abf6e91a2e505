// SPDX-License-Identifier: GPL-2.0-or-later
// Rules as values: a list of expressions, each one instruction of the kernel's nftables machine, plus the line that
// `nft list` prints for them. The line is documentation, log and golden text; a kernel test holds it against nft.
//
//   Rule("udp dport 6784 notrack").add(match_dport(17, 6784)).add(notrack())
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "base/nft/set.h"

namespace trama::nft {

// One of 16 registers of 4 bytes. A wider value occupies the following ones too: an IPv6 address four, an interface
// name four, a MAC two. Fields of a concatenation stand in consecutive registers, each starting at its own.
struct Reg {
  unsigned index = 0;
  std::uint32_t wire() const;  // the kernel's number
};
constexpr Reg r(unsigned index) { return Reg{index}; }

struct Expr;
using Exprs = std::vector<Expr>;

// What libnftnl is told to encode: the expression's kind and its attributes (NFTNL_EXPR_*).
struct Expr {
  std::string kind;
  std::vector<std::pair<std::uint16_t, std::variant<std::uint32_t, std::uint64_t, std::string, Value>>> attributes;
  Exprs nested;       // dynset
  struct Anonymous {  // lookup in a constant set that lives and dies with the rule
    Field field;
    std::vector<Value> values;
  };
  std::vector<Anonymous> anonymous;  // none or one
};

enum class Cmp : std::uint32_t { eq = 0, ne = 1, lt = 2, le = 3, gt = 4, ge = 5 };
enum class Meta : std::uint32_t {
  priority = 2,
  mark = 3,
  iif = 4,
  oif = 5,
  iifname = 6,
  oifname = 7,
  iiftype = 8,
  nfproto = 15,
  l4proto = 16,
  pkttype = 19
};
enum class Ct : std::uint32_t { state = 0, direction = 1, status = 2, mark = 3 };
// Bits of `ct state` and `ct status`, for bitwise().
constexpr std::uint32_t kCtInvalid = 1, kCtEstablished = 2, kCtRelated = 4, kCtNew = 8, kCtUntracked = 64;
constexpr std::uint32_t kCtStatusSnat = 1u << 4, kCtStatusDnat = 1u << 5;

// ---- loading and storing --------------------------------------------------------------------------------------------
Expr load_payload(Base base, std::uint32_t byte_offset, std::uint32_t bytes, Reg to);
Expr load_meta(Meta key, Reg to);
Expr set_meta(Meta key, Reg from);
Expr load_ct(Ct key, Reg to);
Expr set_ct(Ct key, Reg from);
Expr load(Value value, Reg to);                          // a constant
Expr bitwise(Reg to, Reg from, Value mask, Value flip);  // to = (from & mask) ^ flip
// In place; what nft writes before a lookup of ranges.
Expr to_network_order(Reg reg, std::uint32_t bytes);
Expr numgen_random(std::uint32_t modulus, Reg to);
Expr numgen_inc(std::uint32_t modulus, Reg to);  // counts: every packet gets the next number
// Jenkins' hash of `bytes` bytes from register `from` on, modulo.
Expr jhash(Reg from, std::uint32_t bytes, std::uint32_t modulus, std::uint32_t seed, Reg to);
Expr fib_daddr_type(Reg to);  // RTN_*, e.g. kRtnLocal, in host byte order
Expr fib_saddr_type(Reg to);
constexpr std::uint32_t kRtnUnicast = 1, kRtnLocal = 2, kRtnBroadcast = 3, kRtnMulticast = 5;

// ---- matching
// ---------------------------------------------------------------------------------------------------------
Expr compare(Reg from, Cmp op, Value value);  // the value's last padding is not compared
Expr range(Reg from, Value low, Value high, bool invert = false);
Expr lookup(const std::string& set, Reg key, bool invert = false);
Expr map(const std::string& map, Reg key, Reg to);  // no element: the rule ends here
Expr vmap(const std::string& map, Reg key);         // no element: the next rule
Expr lookup_any(Field field, std::vector<Value> values, Reg key, bool invert = false);  // { a, b, c }
Expr connlimit(std::uint32_t over);  // "ct count over n"; in a dynset: per element
Expr limit(std::uint64_t rate, std::uint64_t per_seconds, std::uint32_t burst, bool over);

// ---- acting
// -----------------------------------------------------------------------------------------------------------
Expr accept();
Expr drop();
Expr return_();
Expr jump(const std::string& chain);
Expr goto_(const std::string& chain);
Expr counter();
Expr notrack();
Expr dnat(Family ip_or_ip6, Reg address);
Expr dnat(Family ip_or_ip6, Reg address, Reg port);
Expr snat(Family ip_or_ip6, Reg address);
Expr masquerade();                             // fully-random
Expr masquerade(Reg port_low, Reg port_high);  // "to :low-high", fully-random
Expr reject_tcp_reset();
Expr reject_port_unreachable(Family family);  // ip, ip6, or inet (either, by packet)
enum class Dyn : std::uint32_t { add = 0, update = 1, remove = 2 };
Expr dynset(Dyn op, const std::string& set, Reg key, std::chrono::milliseconds timeout = {}, Exprs per_element = {});
Expr dynset_map(Dyn op, const std::string& map, Reg key, Reg data, std::chrono::milliseconds timeout = {});

// ---- whole matches, using register 0 and its followers
// -------------------------------------------------------------------
Exprs match_nfproto(Family ip_or_ip6);  // inet tables: needed before matching addresses
Exprs match_l4proto(std::uint8_t protocol);
Exprs match_dport(std::uint8_t protocol, std::uint16_t port);  // "udp dport 6784"
Exprs match_sport(std::uint8_t protocol, std::uint16_t port);
// A name, or a prefix when it ends in '*'.
Exprs match_iifname(const std::string& name, bool invert = false);
Exprs match_oifname(const std::string& name, bool invert = false);
Exprs match_ct_state(std::uint32_t any_of);
Exprs match_ct_status(std::uint32_t any_of);
Exprs match_addr(bool source, const Cidr& range, bool invert = false);  // "ip saddr 10.0.0.0/8"
Exprs match_addr_set(Family ip_or_ip6, bool source, const std::string& set, bool invert = false);

class Rule {
 public:
  // text: exactly what `nft list chain` prints for the rule, without the comment.
  explicit Rule(std::string text) : text_(std::move(text)) {}
  Rule& add(Expr e) &;
  Rule& add(Exprs list) &;
  Rule& comment(std::string text) &;
  Rule&& add(Expr e) && { return std::move(add(std::move(e))); }
  Rule&& add(Exprs list) && { return std::move(add(std::move(list))); }
  Rule&& comment(std::string text) && { return std::move(comment(std::move(text))); }

  const std::string& text() const { return text_; }
  const std::string& comment() const { return comment_; }
  const Exprs& expressions() const { return expressions_; }
  // The instructions as text, equal for equal rules whoever made them: compare with RuleSeen::code.
  std::string code() const;

 private:
  std::string text_, comment_;
  Exprs expressions_;
};

}  // namespace trama::nft
