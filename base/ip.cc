// SPDX-License-Identifier: GPL-2.0-or-later
#include "base/ip.h"

#include <charconv>
#include <cstring>

#include <arpa/inet.h>

#include "base/digest.h"

namespace trama::base {

std::uint8_t address_family(Family f) { return f == Family::v4 ? AF_INET : AF_INET6; }

Result<Ip> Ip::parse(std::string_view text) {
  Ip ip;
  std::string z(text);
  bool whole = z.find('\0') == std::string::npos;  // inet_pton stops there
  if (whole && inet_pton(AF_INET, z.c_str(), ip.raw_.data()) == 1) return ip;
  if (whole && inet_pton(AF_INET6, z.c_str(), ip.raw_.data()) == 1) {
    ip.family_ = Family::v6;
    return ip;
  }
  return Error::text(fmt::format("\"{}\" is not an IP address (expected for example 10.0.0.1 or fd00::1)", text));
}

Ip Ip::v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  Ip ip;
  ip.raw_[0] = std::byte{a}, ip.raw_[1] = std::byte{b}, ip.raw_[2] = std::byte{c}, ip.raw_[3] = std::byte{d};
  return ip;
}

Result<Ip> Ip::from_bytes(std::span<const std::byte> raw) {
  if (raw.size() != 4 && raw.size() != 16)
    return Error::text(fmt::format("an address of {} bytes (expected 4 or 16)", raw.size()));
  Ip ip;
  ip.family_ = raw.size() == 4 ? Family::v4 : Family::v6;
  std::memcpy(ip.raw_.data(), raw.data(), raw.size());
  return ip;
}

std::string Ip::to_string() const {
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(is_v4() ? AF_INET : AF_INET6, raw_.data(), text, sizeof text);
  return text;
}

namespace {
unsigned octet(std::span<const std::byte> b, std::size_t i) { return std::to_integer<unsigned>(b[i]); }
}  // namespace

bool Ip::is_loopback() const {
  if (is_v4()) return octet(bytes(), 0) == 127;
  for (std::size_t i = 0; i < 15; ++i)
    if (octet(bytes(), i) != 0) return false;
  return octet(bytes(), 15) == 1;
}
bool Ip::is_link_local() const {
  if (is_v4()) return octet(bytes(), 0) == 169 && octet(bytes(), 1) == 254;
  return octet(bytes(), 0) == 0xfe && (octet(bytes(), 1) & 0xc0) == 0x80;
}
bool Ip::is_multicast() const { return is_v4() ? (octet(bytes(), 0) & 0xf0) == 0xe0 : octet(bytes(), 0) == 0xff; }
bool Ip::is_unspecified() const {
  for (auto b : bytes())
    if (b != std::byte{0}) return false;
  return true;
}

Ip Ip::plus(std::uint64_t n) const {
  Ip out = *this;
  unsigned carry = 0;
  for (std::size_t i = size(); i-- > 0;) {
    unsigned sum = octet(raw_, i) + static_cast<unsigned>(n & 0xff) + carry;
    out.raw_[i] = static_cast<std::byte>(sum & 0xff);
    carry = sum >> 8;
    n >>= 8;
  }
  return out;
}

Cidr Cidr::of(const Ip& ip, unsigned length) {
  std::array<std::byte, 16> raw{};
  auto from = ip.bytes();
  for (std::size_t i = 0; i < from.size(); ++i) {
    unsigned bit = static_cast<unsigned>(i) * 8;
    unsigned keep = length <= bit ? 0 : std::min(8u, length - bit);
    raw[i] = from[i] & static_cast<std::byte>((0xff00u >> keep) & 0xff);
  }
  return Cidr(*Ip::from_bytes(std::span<const std::byte>(raw).first(from.size())), length);
}

Result<Cidr> Cidr::parse(std::string_view text) {
  auto slash = text.find('/');
  auto wrong = [&](std::string_view why) {
    return Error::text(fmt::format("\"{}\" is not a prefix: {} (expected for example 10.1.0.0/16)", text, why));
  };
  if (slash == std::string_view::npos) return wrong("no '/'");
  auto ip = Ip::parse(text.substr(0, slash));
  if (!ip) return wrong("the address part does not parse");
  unsigned length = 0;
  auto digits = text.substr(slash + 1);
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (ec != std::errc{} || end != digits.data() + digits.size() || length > ip->bits())
    return wrong(fmt::format("the length must be 0 to {}", ip->bits()));
  Cidr c = of(*ip, length);
  if (c.address_ != *ip) return wrong(fmt::format("host bits are set; did you mean {}?", c.to_string()));
  return c;
}

bool Cidr::contains(const Ip& ip) const { return ip.family() == family() && of(ip, length_).address_ == address_; }
bool Cidr::overlaps(const Cidr& other) const { return contains(other.address_) || other.contains(address_); }

Ip Cidr::last() const {
  std::array<std::byte, 16> raw{};
  auto from = address_.bytes();
  for (std::size_t i = 0; i < from.size(); ++i) {
    unsigned bit = static_cast<unsigned>(i) * 8;
    unsigned keep = length_ <= bit ? 0 : std::min(8u, length_ - bit);
    raw[i] = from[i] | static_cast<std::byte>(0xffu >> keep);
  }
  return *Ip::from_bytes(std::span<const std::byte>(raw).first(from.size()));
}

Result<Cidr> Cidr::subnet(unsigned length, std::uint64_t index) const {
  if (length < length_ || length > address_.bits())
    return Error::text(fmt::format("{} has no subnets of length {}", to_string(), length));
  unsigned room = length - length_;
  if (room < 64 && index >> room) return Error::text(fmt::format("{} is used up", to_string()));
  unsigned shift = address_.bits() - length;
  // index << shift, added byte-wise so that IPv6 works as well.
  std::array<std::byte, 16> raw{};
  auto from = address_.bytes();
  std::copy(from.begin(), from.end(), raw.begin());
  for (unsigned b = 0; b < 64 && b < room; ++b) {
    if (!((index >> b) & 1)) continue;
    unsigned pos = shift + b;
    std::size_t byte = from.size() - 1 - pos / 8;
    raw[byte] |= static_cast<std::byte>(1u << (pos % 8));
  }
  return Cidr(*Ip::from_bytes(std::span<const std::byte>(raw).first(from.size())), length);
}

std::string Cidr::to_string() const { return fmt::format("{}/{}", address_.to_string(), length_); }

Result<Mac> Mac::parse(std::string_view text) {
  Mac mac;
  bool ok = text.size() == 17;
  for (std::size_t i = 0; ok && i < 6; ++i) {
    auto part = text.substr(i * 3, 2);
    auto [end, ec] = std::from_chars(part.data(), part.data() + 2, mac.octets[i], 16);
    ok = ec == std::errc{} && end == part.data() + 2 && (i == 5 || text[i * 3 + 2] == ':');
  }
  if (!ok) return Error::text(fmt::format("\"{}\" is not a MAC address (expected aa:bb:cc:dd:ee:ff)", text));
  return mac;
}

Mac Mac::from_seed(std::string_view seed) {
  auto d = sha256(seed);
  Mac mac;
  mac.octets[0] = 0x02;
  for (std::size_t i = 1; i < 6; ++i) mac.octets[i] = d[i - 1];
  return mac;
}

std::string Mac::to_string() const {
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", octets[0], octets[1], octets[2], octets[3], octets[4],
                     octets[5]);
}

std::string IpPort::to_string() const {
  return ip.is_v4() ? fmt::format("{}:{}", ip.to_string(), port) : fmt::format("[{}]:{}", ip.to_string(), port);
}

}  // namespace trama::base
