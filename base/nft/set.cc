// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/set.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/netfilter/nf_tables.h>

namespace trama::nft {
namespace {

constexpr std::uint32_t kConcatFlag = 0x80;  // NFT_SET_CONCAT
constexpr std::uint32_t kConcatExpr = 13;    // the nft tool's number of a concatenation

std::string tlv(std::uint8_t type, std::string_view value) {
  std::string out{static_cast<char>(type), static_cast<char>(value.size())};
  return out.append(value);
}
std::string tlv32(std::uint8_t type, std::uint32_t value) {
  return tlv(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}
std::uint32_t byte_order(const std::vector<Field>& fields) {
  if (fields.size() != 1 || fields.front().is_verdict) return 0;
  return fields.front().host_order ? 1 : 2;
}
// The typeof record: one expression, or a concatenation of numbered ones.
std::string type_of(const std::vector<Field>& fields) {
  auto one = [](const Field& f) { return tlv32(0, f.expression) + tlv(1, f.detail); };
  if (fields.size() == 1) return one(fields.front());
  std::string list;
  for (std::size_t i = 0; i < fields.size(); ++i) list += tlv(static_cast<std::uint8_t>(i), one(fields[i]));
  return tlv32(0, kConcatExpr) + tlv(1, list);
}
std::uint32_t type_number(const std::vector<Field>& fields) {
  std::uint32_t type = 0;
  for (const auto& f : fields) type = type << 6 | f.type;
  return fields.size() == 1 ? fields.front().type : type;
}
std::uint32_t length_of(const std::vector<Field>& fields) {
  if (fields.size() == 1) return fields.front().length;
  std::uint32_t n = 0;
  for (const auto& f : fields) n += f.padded();
  return n;
}
std::string names(const std::vector<Field>& fields) {
  std::string out;
  for (const auto& f : fields) out += (out.empty() ? "" : " . ") + f.name;
  return out;
}
std::string print(const std::vector<Field>& fields, const Value& from, const Value& to) {
  std::string out;
  std::size_t at = 0;
  for (const auto& f : fields) {
    auto piece = [&](const Value& v) {
      return at + f.length <= v.size() ? f.print(v.bytes().subspan(at, f.length)) : std::string("?");
    };
    std::string low = piece(from);
    if (!out.empty()) out += " . ";
    out += low;
    if (std::string high = to.empty() ? low : piece(to); high != low) out += "-" + high;
    at += f.padded();
  }
  return out;
}
}  // namespace

std::uint32_t Set::flags() const {
  std::uint32_t f = 0;
  if (is_map()) f |= NFT_SET_MAP;
  if (interval) f |= NFT_SET_INTERVAL | (key.size() > 1 ? kConcatFlag : 0);
  if (dynamic) f |= NFT_SET_EVAL;
  if (has_timeout || timeout.count() > 0) f |= NFT_SET_TIMEOUT;
  return f;
}
std::uint32_t Set::key_type() const { return type_number(key); }
std::uint32_t Set::data_type() const { return data.empty() ? 0 : type_number(data); }
std::uint32_t Set::key_length() const { return length_of(key); }
std::uint32_t Set::data_length() const { return data.empty() ? 0 : length_of(data); }

std::string Set::userdata() const {
  std::string out = tlv32(0, byte_order(key));
  if (is_map()) out += tlv32(1, byte_order(data));
  out += tlv(3, type_of(key));
  if (is_map()) out += tlv(4, type_of(data)) + tlv32(6, 0);
  if (!comment.empty()) out += tlv(7, clean_comment(comment) + '\0');
  return out;
}

std::string Set::to_string() const {
  std::string out = fmt::format("{} {} {{ typeof {}", is_map() ? "map" : "set", name, names(key));
  if (is_map()) out += " : " + names(data);
  out += ";";
  if (size > 0) out += fmt::format(" size {};", size);
  std::string flag_names;
  auto flag = [&](bool on, const char* text) {
    if (on) flag_names += (flag_names.empty() ? "" : ",") + std::string(text);
  };
  flag(interval, "interval");
  flag(dynamic, "dynamic");
  flag(has_timeout || timeout.count() > 0, "timeout");
  if (!flag_names.empty()) out += fmt::format(" flags {};", flag_names);
  if (timeout.count() > 0) out += fmt::format(" timeout {}ms;", timeout.count());
  if (counts) out += " counter;";
  return out + " }";
}

Element Element::of(const Cidr& range, std::string comment) {
  Element e;
  e.key.ip(range.address());
  if (range.length() < range.address().bits()) e.key_end.ip(range.last());
  e.comment = std::move(comment);
  return e;
}

std::string clean_comment(std::string_view text) {
  std::string out(text.substr(0, kMaxComment));
  // Never half a UTF-8 character: drop a cut one with its first bytes.
  if (text.size() > kMaxComment)
    while (!out.empty() && (static_cast<unsigned char>(text[out.size()]) & 0xc0) == 0x80) out.pop_back();
  for (char& c : out)
    if (c == '"')
      c = '\'';
    else if (static_cast<unsigned char>(c) < 0x20)
      c = ' ';
  return out;
}

std::string to_text(const Set& set, const Element& e) {
  std::string out = print(set.key, e.key, e.key_end);
  if (e.timeout.count() > 0) out += fmt::format(" timeout {}ms", e.timeout.count());
  if (!e.comment.empty()) out += fmt::format(" comment \"{}\"", e.comment);
  if (set.is_verdict_map()) {
    if (!e.chain.empty()) out += " : goto " + e.chain;
  } else if (set.is_map() && !e.data.empty()) {
    out += " : " + print(set.data, e.data, {});
  }
  return out;
}

}  // namespace trama::nft
