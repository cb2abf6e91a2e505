// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/nft/field.h"

#include <array>

#include <fmt/format.h>

namespace trama::nft {
namespace {

// Data type numbers of the nft tool (datatype.h); the kernel stores and never reads them.
constexpr std::uint32_t kInteger = 4, kIpv4 = 7, kIpv6 = 8, kEther = 9, kProto = 12, kService = 13, kMark = 19,
                        kClassId = 23, kIfname = 41, kVerdict = 0xffffff00;
// Expression kinds of the nft tool (expression.h).
constexpr std::uint32_t kVerdictExpr = 1, kPayload = 7, kMeta = 9, kCt = 12, kNumgen = 23;
// Protocol descriptions (proto.h).
constexpr std::uint32_t kTh = 11, kIp = 12, kIp6 = 13, kEth = 17;

// type, length, value: the user data format of libnftnl.
std::string tlv(std::uint8_t type, std::string_view value) {
  std::string out{static_cast<char>(type), static_cast<char>(value.size())};
  return out.append(value);
}
std::string tlv32(std::uint8_t type, std::uint32_t value) {
  return tlv(type, std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
}
Field payload(std::string name, std::uint32_t type, std::uint32_t length, std::uint32_t description,
              std::uint32_t member) {
  Field f;
  f.name = std::move(name), f.type = type, f.length = length;
  f.expression = kPayload;
  f.detail = tlv32(0, description) + tlv32(1, member);
  return f;
}
Field meta(std::string name, std::uint32_t type, std::uint32_t length, std::uint32_t key) {
  Field f;
  f.name = std::move(name), f.type = type, f.length = length, f.host_order = true;
  f.expression = kMeta;
  f.detail = tlv32(0, key);
  return f;
}
std::uint32_t number(const Field& f, Bytes b) {
  std::uint32_t n = 0;
  for (std::size_t i = 0; i < b.size() && i < 4; ++i) {
    auto byte = static_cast<std::uint32_t>(b[i]);
    n = f.host_order ? n | byte << (8 * i) : n << 8 | byte;
  }
  return n;
}
}  // namespace

std::string Field::print(Bytes b) const {
  if (b.size() < length) return "?";
  b = b.first(length);
  switch (type) {
    case kIpv4:
    case kIpv6:
      if (auto ip = Ip::from_bytes(b)) return ip->to_string();
      return "?";
    case kEther: {
      Mac m;
      std::memcpy(m.octets.data(), b.data(), m.octets.size());
      return m.to_string();
    }
    case kProto:
      switch (number(*this, b)) {
        case 1: return "icmp";
        case 6: return "tcp";
        case 17: return "udp";
        case 58: return "ipv6-icmp";
        case 132: return "sctp";
        default: return std::to_string(number(*this, b));
      }
    case kService: return std::to_string(number(*this, b));
    case kClassId: return fmt::format("{:x}:{:x}", number(*this, b) >> 16, number(*this, b) & 0xffff);
    case kMark: return fmt::format("0x{:08x}", number(*this, b));
    case kIfname: {
      auto* p = reinterpret_cast<const char*>(b.data());
      return fmt::format("\"{}\"", std::string_view(p, strnlen(p, b.size())));
    }
    default: break;
  }
  if (length <= 4)
    return expression == kNumgen ? std::to_string(number(*this, b)) : fmt::format("0x{:x}", number(*this, b));
  std::string hex = "0x";
  for (std::byte byte : b) hex += fmt::format("{:02x}", static_cast<unsigned>(byte));
  return hex;
}

namespace field {
Field ip_saddr() { return payload("ip saddr", kIpv4, 4, kIp, 11); }
Field ip_daddr() { return payload("ip daddr", kIpv4, 4, kIp, 12); }
Field ip6_saddr() { return payload("ip6 saddr", kIpv6, 16, kIp6, 8); }
Field ip6_daddr() { return payload("ip6 daddr", kIpv6, 16, kIp6, 9); }
Field ether_saddr() { return payload("ether saddr", kEther, 6, kEth, 2); }
Field ether_daddr() { return payload("ether daddr", kEther, 6, kEth, 1); }
Field th_sport() { return payload("th sport", kService, 2, kTh, 1); }
Field th_dport() { return payload("th dport", kService, 2, kTh, 2); }
Field l4proto() { return meta("meta l4proto", kProto, 1, 16); }
Field iifname() { return meta("iifname", kIfname, 16, 6); }
Field oifname() { return meta("oifname", kIfname, 16, 7); }
Field meta_priority() { return meta("meta priority", kClassId, 4, 2); }
Field meta_mark() { return meta("meta mark", kMark, 4, 3); }
Field ct_mark() {
  Field f = meta("ct mark", kMark, 4, 3);
  f.expression = kCt;
  f.detail += tlv32(1, 0xffffffff);  // no direction
  return f;
}
Field verdict() {
  Field f;
  f.name = "verdict", f.type = kVerdict, f.length = 16, f.is_verdict = true;
  f.expression = kVerdictExpr;
  return f;
}
Field numgen_random() {
  Field f;
  f.name = "numgen random mod 65536", f.type = kInteger, f.length = 4, f.host_order = true;
  f.expression = kNumgen;
  f.detail = tlv32(0, 1) + tlv32(1, 65536) + tlv32(2, 0);
  return f;
}
Field raw(Base base, std::uint32_t bit_offset, std::uint32_t bits) {
  constexpr std::array<const char*, 3> kPrefix = {"@ll", "@nh", "@th"};
  auto b = static_cast<std::uint32_t>(base);
  Field f;
  f.name = fmt::format("{},{},{}", kPrefix[b], bit_offset, bits), f.type = kInteger, f.length = bits / 8;
  f.expression = kPayload;
  // nft counts bases from 1 (link layer).
  f.detail = tlv32(0, 0) + tlv32(1, 0) + tlv32(2, b + 1) + tlv32(3, bit_offset) + tlv32(4, bits);
  return f;
}
}  // namespace field

}  // namespace trama::nft
