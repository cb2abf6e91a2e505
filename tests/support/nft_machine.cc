// SPDX-License-Identifier: GPL-2.0-or-later
#include "tests/support/nft_machine.h"

#include <array>
#include <stdexcept>

#include <fmt/format.h>
#include <libnftnl/expr.h>
#include <linux/netfilter/nf_tables.h>

namespace trama::test {
namespace {
using nft::Expr;
using nft::Value;

std::uint32_t number(const Expr& e, std::uint16_t type, std::uint32_t otherwise = 0) {
  for (const auto& [t, v] : e.attributes)
    if (t == type)
      if (auto* n = std::get_if<std::uint32_t>(&v)) return *n;
  return otherwise;
}
bool has(const Expr& e, std::uint16_t type) {
  for (const auto& [t, v] : e.attributes)
    if (t == type) return true;
  return false;
}
std::string text(const Expr& e, std::uint16_t type) {
  for (const auto& [t, v] : e.attributes)
    if (t == type)
      if (auto* s = std::get_if<std::string>(&v)) return *s;
  return {};
}
Value value(const Expr& e, std::uint16_t type) {
  for (const auto& [t, v] : e.attributes)
    if (t == type)
      if (auto* s = std::get_if<Value>(&v)) return *s;
  return {};
}
// Register number to byte offset in the register file.
std::size_t at(std::uint32_t reg) { return reg >= NFT_REG32_00 ? (reg - NFT_REG32_00) * 4 : (reg - NFT_REG_1) * 16; }
// Field by field, as the kernel compares ranges of concatenations.
bool in_range(const nft::Set& set, const Value& key, const Value& low, const Value& high) {
  std::size_t offset = 0;
  for (const auto& field : set.key) {
    auto part = [&](const Value& v) { return v.bytes().subspan(offset, field.length); };
    auto k = part(key), l = part(low), h = part(high);
    if (std::memcmp(k.data(), l.data(), k.size()) < 0 || std::memcmp(h.data(), k.data(), k.size()) < 0) return false;
    offset += field.padded();
  }
  return true;
}
}  // namespace

struct NftMachine::State {
  const Packet& packet;
  const std::function<std::uint32_t(std::uint32_t)>& random;
  base::Ip source, destination;
  std::map<Value, Value>& remembered;
  std::uint32_t mark = 0, priority = 0;
  bool dnat = false;
  Fate fate;
  std::array<std::byte, 64> registers{};

