// SPDX-License-Identifier: GPL-2.0-or-later
#include "servicelb/draw.h"

#include <charconv>

#include <fmt/format.h>

#include "servicelb/mark.h"

namespace trama::servicelb {
namespace {
using namespace nft;  // NOLINT: expressions read like nft here
using nft::Value;

constexpr std::uint32_t kSeed = 0x7472616d;  // the same on every node, so that all of them hash alike
constexpr const char* kTransports = "meta l4proto { tcp, udp, sctp }";

// As the nft tool prints it: "3h", "1h30m", "45s".
std::string duration(std::chrono::seconds s) {
  std::string out;
  auto part = [&](std::int64_t unit, char name) {
    if (std::int64_t n = s.count() / unit; n > 0) {
      out += fmt::format("{}{}", n, name);
      s -= std::chrono::seconds(n * unit);
    }
  };
  part(86400, 'd'), part(3600, 'h'), part(60, 'm'), part(1, 's');
  return out;
}

Exprs only_transports() {
  return {load_meta(Meta::l4proto, r(0)),
          lookup_any(field::l4proto(), {Value().proto(6), Value().proto(17), Value().proto(132)}, r(0))};
}
Exprs load_id() { return {load_ct(Ct::mark, r(0)), bitwise(r(0), r(0), Value().mark(kIdMask), Value().mark(0))}; }
Expr load_saddr(const AddressLayout& a, Reg to) { return load_payload(Base::network, a.saddr, a.size, to); }

struct Index {
  std::string text;
  Exprs code;  // the number goes to register 1
};
Index index_of_draw(Family f, Draw::How how, std::uint32_t slots) {
  const auto& a = layout(f);
  Index i;
  switch (how) {
    case Draw::How::round_robin:
      i.text = fmt::format("numgen inc mod {}", slots);
      i.code = {numgen_inc(slots, r(1))};
      break;
    case Draw::How::source_hash:
      i.text = fmt::format("jhash {} saddr mod {} seed 0x{:x}", a.name, slots, kSeed);
      i.code = {load_saddr(a, r(6)), jhash(r(6), a.size, slots, kSeed, r(1))};
      break;
    case Draw::How::maglev:
      i.text = fmt::format("jhash {} saddr . th sport mod {} seed 0x{:x}", a.name, slots, kSeed);
      i.code = {load_saddr(a, r(6)), load_payload(Base::transport, 0, 2, r(6 + a.size / 4)),
                jhash(r(6), a.size + 4, slots, kSeed, r(1))};
      break;
    case Draw::How::random:
    case Draw::How::affinity:
      i.text = fmt::format("numgen random mod {}", slots);
      i.code = {numgen_random(slots, r(1))};
      break;
  }
  return i;
}

Rule plain(Family f, const Draw& d, Draw::How how, std::uint32_t slots) {
  const auto& a = layout(f);
  const char* set = d.counted ? "counted" : "slots";
  Index i = index_of_draw(f, how, slots);
  return Rule(fmt::format("{} dnat {} to ct mark & 0xfffff000 . {} map @{}", kTransports, a.name, i.text, set))
      .add(only_transports())
      .add(load_id())
      .add(std::move(i.code))
      .add(map(set, r(0), r(0)))
      .add(dnat(a.nft, r(0), r(a.size / 4)));
}

// ---- affinity
void add(Exprs& to, Exprs more) { to.insert(to.end(), more.begin(), more.end()); }

// Who the client is, in what a key of 16 bytes leaves beside the id: nft 1.0.6 puts the data of a longer one on top of
// its end when it loads the listing of a rule that writes into a map. Of an IPv6 address that is its second half and a
// hash of all of it; should two clients ever agree in both, they share an endpoint.
constexpr std::uint32_t kMostHashes = 0xffffffff;
std::string client(const AddressLayout& a) {
  if (a.size == 4) return "ip saddr";
  return fmt::format("@nh,128,64 . jhash ip6 saddr mod {} seed 0x{:x}", kMostHashes, kSeed);
}
// To register 1 and on; `spare` and what follows it are free. All registers as nft takes them.
Exprs load_client(const AddressLayout& a, Reg spare) {
  if (a.size == 4) return {load_saddr(a, r(1))};
  return {load_payload(Base::network, a.saddr + 8, 8, r(1)), load_saddr(a, spare),
          jhash(spare, a.size, kMostHashes, kSeed, r(3))};
}

// meta priority carries the endpoint's number from one lookup to the next. Of all marks a packet has it
// is the one nobody misses: forwarding sets it anew (IPv4), queueing is all it is for, and only first packets come
// here.
Exprs recall(const AddressLayout& a) {
  Exprs e = load_id();
  add(e, load_client(a, r(8)));
  e.push_back(map("affinity", r(0), r(0)));
  e.push_back(set_meta(Meta::priority, r(0)));
  return e;
}
Exprs pick(std::uint32_t slots) {
  Exprs e = load_id();
  e.push_back(load_meta(Meta::l4proto, r(1)));
  e.push_back(load_payload(Base::transport, 2, 2, r(2)));
  e.push_back(numgen_random(slots, r(3)));
  e.push_back(map("picks", r(0), r(0)));
  e.push_back(set_meta(Meta::priority, r(0)));
  return e;
}
Exprs remember(const AddressLayout& a, std::chrono::seconds timeout) {
  Exprs e = load_id();
  add(e, load_client(a, r(4)));
  e.push_back(load_meta(Meta::priority, r(4)));
  e.push_back(dynset_map(Dyn::update, "affinity", r(0), r(4), timeout));
  return e;
}
// An update of what is in the map changes its timeout, not its data: a client that moves is forgotten first.
Exprs forget(const AddressLayout& a) {
  Exprs e = load_id();
  add(e, load_client(a, r(4)));
  e.push_back(load_meta(Meta::priority, r(4)));
  e.push_back(dynset_map(Dyn::remove, "affinity", r(0), r(4)));
  return e;
}
Exprs to_number(const AddressLayout& a) {
  Exprs e = load_id();
  e.push_back(load_meta(Meta::l4proto, r(1)));
  e.push_back(load_payload(Base::transport, 2, 2, r(2)));
  e.push_back(load_meta(Meta::priority, r(3)));
  e.push_back(map("sticky", r(0), r(0)));
  e.push_back(dnat(a.nft, r(0), r(a.size / 4)));
  return e;
}
std::vector<Rule> sticky_rules(Family f, const Draw& d) {
  const auto& a = layout(f);
  std::string known = fmt::format("meta priority set ct mark & 0xfffff000 . {} map @affinity", client(a));
  auto picked = [](std::uint32_t n) {
    return fmt::format(
        "meta priority set ct mark & 0xfffff000 . meta l4proto . th dport . numgen random mod {} map @picks", n);
  };
  std::string drop_old = fmt::format("delete @affinity {{ ct mark & 0xfffff000 . {} : meta priority }}", client(a));
  std::string note = fmt::format("update @affinity {{ ct mark & 0xfffff000 . {} timeout {} : meta priority }}",
                                 client(a), duration(d.timeout));
  std::string send = fmt::format(
      "{} dnat {} to ct mark & 0xfffff000 . meta l4proto . th dport . meta priority map @sticky", kTransports, a.name);
  auto join = [](auto... parts) {
    return fmt::format("{}", fmt::join(std::initializer_list<std::string>{parts...}, " "));
  };
  std::vector<Rule> rules;
  rules.push_back(Rule(join(known, note, send))
                      .add(recall(a))
                      .add(remember(a, d.timeout))
                      .add(only_transports())
                      .add(to_number(a))
                      .comment("a client that is remembered, while its endpoint is there"));
  rules.push_back(Rule(join(picked(d.slots), drop_old, note, send))
                      .add(pick(d.slots))
                      .add(forget(a))
                      .add(remember(a, d.timeout))
                      .add(only_transports())
                      .add(to_number(a)));
  rules.push_back(Rule(join(picked(d.slots), send))
                      .add(pick(d.slots))
                      .add(only_transports())
                      .add(to_number(a))
                      .comment("no room to remember more clients"));
  if (d.slots > 1) rules.push_back(Rule(join(picked(1), send)).add(pick(1)).add(only_transports()).add(to_number(a)));
  return rules;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}
bool take_number(std::string_view& text, std::uint32_t& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc{} || end == text.data() || text.front() == '0') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}
}  // namespace

