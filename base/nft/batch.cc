// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/batch.h"

#include <stdexcept>

#include <arpa/inet.h>
#include <endian.h>
#include <fmt/format.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "base/nft/decode.h"
#include "base/nft/rule_wire.h"

namespace trama::nft {
namespace {

constexpr std::size_t kHead = sizeof(nlmsghdr) + sizeof(nfgenmsg);
constexpr std::size_t kFront = kHead + 8;     // room for BATCH_BEGIN and its generation
constexpr std::size_t kElementsCut = 60'000;  // an attribute holds at most 65,535 bytes
constexpr std::uint16_t kNested = NLA_F_NESTED;

void write_head(std::byte* at, std::uint32_t length, std::uint16_t type, std::uint16_t flags, std::uint8_t family,
                std::uint16_t res_id) {
  nlmsghdr h{};
  h.nlmsg_len = length, h.nlmsg_type = type, h.nlmsg_flags = flags;
  nfgenmsg g{};
  g.nfgen_family = family, g.version = NFNETLINK_V0, g.res_id = htons(res_id);
  std::memcpy(at, &h, sizeof h);
  std::memcpy(at + sizeof h, &g, sizeof g);
}
std::uint16_t nft_type(std::uint16_t message) {
  return static_cast<std::uint16_t>(NFNL_SUBSYS_NFTABLES << 8 | message);
}
std::string comment_record(const std::string& comment) {
  std::string clean = clean_comment(comment);
  std::string out{'\0', static_cast<char>(clean.size() + 1)};
  out.append(clean).push_back('\0');
  return out;
}
Bytes bytes_of(const std::string& s) { return std::as_bytes(std::span(s)); }
// The first value behind a range; nothing when the range ends where the addresses end.
std::optional<Value> after(const Value& last, std::size_t length) {
  std::vector<std::byte> b(last.bytes().begin(), last.bytes().begin() + static_cast<std::ptrdiff_t>(length));
  for (std::size_t i = b.size(); i-- > 0;) {
    b[i] = static_cast<std::byte>(static_cast<unsigned>(b[i]) + 1);
    if (b[i] != std::byte{0}) return Value::of(b);
  }
  return std::nullopt;
}
}  // namespace

Batch::Batch() : bytes_(kFront) {}

std::size_t Batch::begin(std::uint16_t type, std::uint16_t flags, Family family) {
  if (finished_) throw std::logic_error("nft batch changed after finish()");
  open_type_ = 0;
  std::size_t at = bytes_.size();
  bytes_.resize(at + kHead);
  write_head(bytes_.data() + at, 0, nft_type(type), static_cast<std::uint16_t>(NLM_F_REQUEST | flags),
             static_cast<std::uint8_t>(family), 0);
  Message m;
  m.offset = at;
  messages_.push_back(std::move(m));
  if (type != NFT_MSG_NEWSETELEM && type != NFT_MSG_DELSETELEM) ++others_;
  return at;
}
void Batch::end(std::size_t at) {
  auto length = static_cast<std::uint32_t>(bytes_.size() - at);
  std::memcpy(bytes_.data() + at, &length, sizeof length);
}
void Batch::put_attr(std::uint16_t type, Bytes value) {
  nlattr a{static_cast<std::uint16_t>(NLA_HDRLEN + value.size()), type};
  std::size_t at = bytes_.size();
  bytes_.resize(at + NLA_HDRLEN + NLA_ALIGN(value.size()));
  std::memcpy(bytes_.data() + at, &a, sizeof a);
  if (!value.empty()) std::memcpy(bytes_.data() + at + NLA_HDRLEN, value.data(), value.size());
}
void Batch::put_text(std::uint16_t type, const std::string& value) {
  put_attr(type, std::as_bytes(std::span(value.c_str(), value.size() + 1)));
}
void Batch::put_u32(std::uint16_t type, std::uint32_t value) {
  std::uint32_t big = htonl(value);
  put_attr(type, std::as_bytes(std::span(&big, 1)));
}
std::size_t Batch::nest(std::uint16_t type) {
  std::size_t at = bytes_.size();
  put_attr(static_cast<std::uint16_t>(type | kNested), {});
  return at;
}
void Batch::unnest(std::size_t at) {
  auto length = static_cast<std::uint16_t>(bytes_.size() - at);
  std::memcpy(bytes_.data() + at, &length, sizeof length);
}

Batch& Batch::put_table(const Table& t) {
  auto at = begin(NFT_MSG_NEWTABLE, NLM_F_CREATE, t.family);
  put_text(NFTA_TABLE_NAME, t.name);
  put_u32(NFTA_TABLE_FLAGS, t.flags);
  if (!t.comment.empty()) put_attr(NFTA_TABLE_USERDATA, bytes_of(comment_record(t.comment)));
  end(at);
  messages_.back().text = "add table " + t.to_string();
  return *this;
}
Batch& Batch::delete_table(const Table& t) {
  auto at = begin(NFT_MSG_DELTABLE, 0, t.family);
  put_text(NFTA_TABLE_NAME, t.name);
  end(at);
  messages_.back().text = "delete table " + t.to_string();
  return *this;
}
Batch& Batch::put_chain(const Table& t, const Chain& c) {
  auto at = begin(NFT_MSG_NEWCHAIN, NLM_F_CREATE, t.family);
  put_text(NFTA_CHAIN_TABLE, t.name);
  put_text(NFTA_CHAIN_NAME, c.name);
  if (c.base) {
    auto hook = nest(NFTA_CHAIN_HOOK);
    put_u32(NFTA_HOOK_HOOKNUM, static_cast<std::uint32_t>(c.base->hook));
    put_u32(NFTA_HOOK_PRIORITY, static_cast<std::uint32_t>(c.base->priority));
    unnest(hook);
    put_u32(NFTA_CHAIN_POLICY, c.base->drop ? NF_DROP : NF_ACCEPT);
    put_text(NFTA_CHAIN_TYPE, c.base->type == ChainType::nat     ? "nat"
                              : c.base->type == ChainType::route ? "route"
                                                                 : "filter");
  }
  if (!c.comment.empty()) put_attr(NFTA_CHAIN_USERDATA, bytes_of(comment_record(c.comment)));
  end(at);
  std::string text = c.to_string();  // "chain name { … }"
  messages_.back().text = fmt::format("add chain {} {}", t.to_string(), text.substr(6));
  return *this;
}
Batch& Batch::delete_chain(const Table& t, const std::string& chain) {
  auto at = begin(NFT_MSG_DELCHAIN, 0, t.family);
  put_text(NFTA_CHAIN_TABLE, t.name);
  put_text(NFTA_CHAIN_NAME, chain);
  end(at);
  messages_.back().text = fmt::format("delete chain {} {}", t.to_string(), chain);
  return *this;
}
Batch& Batch::flush_chain(const Table& t, const std::string& chain) {
  auto at = begin(NFT_MSG_DELRULE, 0, t.family);
  put_text(NFTA_RULE_TABLE, t.name);
  put_text(NFTA_RULE_CHAIN, chain);
  end(at);
  messages_.back().text = fmt::format("flush chain {} {}", t.to_string(), chain);
  return *this;
}
Batch& Batch::add_rule(const Table& t, const std::string& chain, const Rule& rule) {
  std::vector<std::uint32_t> ids;
  for (const auto& e : rule.expressions()) {
    for (const auto& set : e.anonymous) {
      ids.push_back(next_set_id_++);
      auto at = begin(NFT_MSG_NEWSET, NLM_F_CREATE, t.family);
      put_text(NFTA_SET_TABLE, t.name);
      put_text(NFTA_SET_NAME, "__set%d");
      put_u32(NFTA_SET_FLAGS, NFT_SET_ANONYMOUS | NFT_SET_CONSTANT);
      put_u32(NFTA_SET_KEY_TYPE, set.field.type);
      put_u32(NFTA_SET_KEY_LEN, set.field.length);
      put_u32(NFTA_SET_ID, ids.back());
      auto desc = nest(NFTA_SET_DESC);
      put_u32(NFTA_SET_DESC_SIZE, static_cast<std::uint32_t>(set.values.size()));
      unnest(desc);
      std::string order{'\0', '\4', set.field.host_order ? '\1' : '\2', '\0', '\0', '\0'};
      put_attr(NFTA_SET_USERDATA, bytes_of(order));
      end(at);
      messages_.back().text = fmt::format("add set {} (anonymous, of the next rule)", t.to_string());
      messages_.back().part_of_rule = true;
      at = begin(NFT_MSG_NEWSETELEM, NLM_F_CREATE, t.family);
      put_text(NFTA_SET_ELEM_LIST_TABLE, t.name);
      put_text(NFTA_SET_ELEM_LIST_SET, "__set%d");
      put_u32(NFTA_SET_ELEM_LIST_SET_ID, ids.back());
      auto list = nest(NFTA_SET_ELEM_LIST_ELEMENTS);
      for (const auto& value : set.values) {
        auto item = nest(NFTA_LIST_ELEM);
        auto key = nest(NFTA_SET_ELEM_KEY);
        put_attr(NFTA_DATA_VALUE, value.bytes().first(set.field.length));
        unnest(key);
        unnest(item);
      }
      unnest(list);
      end(at);
      messages_.back().text = fmt::format("add element {} (anonymous, of the next rule)", t.to_string());
      messages_.back().part_of_rule = true;
    }
  }
  auto message = encode_rule(t.family, t.name, chain, rule, ids);
  open_type_ = 0;
  Message m;
  m.offset = bytes_.size();
  m.text = fmt::format("add rule {} {} {}", t.to_string(), chain, rule.text());
  if (!rule.comment().empty()) m.text += fmt::format(" comment \"{}\"", rule.comment());
  messages_.push_back(std::move(m));
  ++others_;
  bytes_.insert(bytes_.end(), message.begin(), message.end());
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  return *this;
}
Batch& Batch::delete_rule(const Table& t, const std::string& chain, std::uint64_t handle) {
  auto at = begin(NFT_MSG_DELRULE, 0, t.family);
  put_text(NFTA_RULE_TABLE, t.name);
  put_text(NFTA_RULE_CHAIN, chain);
  std::uint64_t big = htobe64(handle);
  put_attr(NFTA_RULE_HANDLE, std::as_bytes(std::span(&big, 1)));
  end(at);
  messages_.back().text = fmt::format("delete rule {} {} handle {}", t.to_string(), chain, handle);
  return *this;
}
Batch& Batch::put_set(const Table& t, const Set& s) {
  auto at = begin(NFT_MSG_NEWSET, NLM_F_CREATE, t.family);
  put_text(NFTA_SET_TABLE, t.name);
  put_text(NFTA_SET_NAME, s.name);
  put_u32(NFTA_SET_FLAGS, s.flags());
  put_u32(NFTA_SET_KEY_TYPE, s.key_type());
  put_u32(NFTA_SET_KEY_LEN, s.key_length());
  if (s.is_map()) {
    put_u32(NFTA_SET_DATA_TYPE, s.data_type());
    if (!s.is_verdict_map()) put_u32(NFTA_SET_DATA_LEN, s.data_length());
  }
  put_u32(NFTA_SET_ID, next_set_id_++);
  if (s.timeout.count() > 0) {
    std::uint64_t big = htobe64(static_cast<std::uint64_t>(s.timeout.count()));
    put_attr(NFTA_SET_TIMEOUT, std::as_bytes(std::span(&big, 1)));
  }
  auto desc = nest(NFTA_SET_DESC);
  if (s.size > 0) put_u32(NFTA_SET_DESC_SIZE, s.size);
  if (s.interval && s.key.size() > 1) {
    auto concat = nest(NFTA_SET_DESC_CONCAT);
    for (const auto& field : s.key) {
      auto item = nest(NFTA_LIST_ELEM);
      put_u32(NFTA_SET_FIELD_LEN, field.length);
      unnest(item);
    }
    unnest(concat);
  }
  unnest(desc);
  put_attr(NFTA_SET_USERDATA, bytes_of(s.userdata()));
  if (s.counts) {
    auto expression = nest(NFTA_SET_EXPR);
    put_text(NFTA_EXPR_NAME, "counter");
    unnest(nest(NFTA_EXPR_DATA));
    unnest(expression);
  }
  end(at);
  std::string text = s.to_string();  // "set name {…}" or "map name {…}"
  messages_.back().text = fmt::format("add {} {} {}", text.substr(0, 3), t.to_string(), text.substr(4));
  return *this;
}
Batch& Batch::delete_set(const Table& t, const std::string& set) {
  auto at = begin(NFT_MSG_DELSET, 0, t.family);
  put_text(NFTA_SET_TABLE, t.name);
  put_text(NFTA_SET_NAME, set);
  end(at);
  messages_.back().text = fmt::format("delete set {} {}", t.to_string(), set);
  return *this;
}
Batch& Batch::flush_set(const Table& t, const std::string& set) {
  auto at = begin(NFT_MSG_DELSETELEM, 0, t.family);
  put_text(NFTA_SET_ELEM_LIST_TABLE, t.name);
  put_text(NFTA_SET_ELEM_LIST_SET, set);
  end(at);
  messages_.back().text = fmt::format("flush set {} {}", t.to_string(), set);
  return *this;
}

void Batch::open_elements(std::uint16_t type, const Table& t, const Set& s) {
  bool fits = open_type_ == type && bytes_.size() - open_list_ < kElementsCut;
  if (fits) {
    const auto& last = messages_[open_message_];
    if (last.set->name == s.name && last.table->name == t.name && last.table->family == t.family) return;
  }
  std::size_t at = begin(type, type == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0, t.family);
  put_text(NFTA_SET_ELEM_LIST_TABLE, t.name);
  put_text(NFTA_SET_ELEM_LIST_SET, s.name);
  open_list_ = nest(NFTA_SET_ELEM_LIST_ELEMENTS);
  open_message_ = messages_.size() - 1;
  open_type_ = type;
  if (sets_.empty() || sets_.back().second.name != s.name || sets_.back().first != t) sets_.emplace_back(t, s);
  messages_.back().table = &sets_.back().first;
  messages_.back().set = &sets_.back().second;
  (void)at;
}
void Batch::close_elements() {
  unnest(open_list_);
  end(messages_[open_message_].offset);
}
void Batch::one_element(const Set& s, const Element& e, bool with_data, bool interval_end) {
  auto item = nest(NFTA_LIST_ELEM);
  if (interval_end) put_u32(NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
  auto key = nest(NFTA_SET_ELEM_KEY);
  put_attr(NFTA_DATA_VALUE, e.key.bytes().first(s.key_length()));
  unnest(key);
  if (!interval_end && s.interval && s.key.size() > 1) {
    auto last = nest(NFTA_SET_ELEM_KEY_END);
    put_attr(NFTA_DATA_VALUE, (e.key_end.empty() ? e.key : e.key_end).bytes().first(s.key_length()));
    unnest(last);
  }
  if (with_data && !interval_end) {
    if (s.is_verdict_map()) {
      auto data = nest(NFTA_SET_ELEM_DATA);
      auto verdict = nest(NFTA_DATA_VERDICT);
      put_u32(NFTA_VERDICT_CODE, static_cast<std::uint32_t>(NFT_GOTO));
      put_text(NFTA_VERDICT_CHAIN, e.chain);
      unnest(verdict);
      unnest(data);
    } else if (s.is_map()) {
      auto data = nest(NFTA_SET_ELEM_DATA);
      put_attr(NFTA_DATA_VALUE, e.data.bytes().first(s.data_length()));
      unnest(data);
    }
    if (e.timeout.count() > 0) {
      std::uint64_t big = htobe64(static_cast<std::uint64_t>(e.timeout.count()));
      put_attr(NFTA_SET_ELEM_TIMEOUT, std::as_bytes(std::span(&big, 1)));
    }
    if (!e.comment.empty()) put_attr(NFTA_SET_ELEM_USERDATA, bytes_of(comment_record(e.comment)));
  }
  unnest(item);
}
void Batch::element(std::uint16_t type, const Table& t, const Set& s, const Element& e) {
  if (e.key.size() < s.key_length() || (!e.key_end.empty() && e.key_end.size() < s.key_length()) ||
      (type == NFT_MSG_NEWSETELEM && s.is_map() && !s.is_verdict_map() && e.data.size() < s.data_length()))
    throw std::invalid_argument("element does not fit set " + s.name);
  open_elements(type, t, s);
  bool add = type == NFT_MSG_NEWSETELEM;
  one_element(s, e, add, false);
  if (s.interval && s.key.size() == 1) {
    // A range of a plain interval set is two elements: its start, and the first value behind it marked as the end.
    auto behind = after(e.key_end.empty() ? e.key : e.key_end, s.key_length());
    if (behind) {
      Element last;
      last.key = *behind;
      one_element(s, last, false, true);
    }
  }
  ++elements_;
  close_elements();
}
Batch& Batch::put_element(const Table& t, const Set& s, const Element& e) {
  element(NFT_MSG_NEWSETELEM, t, s, e);
  return *this;
}
Batch& Batch::delete_element(const Table& t, const Set& s, const Element& e) {
  element(NFT_MSG_DELSETELEM, t, s, e);
  return *this;
}

std::string Batch::describe(std::size_t i) const {
  const auto& m = messages_.at(i);
  if (!m.set) return m.text;
  nlmsghdr h;
  std::memcpy(&h, bytes_.data() + m.offset, sizeof h);
  std::vector<ElementSeen> seen;
  auto payload = Bytes(bytes_).subspan(m.offset + NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN);
  (void)decode_elements(payload, seen);
  bool add = (h.nlmsg_type & 0xff) == NFT_MSG_NEWSETELEM;
  std::string first = seen.empty() ? "" : to_text(*m.set, seen.front().element);
  std::string more = seen.size() > 1 ? fmt::format(", … ({} elements)", seen.size()) : "";
  return fmt::format("{} element {} {} {{ {}{} }}", add ? "add" : "delete", m.table->to_string(), m.set->name, first,
                     more);
}

std::vector<std::string> Batch::text(std::size_t limit) const {
  std::vector<std::string> out;
  std::size_t left_out = 0;
  auto line = [&](std::string text) {
    if (out.size() < limit)
      out.push_back(std::move(text));
    else
      ++left_out;
  };
  for (const auto& m : messages_) {
    if (!m.set) {
      if (!m.part_of_rule) line(m.text);
      continue;
    }
    if (out.size() >= limit) {
      ++left_out;
      continue;
    }
    nlmsghdr h;
    std::memcpy(&h, bytes_.data() + m.offset, sizeof h);
    std::vector<ElementSeen> seen;
    auto payload = Bytes(bytes_).subspan(m.offset + NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN);
    (void)decode_elements(payload, seen);
    const char* verb = (h.nlmsg_type & 0xff) == NFT_MSG_NEWSETELEM ? "add" : "delete";
    auto say = [&](const Element& e) {
      line(fmt::format("{} element {} {} {{ {} }}", verb, m.table->to_string(), m.set->name, to_text(*m.set, e)));
    };
    if (m.set->interval && m.set->key.size() == 1)
      for (const auto& e : join_ranges(std::move(seen), m.set->key_length())) say(e);
    else
      for (const auto& s : seen) say(s.element);
  }
  if (left_out > 0) out.push_back(fmt::format("… and {} more messages ({} elements in all)", left_out, elements_));
  return out;
}

Bytes Batch::finish(std::uint32_t first_seq, std::optional<std::uint32_t> generation) {
  std::size_t stop = messages_.empty() ? kFront : bytes_.size();
  if (!finished_) {
    finished_ = true;
    bytes_.resize(stop + kHead);
  } else {
    stop -= kHead;  // a batch may be sent again
  }
  std::size_t start = generation ? 0 : kFront - kHead;
  auto head = static_cast<std::uint32_t>(kFront - start);
  write_head(bytes_.data() + start, head, NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  if (generation) {
    nlattr a{8, NFNL_BATCH_GENID};
    std::uint32_t big = htonl(*generation);
    std::memcpy(bytes_.data() + kHead, &a, sizeof a);
    std::memcpy(bytes_.data() + kHead + NLA_HDRLEN, &big, sizeof big);
  }
  write_head(bytes_.data() + stop, kHead, NFNL_MSG_BATCH_END, NLM_F_REQUEST, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
  auto number = [&](std::size_t at, std::uint32_t seq, bool ack) {
    nlmsghdr h;
    std::memcpy(&h, bytes_.data() + at, sizeof h);
    h.nlmsg_seq = seq;
    if (ack) h.nlmsg_flags |= NLM_F_ACK;
    std::memcpy(bytes_.data() + at, &h, sizeof h);
  };
  number(start, first_seq, false);
  for (std::size_t i = 0; i < messages_.size(); ++i)
    number(messages_[i].offset, first_seq + 1 + static_cast<std::uint32_t>(i), i + 1 == messages_.size());
  number(stop, first_seq + 1 + static_cast<std::uint32_t>(messages_.size()), false);
  return Bytes(bytes_).subspan(start);
}

void Batch::for_each(const std::function<void(const nlmsghdr&, Bytes)>& fn) const {
  for (const auto& m : messages_) {
    nlmsghdr h;
    std::memcpy(&h, bytes_.data() + m.offset, sizeof h);
    fn(h, Bytes(bytes_).subspan(m.offset + NLMSG_HDRLEN, h.nlmsg_len - NLMSG_HDRLEN));
  }
}

}  // namespace trama::nft
