// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers, texts and addresses as bytes in network order. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"

namespace trama::overlay::peers {

using base::Cidr;
using base::Ip;

class Writer {
 public:
  Writer& u8(std::uint8_t v) { return number(v, 1); }
  Writer& u16(std::uint16_t v) { return number(v, 2); }
  Writer& u32(std::uint32_t v) { return number(v, 4); }
  Writer& u64(std::uint64_t v) { return number(v, 8); }
  Writer& text(std::string_view v);  // length in 16 bits, then the bytes; cut at 65535
  Writer& ip(const Ip& ip);          // 4 or 6, then 4 or 16 bytes
  Writer& cidrs(const std::vector<Cidr>& cidrs);
  std::string take() { return std::move(out_); }
  std::size_t size() const { return out_.size(); }

 private:
  Writer& number(std::uint64_t v, unsigned bytes);
  std::string out_;
};

// What does not fit makes all later reads empty and ok() false: ask once, at the end.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  std::string text(std::size_t longest);  // longer is a fault
  Ip ip();
  std::vector<Cidr> cidrs();  // at most kMostCidrs; host bits must be zero
  bool ok() const { return ok_; }
  std::string_view rest() const { return in_; }
  void fail();

  static constexpr std::size_t kMostCidrs = 4;

 private:
  std::uint64_t number(unsigned bytes);
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace trama::overlay::peers
