// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/session.h"

#include <algorithm>
#include <unordered_set>

#include <arpa/inet.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <sys/socket.h>

namespace trama::nft {
namespace {
using netlink::Part;
using netlink::Reply;
using netlink::Request;

constexpr int kBigSend = 1 << 30;  // a batch must be one datagram: tens of megabytes for a full load
std::uint16_t nft_type(std::uint16_t message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}
Request request(std::uint16_t message, Family family, std::string what) {
  Request r(nft_type(message), 0, std::move(what));
  nfgenmsg g{};
  g.nfgen_family = static_cast<std::uint8_t>(family);
  g.version = NFNETLINK_V0;
  r.body(g);
  return r;
}
Result<std::uint32_t> generation_in(Bytes payload) {
  auto a = netlink::Attributes::parse(netlink::behind_header<nfgenmsg>(payload));
  if (!a) return std::move(a).error();
  if (auto id = a->get<std::uint32_t>(NFTA_GEN_ID)) return ntohl(*id);
  return Error::from_errno(EBADMSG, "read the ruleset generation");
}
}  // namespace

Result<Session> Session::open() {
  auto client = netlink::Client::open(NETLINK_NETFILTER);
  if (!client) return std::move(client).error().in("nftables");
  (void)setsockopt(client->fd(), SOL_SOCKET, SO_SNDBUFFORCE, &kBigSend, sizeof kBigSend);
  Session session(std::move(*client));
  auto now = session.generation();
  if (!now) return std::move(now).error().in("nftables");
  session.expected_ = *now;
  return session;
}

Result<std::uint32_t> Session::generation() {
  struct {
    nlmsghdr header;
    nfgenmsg family;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = nft_type(NFT_MSG_GETGEN);
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.header.nlmsg_seq = client_.next_seq();
  auto answer = client_.ask(std::as_bytes(std::span(&question, 1)));
  if (!answer) return std::move(answer).error().in("read the ruleset generation");
  return generation_in(*answer);
}

Result<std::uint64_t> Session::epoch() {
  auto now = generation();
  if (!now) return std::move(now).error();
  if (expected_ != *now) ++epoch_;
  expected_ = *now;
  return epoch_;
}

Result<> Session::commit(Batch& batch, std::optional<std::uint32_t> required) {
  if (batch.empty()) return {};
  // What others did before us must not hide behind our own step of the generation.
  if (auto e = epoch(); !e) return std::move(e).error().in("commit");
  std::uint32_t first = client_.next_seq();
  for (std::size_t i = 0; i < batch.messages(); ++i) (void)client_.next_seq();
  std::uint32_t end = client_.next_seq();
  std::uint32_t last = batch.last_seq(first);
  std::optional<Error> refused;
  std::size_t errors = 0;
  bool acknowledged = false;
  auto on_message = [&](const nlmsghdr& h, Bytes payload) {
    if (h.nlmsg_type != NLMSG_ERROR || h.nlmsg_seq < first || h.nlmsg_seq > end) return;
    auto e = netlink::fixed_header<nlmsgerr>(payload);
    int code = e ? e->error : -EBADMSG;
    if (code == 0) {
      acknowledged |= h.nlmsg_seq == last;
      return;
    }
    ++errors;
    if (refused) return;  // the first is the cause, the rest often follow from it
    std::string what = h.nlmsg_seq > first && h.nlmsg_seq <= last ? batch.describe(h.nlmsg_seq - first - 1) : "commit";
    if (auto sentence = netlink::extended_ack(h, payload); !sentence.empty()) what += fmt::format(" ({})", sentence);
    refused = Error::from_errno(code < 0 ? -code : EBADMSG, std::move(what));
  };
  Bytes datagram = batch.finish(first, required);
  auto handed_over = std::chrono::steady_clock::now();
  auto sent = client_.transact(datagram, last, on_message);
  spent_.time += std::chrono::steady_clock::now() - handed_over;
  ++spent_.transactions;
  if (refused) {
    (void)errors;
    return std::move(*refused);
  }
  if (!sent || !acknowledged) {
    // Sending failed as a whole: the kernel has not seen it. Otherwise nobody knows: every owner must look.
    Error why = sent ? Error::from_errno(ENOBUFS, "commit: no acknowledgement") : std::move(sent).error();
    if (why.code().value() == EMSGSIZE || why.code().value() == EPERM)
      return std::move(why).in(fmt::format("commit of {} messages", batch.messages()));
    ++epoch_;
    return std::move(why).in("commit, outcome unknown");
  }
  auto now = generation();
  if (!now) return std::move(now).error().in("commit");
  std::uint32_t next = expected_.value_or(0) + 1;
  if (next == 0) next = 1;  // the kernel skips 0
  if (*now != next && *now != expected_) ++epoch_;
  expected_ = *now;
  return {};
}

Result<Reply> Session::dump(std::uint16_t type, Family family, const std::string& what,
                            const std::function<void(Request&)>& fill) {
  for (int attempt = 0; attempt < 10; ++attempt) {
    // A commit shows its generation first and takes old elements out of the sets afterwards, which would make a dump
    // skip others. Whoever commits has a lock; an empty transaction waits for it and changes nothing.
    if (type == NFT_MSG_GETSETELEM) {
      Batch nothing;
      auto first = client_.next_seq();
      (void)client_.next_seq();
      if (auto sent = client_.send(nothing.finish(first)); !sent) return std::move(sent).error();
    }
    auto before = generation();
    if (!before) return std::move(before).error();
    auto ask = request(type, family, what);
    fill(ask);
    auto reply = client_.dump(ask);
    if (!reply) {
      if (reply.error().code().value() == EAGAIN) continue;
      return reply;
    }
    // Dumps of elements are not marked as interrupted by the kernel: every message carries its generation instead, that
    // of its beginning. What a commit takes away while a message is being filled is missing in it, so the one
    // afterwards must be the same, too.
    auto after = generation();
    if (!after) return std::move(after).error();
    bool torn = *after != *before;
    for (const auto& part : *reply) torn |= stamp(part.payload) != static_cast<std::uint16_t>(*before);
    if (!torn) return reply;
  }
  return Error::from_errno(EAGAIN, what + ": the ruleset changed during ten attempts");
}

namespace {
// Decodes every part that belongs to `table`; the kernel filters by table where it can, older ones do not.
template <class T, class Decode>
Result<std::vector<T>> collect(Result<Reply> reply, const Table& table, Decode decode) {
  if (!reply) {
    if (reply.error().code().value() == ENOENT) return std::vector<T>{};
    return std::move(reply).error();
  }
  std::vector<T> out;
  for (const auto& part : *reply) {
    auto one = decode(part.payload);
    if (!one) return std::move(one).error();
    if (one->table == table.name && one->family == table.family) out.push_back(std::move(*one));
  }
  return out;
}
}  // namespace

Result<std::vector<Table>> Session::tables(Family family) {
  auto reply = dump(NFT_MSG_GETTABLE, family, "list tables", [](Request&) {});
  if (!reply) return std::move(reply).error();
  std::vector<Table> out;
  for (const auto& part : *reply) {
    auto t = decode_table(part.payload);
    if (!t) return std::move(t).error();
    out.push_back(std::move(*t));
  }
  return out;
}
Result<std::vector<ChainSeen>> Session::chains(const Table& table) {
  return collect<ChainSeen>(
      dump(NFT_MSG_GETCHAIN, table.family, "list chains of " + table.to_string(), [](Request&) {}), table,
      decode_chain);
}
Result<std::vector<ChainSeen>> Session::base_chains() {
  auto known = tables(Family::any);
  if (!known) return std::move(known).error();
  auto reply = dump(NFT_MSG_GETCHAIN, Family::any, "list base chains", [](Request&) {});
  if (!reply) return std::move(reply).error();
  auto dormant = [&known](const ChainSeen& c) {
    return std::any_of(known->begin(), known->end(), [&c](const Table& t) {
      return t.family == c.family && t.name == c.table && (t.flags & NFT_TABLE_F_DORMANT) != 0;
    });
  };
  std::vector<ChainSeen> out;
  for (const auto& part : *reply) {
    auto chain = decode_chain(part.payload);
    if (!chain) return std::move(chain).error();
    if (chain->chain.base && !dormant(*chain)) out.push_back(std::move(*chain));
  }
  return out;
}
Result<std::vector<RuleSeen>> Session::rules(const Table& table) {
  auto only = [&](Request& r) { r.text(NFTA_RULE_TABLE, table.name); };
  return collect<RuleSeen>(dump(NFT_MSG_GETRULE, table.family, "list rules of " + table.to_string(), only), table,
                           decode_rule);
}
Result<std::vector<SetSeen>> Session::sets(const Table& table) {
  auto only = [&](Request& r) { r.text(NFTA_SET_TABLE, table.name); };
  auto all = collect<SetSeen>(dump(NFT_MSG_GETSET, table.family, "list sets of " + table.to_string(), only), table,
                              decode_set);
  if (all) std::erase_if(*all, [](const SetSeen& s) { return s.anonymous(); });
  return all;
}
Result<std::vector<Element>> Session::elements(const Table& table, const Set& set) {
  auto only = [&](Request& r) { r.text(NFTA_SET_ELEM_LIST_TABLE, table.name).text(NFTA_SET_ELEM_LIST_SET, set.name); };
  std::string what = fmt::format("list elements of {} {}", table.to_string(), set.name);
  for (int attempt = 0; attempt < 10; ++attempt) {
    auto reply = dump(NFT_MSG_GETSETELEM, table.family, what, only);
    if (!reply) return std::move(reply).error();
    std::vector<ElementSeen> seen;
    for (const auto& part : *reply)
      if (auto ok = decode_elements(part.payload, seen); !ok) return std::move(ok).error();
    if (set.interval && set.key.size() == 1) return join_ranges(std::move(seen), set.key_length());
    // The kernel continues a dump by counting from the start. When a hash set is rehashed meanwhile, which happens some
    // time after many changes and without a new generation, elements are shown twice and as many others not at all.
    std::unordered_set<Value, ValueHash> known;
    known.reserve(seen.size());
    std::vector<Element> out;
    out.reserve(seen.size());
    for (auto& s : seen)
      if (known.insert(s.element.key).second) out.push_back(std::move(s.element));
    if (out.size() == seen.size()) return out;
    std::this_thread::sleep_for(std::chrono::milliseconds(1 << attempt));
  }
  return Error::from_errno(EAGAIN, what + ": the set was rehashed during ten attempts");
}

}  // namespace trama::nft