  void put(std::size_t offset, nft::Bytes bytes) {
    std::size_t padded = (bytes.size() + 3) & ~std::size_t{3};
    std::fill_n(registers.begin() + static_cast<std::ptrdiff_t>(offset), padded, std::byte{0});
    std::copy(bytes.begin(), bytes.end(), registers.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void put32(std::size_t offset, std::uint32_t v) { put(offset, std::as_bytes(std::span(&v, 1))); }
  std::uint32_t get32(std::size_t offset) const {
    std::uint32_t v;
    std::memcpy(&v, registers.data() + offset, 4);
    return v;
  }
  nft::Bytes get(std::size_t offset, std::size_t n) const { return nft::Bytes(registers).subspan(offset, n); }
};

std::string Fate::to_string() const {
  switch (kind) {
    case Kind::untouched: return "untouched";
    case Kind::refused: return "refused";
    case Kind::dropped: return "dropped";
    case Kind::translated: return "to " + to.to_string() + (masqueraded ? " masqueraded" : "");
  }
  return "?";
}

NftMachine::Verdict NftMachine::run_chain(const std::string& name, State& s) const {
  const nft::Blueprint::ChainRules* chain = nullptr;
  for (const auto& c : blueprint_.chains)
    if (c.chain.name == name) chain = &c;
  if (!chain) throw std::logic_error("no chain " + name);
  for (const auto& rule : chain->rules) {
    bool next_rule = false;
    for (const auto& e : rule.expressions()) {
      if (next_rule) break;
      auto verdict = [&](std::uint32_t code, const std::string& target) -> std::optional<Verdict> {
        switch (static_cast<int>(code)) {
          case 0: s.fate.kind = Fate::Kind::dropped; return Verdict::drop;
          case 1: return Verdict::accept;
          case NFT_RETURN: return Verdict::returned;
          case NFT_GOTO: {
            auto v = run_chain(target, s);
            return v == Verdict::next ? Verdict::returned : v;
          }
          case NFT_JUMP: {
            auto v = run_chain(target, s);
            if (v == Verdict::accept || v == Verdict::drop) return v;
            next_rule = true;
            return std::nullopt;
          }
          default: throw std::logic_error("verdict");
        }
      };
      if (e.kind == "payload") {
        auto base = number(e, NFTNL_EXPR_PAYLOAD_BASE), offset = number(e, NFTNL_EXPR_PAYLOAD_OFFSET),
             n = number(e, NFTNL_EXPR_PAYLOAD_LEN);
        std::vector<std::byte> header(64);
        if (base == 1) {
          std::size_t source = family_ == base::Family::v4 ? 12 : 8,
                      destination = family_ == base::Family::v4 ? 16 : 24;
          std::copy(s.source.bytes().begin(), s.source.bytes().end(),
                    header.begin() + static_cast<std::ptrdiff_t>(source));
          std::copy(s.destination.bytes().begin(), s.destination.bytes().end(),
                    header.begin() + static_cast<std::ptrdiff_t>(destination));
        } else {
          if (s.packet.echo) header[0] = family_ == base::Family::v4 ? std::byte{8} : std::byte{128};
          header[2] = std::byte(s.packet.port >> 8), header[3] = std::byte(s.packet.port & 0xff);
        }
        s.put(at(number(e, NFTNL_EXPR_PAYLOAD_DREG)), nft::Bytes(header).subspan(offset, n));
      } else if (e.kind == "meta") {
        auto meta = number(e, NFTNL_EXPR_META_KEY);
        if (meta == NFT_META_PRIORITY && has(e, NFTNL_EXPR_META_SREG)) {
          s.priority = s.get32(at(number(e, NFTNL_EXPR_META_SREG)));
        } else if (meta == NFT_META_PRIORITY) {
          s.put32(at(number(e, NFTNL_EXPR_META_DREG)), s.priority);
        } else if (meta == NFT_META_L4PROTO) {
          auto p = static_cast<std::byte>(s.packet.protocol);
          if (s.packet.echo) p = family_ == base::Family::v4 ? std::byte{1} : std::byte{58};
          s.put(at(number(e, NFTNL_EXPR_META_DREG)), nft::Bytes(&p, 1));
        } else {
          throw std::logic_error("meta");
        }
      } else if (e.kind == "ct") {
        auto key = number(e, NFTNL_EXPR_CT_KEY);
        if (has(e, NFTNL_EXPR_CT_SREG))
          s.mark = s.get32(at(number(e, NFTNL_EXPR_CT_SREG)));
        else
          s.put32(at(number(e, NFTNL_EXPR_CT_DREG)), key == NFT_CT_MARK ? s.mark : s.dnat ? nft::kCtStatusDnat : 0);
      } else if (e.kind == "bitwise") {
        std::uint32_t mask = 0, flip = 0;
        std::memcpy(&mask, value(e, NFTNL_EXPR_BITWISE_MASK).bytes().data(), 4);
        std::memcpy(&flip, value(e, NFTNL_EXPR_BITWISE_XOR).bytes().data(), 4);
        s.put32(at(number(e, NFTNL_EXPR_BITWISE_DREG)),
                (s.get32(at(number(e, NFTNL_EXPR_BITWISE_SREG))) & mask) ^ flip);
      } else if (e.kind == "cmp") {
        auto want = value(e, NFTNL_EXPR_CMP_DATA);
        auto have = s.get(at(number(e, NFTNL_EXPR_CMP_SREG)), want.tight().size());
        bool equal = std::equal(have.begin(), have.end(), want.tight().begin());
        next_rule = equal != (number(e, NFTNL_EXPR_CMP_OP) == NFT_CMP_EQ);
      } else if (e.kind == "fib") {
        bool local = (number(e, NFTNL_EXPR_FIB_FLAGS) & NFTA_FIB_F_SADDR) != 0 ? s.packet.from_node : s.packet.to_node;
        s.put32(at(number(e, NFTNL_EXPR_FIB_DREG)), local ? nft::kRtnLocal : nft::kRtnUnicast);
      } else if (e.kind == "byteorder") {
        if (number(e, NFTNL_EXPR_BYTEORDER_LEN) != 1) throw std::logic_error("byteorder");  // one byte has none
      } else if (e.kind == "hash") {
        // A hash among few draws, like any other number; one among all there are names what it is of.
        std::uint32_t modulus = number(e, NFTNL_EXPR_HASH_MODULUS), hash = 2166136261;
        auto of = s.get(at(number(e, NFTNL_EXPR_HASH_SREG)), number(e, NFTNL_EXPR_HASH_LEN));
        for (auto byte : of) hash = (hash ^ static_cast<std::uint8_t>(byte)) * 16777619;
        bool draws = modulus <= 0xffff;
        s.put32(at(number(e, NFTNL_EXPR_HASH_DREG)), draws ? s.random(modulus) : hash % modulus);
      } else if (e.kind == "dynset") {
        std::size_t n = family_ == base::Family::v4 ? 8 : 16;
        auto key = Value::of(s.get(at(number(e, NFTNL_EXPR_DYNSET_SREG_KEY)), n));
        if (number(e, NFTNL_EXPR_DYNSET_OP) == NFT_DYNSET_OP_DELETE)
          s.remembered.erase(key);
        else  // what is there keeps its data
          s.remembered.try_emplace(key, Value::of(s.get(at(number(e, NFTNL_EXPR_DYNSET_SREG_DATA)), 4)));
      } else if (e.kind == "numgen") {
        s.put32(at(number(e, NFTNL_EXPR_NG_DREG)), s.random(number(e, NFTNL_EXPR_NG_MODULUS)));
      } else if (e.kind == "lookup") {
        std::size_t key_at = at(number(e, NFTNL_EXPR_LOOKUP_SREG));
        bool invert = (number(e, NFTNL_EXPR_LOOKUP_FLAGS) & NFT_LOOKUP_F_INV) != 0;
        if (!e.anonymous.empty()) {
          bool found = false;
          for (const auto& v : e.anonymous[0].values) {
            auto have = s.get(key_at, v.tight().size());
            found |= std::equal(have.begin(), have.end(), v.tight().begin());
          }
          next_rule = found == invert;
          continue;
        }
        std::string name_of_set = text(e, NFTNL_EXPR_LOOKUP_SET);
        const nft::Set* set = nullptr;
        for (const auto& candidate : blueprint_.sets)
          if (candidate.name == name_of_set) set = &candidate;
        if (!set) throw std::logic_error("no set " + name_of_set);
        auto key = Value::of(s.get(key_at, set->key_length()));
        const nft::Element* found = nullptr;
        nft::Element from_memory;
        if (set->dynamic) {
          if (auto it = s.remembered.find(key); it != s.remembered.end()) {
            from_memory.data = it->second;
            found = &from_memory;
          }
        } else if (!set->interval) {
          auto& all = elements_[name_of_set];
          if (auto it = all.find(key); it != all.end()) found = &it->second;
        } else {
          for (const auto& [k, element] : elements_[name_of_set])
            if (in_range(*set, key, k, element.key_end.empty() ? k : element.key_end)) found = &element;
        }
        if ((found != nullptr) == invert) {
          next_rule = true;
        } else if (found && has(e, NFTNL_EXPR_LOOKUP_DREG)) {
          if (set->is_verdict_map()) {
            if (auto v = verdict(static_cast<std::uint32_t>(NFT_GOTO), found->chain)) return *v;
          } else {
            s.put(at(number(e, NFTNL_EXPR_LOOKUP_DREG)), found->data.bytes());
          }
        }
      } else if (e.kind == "immediate") {
        if (auto v = verdict(number(e, NFTNL_EXPR_IMM_VERDICT), text(e, NFTNL_EXPR_IMM_CHAIN))) return *v;
      } else if (e.kind == "nat") {
        std::size_t n = family_ == base::Family::v4 ? 4 : 16;
        auto ip = base::Ip::from_bytes(s.get(at(number(e, NFTNL_EXPR_NAT_REG_ADDR_MIN)), n));
        s.fate.kind = Fate::Kind::translated;
        s.fate.to = {*ip, 0};
        if (has(e, NFTNL_EXPR_NAT_REG_PROTO_MIN)) {
          auto port = s.get(at(number(e, NFTNL_EXPR_NAT_REG_PROTO_MIN)), 2);
          s.fate.to.port =
              static_cast<std::uint16_t>(static_cast<unsigned>(port[0]) << 8 | static_cast<unsigned>(port[1]));
        }
        s.destination = *ip;
        s.dnat = true;
        return Verdict::accept;
      } else if (e.kind == "masq") {
        s.fate.masqueraded = true;
        return Verdict::accept;
      } else if (e.kind == "reject") {
        s.fate.kind = Fate::Kind::refused;
        return Verdict::drop;
      } else {
        throw std::logic_error("the machine does not know " + e.kind);
      }
    }
  }
  return Verdict::next;
}

Fate NftMachine::trace(const Packet& packet, const std::function<std::uint32_t(std::uint32_t)>& random) const {
  std::map<Value, Value> nothing;
  State s{packet, random, packet.source, packet.destination, remembered ? *remembered : nothing, 0, 0, false, {}, {}};
  auto v = run_chain(packet.from_node ? "output" : "prerouting", s);
  if (v != Verdict::drop) (void)run_chain("postrouting", s);
  s.fate.mark = s.mark;
  return s.fate;
}

std::map<Fate, int> NftMachine::all_fates(const Packet& packet) const {
  std::uint32_t modulus = 1;
  std::map<Fate, int> out;
  for (std::uint32_t i = 0; i < modulus; ++i) {
    bool first = true;
    auto random = [&](std::uint32_t n) {
      if (!std::exchange(first, false)) return 0u;
      modulus = n;
      return i;
    };
    ++out[trace(packet, random)];
  }
  return out;
}

}  // namespace trama::test