std::string Draw::chain() const {
  std::string prefix;
  switch (how) {
    case How::random: break;
    case How::round_robin: prefix = fmt::format("rr{}-", owner); break;
    case How::source_hash: prefix = "source-"; break;
    case How::maglev: prefix = "maglev-"; break;
    case How::affinity: prefix = fmt::format("affinity{}-", timeout.count()); break;
  }
  return fmt::format("{}n{}{}", prefix, slots, counted ? "-counted" : "");
}

std::optional<Draw> Draw::of_chain(std::string_view name) {
  Draw d;
  std::uint32_t number = 0;
  if (take(name, "rr")) {
    d.how = How::round_robin;
    if (!take_number(name, d.owner) || !take(name, "-")) return std::nullopt;
  } else if (take(name, "source-")) {
    d.how = How::source_hash;
  } else if (take(name, "maglev-")) {
    d.how = How::maglev;
  } else if (take(name, "affinity")) {
    d.how = How::affinity;
    if (!take_number(name, number) || !take(name, "-")) return std::nullopt;
    d.timeout = std::chrono::seconds(number);
  }
  if (!take(name, "n") || !take_number(name, d.slots)) return std::nullopt;
  d.counted = take(name, "-counted");
  if (!name.empty()) return std::nullopt;
  return d;
}

std::string Draw::comment() const {
  std::string n = slots == 1 ? "1 endpoint" : fmt::format("{} endpoints", slots);
  std::string out;
  switch (how) {
    case How::random: out = fmt::format("services with {}", n); break;
    case How::round_robin: out = fmt::format("service id {}: {} in turn", owner, n); break;
    case How::source_hash: out = fmt::format("services with {}, by client address", n); break;
    case How::maglev: out = fmt::format("Maglev tables of {} places", slots); break;
    case How::affinity: out = fmt::format("services with {}, remembering clients", n); break;
  }
  return out + (counted ? ", counted" : "");
}

Blueprint::ChainRules draw_chain(Family f, const Draw& d) {
  Blueprint::ChainRules c;
  c.chain.name = d.chain(), c.chain.comment = d.comment();
  if (d.how == Draw::How::affinity) {
    c.rules = sticky_rules(f, d);
  } else {
    c.rules.push_back(plain(f, d, d.how, d.slots));
    if (d.slots > 1) c.rules.push_back(plain(f, d, Draw::How::random, 1));
  }
  c.rules.push_back(Rule("drop").add(drop()));
  return c;
}

}  // namespace trama::servicelb
