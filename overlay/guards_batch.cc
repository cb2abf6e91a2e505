// SPDX-License-Identifier: GPL-2.0-or-later
// Guards to transactions, dumps to guards.
#include <algorithm>

#include "overlay/guards_table.h"

namespace trama::overlay {
namespace {

using nft::Value;

std::string set_text(const std::string& name, std::uint32_t flags, std::uint32_t key_type, std::uint32_t key_length,
                     const std::string& userdata) {
  std::string hex;
  for (unsigned char c : userdata) hex += fmt::format("{:02x}", c);
  return fmt::format("set {} flags {} type {} length {} udata {}", name, flags, key_type, key_length, hex);
}

std::string range_text(const nft::Element& e) {
  auto hex = [](nft::Bytes bytes) {
    std::string out;
    for (auto b : bytes) out += fmt::format("{:02x}", static_cast<unsigned>(b));
    return out;
  };
  return hex(e.key.bytes()) + "-" + hex((e.key_end.empty() ? e.key : e.key_end).bytes());
}

std::string join(std::vector<std::string> lines) {
  std::string out;
  for (auto& line : lines) out += line + "\n";
  return out;
}

std::string rule_text(const std::string& chain, const std::string& code, const std::string& comment) {
  return fmt::format("rule {} # {}\n{}", chain, comment, code);
}

bool varies(const std::string& set) {
  return set == kPeersSet || set == kClearSet || set == kPods4Set || set == kPods6Set || set == kDirect4Set ||
         set == kDirect6Set;
}

std::optional<Ip> ip_at(nft::Bytes bytes, std::size_t offset, std::size_t size) {
  if (bytes.size() < offset + size) return std::nullopt;
  auto ip = Ip::from_bytes(bytes.subspan(offset, size));
  return ip ? std::optional<Ip>(*ip) : std::nullopt;
}

std::optional<Cidr> range_to_cidr(const Ip& first, const Ip& last) {
  for (unsigned length = 0; length <= first.bits(); ++length) {
    auto c = Cidr::of(first, length);
    if (c.address() == first && c.last() == last) return c;
  }
  return std::nullopt;
}

// The binding that an element stands for; nothing when nobody of us can have made it.
std::optional<Binding> binding_of(const nft::Element& e, Family pods) {
  std::size_t inner = pods == Family::v4 ? 4 : 16;
  auto start = e.key.bytes(), end = (e.key_end.empty() ? e.key : e.key_end).bytes();
  if (start.size() <= inner || start.size() != end.size()) return std::nullopt;
  std::size_t outer = start.size() - inner;
  if (outer != 4 && outer != 16) return std::nullopt;
  auto underlay = ip_at(start, 0, outer), underlay_end = ip_at(end, 0, outer);
  auto first = ip_at(start, outer, inner), last = ip_at(end, outer, inner);
  if (!underlay || underlay != underlay_end || !first || !last) return std::nullopt;
  auto range = range_to_cidr(*first, *last);
  if (!range) return std::nullopt;
  return Binding{*underlay, *range};
}

std::optional<PlainSource> plain_of(const nft::Element& e, Family pods) {
  constexpr std::size_t kMac = 6, kAt = 8;  // padded
  std::size_t size = pods == Family::v4 ? 4 : 16;
  auto start = e.key.bytes(), end = (e.key_end.empty() ? e.key : e.key_end).bytes();
  if (start.size() != kAt + size || end.size() != start.size()) return std::nullopt;
  if (!std::equal(start.begin(), start.begin() + kMac, end.begin())) return std::nullopt;
  auto first = ip_at(start, kAt, size), last = ip_at(end, kAt, size);
  auto range = first && last ? range_to_cidr(*first, *last) : std::nullopt;
  if (!range) return std::nullopt;
  PlainSource out;
  for (std::size_t i = 0; i < kMac; ++i) out.mac.octets[i] = static_cast<std::uint8_t>(start[i]);
  out.pods = *range;
  return out;
}

std::chrono::milliseconds expiry(bool expiring) { return std::chrono::seconds(expiring ? kRetireSeconds : 0); }

// In an order that neither the kernel's dump nor our construction decides.
std::string make_rules_text(const GuardFrame& frame) {
  auto t = guard_table(frame);
  std::vector<std::string> sets, chains, rules;
  for (const auto& s : t.sets) {
    std::vector<std::string> ranges;
    for (const auto& e : s.elements) ranges.push_back(range_text(e));
    std::sort(ranges.begin(), ranges.end());
    sets.push_back(set_text(s.set.name, s.set.flags(), s.set.key_type(), s.set.key_length(), s.set.userdata()) + "\n" +
                   join(ranges));
  }
  std::sort(t.chains.begin(), t.chains.end(), [](auto& a, auto& b) { return a.chain.name < b.chain.name; });
  for (const auto& c : t.chains) {
    chains.push_back(c.chain.to_string());
    for (const auto& rule : c.rules) rules.push_back(rule_text(c.chain.name, rule.code(), rule.comment()));
  }
  std::sort(sets.begin(), sets.end());
  return t.table.comment + "\n" + join(sets) + join(chains) + join(rules);
}

}  // namespace

nft::Element peer_element(const Ip& underlay, const std::string& node, bool expiring) {
  nft::Element e;
  e.key.ip(underlay);
  e.comment = element_comment(node);
  e.timeout = expiry(expiring);
  return e;
}

nft::Element binding_element(const Binding& binding, const std::string& node, bool expiring) {
  nft::Element e;
  e.key.ip(binding.underlay).ip(binding.pods.address());
  e.key_end.ip(binding.underlay).ip(binding.pods.last());
  e.comment = element_comment(node);
  e.timeout = expiry(expiring);
  return e;
}

nft::Element plain_element(const PlainSource& plain, const std::string& node) {
  nft::Element e;
  e.key.mac(plain.mac).ip(plain.pods.address());
  e.key_end.mac(plain.mac).ip(plain.pods.last());
  e.comment = element_comment(node);
  return e;
}

nft::Batch load_batch(const Guards& guards) {
  auto t = guard_table(guards.frame);
  nft::Batch batch;
  batch.put_table(t.table).delete_table(t.table).put_table(t.table);
  for (const auto& s : t.sets) {
    batch.put_set(t.table, s.set);
    for (const auto& e : s.elements) batch.put_element(t.table, s.set, e);
  }
  auto peers = peers_set(guards.frame.underlay);
  for (const auto& [ip, node] : guards.peers) batch.put_element(t.table, peers, peer_element(ip, node, false));
  auto clear = clear_set(guards.frame.underlay);
  for (const auto& [ip, node] : guards.clear) batch.put_element(t.table, clear, peer_element(ip, node, false));
  for (const auto& [plain, node] : guards.direct)
    batch.put_element(t.table, direct_set(plain.pods.family()), plain_element(plain, node));
  for (Family f : {Family::v4, Family::v6}) {
    auto pods = pods_set(guards.frame.underlay, f);
    for (const auto& [b, node] : guards.pods)
      if (b.pods.family() == f) batch.put_element(t.table, pods, binding_element(b, node, false));
  }
  for (const auto& c : t.chains) batch.put_chain(t.table, c.chain);
  for (const auto& c : t.chains)
    for (const auto& rule : c.rules) batch.add_rule(t.table, c.chain.name, rule);
  return batch;
}

nft::Batch change_batch(const GuardChange& change, Family underlay) {
  auto table = guard_table_name();
  auto peers = peers_set(underlay), clear = clear_set(underlay);
  std::map<Family, nft::Set> pods{{Family::v4, pods_set(underlay, Family::v4)},
                                  {Family::v6, pods_set(underlay, Family::v6)}};
  auto pods_of = [&](const Binding& b) -> const nft::Set& { return pods.at(b.pods.family()); };
  nft::Batch batch;
  for (const auto& ip : change.remove_clear) batch.delete_element(table, clear, peer_element(ip, "", false));
  for (const auto& p : change.remove_direct)
    batch.delete_element(table, direct_set(p.pods.family()), plain_element(p, ""));
  for (const auto& ip : change.remove_peers) batch.delete_element(table, peers, peer_element(ip, "", false));
  for (const auto& b : change.remove_pods) batch.delete_element(table, pods_of(b), binding_element(b, "", false));
  for (const auto& [ip, node] : change.retire_peers) {
    batch.delete_element(table, peers, peer_element(ip, "", false));
    batch.put_element(table, peers, peer_element(ip, node, true));
  }
  for (const auto& [b, node] : change.retire_pods) {
    batch.delete_element(table, pods_of(b), binding_element(b, "", false));
    batch.put_element(table, pods_of(b), binding_element(b, node, true));
  }
  for (const auto& [ip, node] : change.put_peers) batch.put_element(table, peers, peer_element(ip, node, false));
  for (const auto& [b, node] : change.put_pods) batch.put_element(table, pods_of(b), binding_element(b, node, false));
  for (const auto& [p, node] : change.put_direct)
    batch.put_element(table, direct_set(p.pods.family()), plain_element(p, node));
  for (const auto& [ip, node] : change.put_clear) batch.put_element(table, clear, peer_element(ip, node, false));
  return batch;
}

nft::Batch remove_batch() {
  nft::Batch batch;
  batch.delete_table(guard_table_name());
  return batch;
}

// Every plan asks for it, and the frame hardly ever changes.
const std::string& rules_text(const GuardFrame& frame) {
  thread_local std::pair<GuardFrame, std::string> last{frame, make_rules_text(frame)};
  if (last.first != frame) last = {frame, make_rules_text(frame)};
  return last.second;
}

SeenGuards read_guards(const GuardDump& dump) {
  SeenGuards out;
  std::vector<std::string> sets, chains, odd;
  for (const auto& s : dump.sets) {
    std::vector<std::string> ranges;
    for (const auto& e : s.elements) {
      SeenGuards::Element element{e.comment, e.timeout.count() > 0};
      if (!varies(s.set.name)) {
        ranges.push_back(range_text(e));
      } else if (s.set.name == kPeersSet || s.set.name == kClearSet) {
        auto bytes = e.key.bytes();
        if (auto ip = ip_at(bytes, 0, bytes.size()))
          (s.set.name == kPeersSet ? out.peers : out.clear).emplace(*ip, element);
        else
          odd.push_back("odd element " + range_text(e));
      } else if (s.set.name == kDirect4Set || s.set.name == kDirect6Set) {
        if (auto p = plain_of(e, s.set.name == kDirect4Set ? Family::v4 : Family::v6))
          out.direct.emplace(*p, element);
        else
          odd.push_back("odd element " + range_text(e));
      } else if (auto b = binding_of(e, s.set.name == kPods4Set ? Family::v4 : Family::v6)) {
        out.pods.emplace(*b, element);
      } else {
        odd.push_back("odd element " + range_text(e));
      }
    }
    std::sort(ranges.begin(), ranges.end());
    sets.push_back(set_text(s.set.name, s.set.flags, s.set.key_type, s.set.key_length, s.set.userdata) + "\n" +
                   join(ranges));
  }
  for (const auto& c : dump.chains) chains.push_back(c.chain.to_string());
  auto rules = dump.rules;  // in chain order; chains by name
  std::stable_sort(rules.begin(), rules.end(), [](auto& a, auto& b) { return a.chain < b.chain; });
  std::vector<std::string> lines;
  for (const auto& rule : rules) lines.push_back(rule_text(rule.chain, rule.code, rule.comment));
  std::sort(sets.begin(), sets.end());
  std::sort(chains.begin(), chains.end());
  out.rules = dump.table.comment + "\n" + join(sets) + join(chains) + join(lines) + join(odd);
  return out;
}

}  // namespace trama::overlay
