// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/bytes.h"

#include <span>

namespace trama::overlay::peers {

Writer& Writer::number(std::uint64_t v, unsigned bytes) {
  for (unsigned i = bytes; i-- > 0;) out_ += static_cast<char>(v >> (8 * i));
  return *this;
}

Writer& Writer::text(std::string_view v) {
  v = v.substr(0, 0xffff);
  u16(static_cast<std::uint16_t>(v.size()));
  out_ += v;
  return *this;
}

Writer& Writer::ip(const Ip& ip) {
  u8(ip.is_v4() ? 4 : 6);
  for (auto b : ip.bytes()) out_ += static_cast<char>(b);
  return *this;
}

Writer& Writer::cidrs(const std::vector<Cidr>& cidrs) {
  auto count = std::min(cidrs.size(), Reader::kMostCidrs);
  u8(static_cast<std::uint8_t>(count));
  for (std::size_t i = 0; i < count; ++i) ip(cidrs[i].address()).u8(static_cast<std::uint8_t>(cidrs[i].length()));
  return *this;
}

void Reader::fail() {
  ok_ = false;
  in_ = {};
}

std::uint64_t Reader::number(unsigned bytes) {
  if (in_.size() < bytes) {
    fail();
    return 0;
  }
  std::uint64_t v = 0;
  for (unsigned i = 0; i < bytes; ++i) v = v << 8 | static_cast<std::uint8_t>(in_[i]);
  in_.remove_prefix(bytes);
  return v;
}

std::string Reader::text(std::size_t longest) {
  auto size = u16();
  if (!ok_ || size > longest || size > in_.size()) {
    fail();
    return {};
  }
  std::string out(in_.substr(0, size));
  in_.remove_prefix(size);
  return out;
}

Ip Reader::ip() {
  auto family = u8();
  std::size_t size = family == 4 ? 4 : 16;
  if (!ok_ || (family != 4 && family != 6) || in_.size() < size) {
    fail();
    return {};
  }
  auto raw = std::as_bytes(std::span(in_.data(), size));
  auto out = Ip::from_bytes(raw);
  in_.remove_prefix(size);
  return out ? *out : Ip();
}

std::vector<Cidr> Reader::cidrs() {
  std::vector<Cidr> out;
  auto count = u8();
  if (count > kMostCidrs) fail();
  for (unsigned i = 0; ok_ && i < count; ++i) {
    auto address = ip();
    auto length = u8();
    if (!ok_ || length > address.bits() || Cidr::of(address, length).address() != address) {
      fail();
      return {};
    }
    out.push_back(Cidr::of(address, length));
  }
  return out;
}

}  // namespace trama::overlay::peers
