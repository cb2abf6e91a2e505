// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/vxlan_probe.h"

#include "overlay/peers/bytes.h"

namespace trama::overlay::peers {
namespace {

constexpr std::uint8_t kTtl = 64, kIcmp = 1, kIcmp6 = 58, kEchoRequest = 8, kEchoRequest6 = 128;
constexpr std::uint8_t kVniPresent = 0x08;

std::uint64_t sum_of(std::string_view data, std::uint64_t sum = 0) {
  for (std::size_t i = 0; i < data.size(); ++i) {
    auto byte = static_cast<std::uint8_t>(data[i]);
    sum += i % 2 == 0 ? static_cast<std::uint64_t>(byte) << 8 : byte;
  }
  return sum;
}

std::uint16_t checksum(std::uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

std::string bytes_of(std::span<const std::byte> raw) { return {reinterpret_cast<const char*>(raw.data()), raw.size()}; }

void put16(std::string& out, std::size_t at, std::uint16_t v) {
  out[at] = static_cast<char>(v >> 8);
  out[at + 1] = static_cast<char>(v);
}

}  // namespace

std::string echo_packet(const base::Ip& source, const base::Ip& destination, std::uint16_t id, std::uint16_t sequence,
                        std::string_view body) {
  bool v4 = destination.is_v4();
  Writer echo;
  echo.u8(v4 ? kEchoRequest : kEchoRequest6).u8(0).u16(0).u16(id).u16(sequence);
  auto icmp = echo.take().append(body);
  auto from = bytes_of(source.bytes()), to = bytes_of(destination.bytes());
  auto length = static_cast<std::uint16_t>(icmp.size());
  auto pseudo = v4 ? 0 : sum_of(from + to) + length + kIcmp6;
  put16(icmp, 2, checksum(sum_of(icmp, pseudo)));
  Writer ip;
  if (v4)
    ip.u8(0x45).u8(0).u16(static_cast<std::uint16_t>(20 + length)).u16(0).u16(0x4000).u8(kTtl).u8(kIcmp).u16(0);
  else
    ip.u32(0x60000000).u16(length).u8(kIcmp6).u8(kTtl);
  auto header = ip.take() + from + to;
  if (v4) put16(header, 10, checksum(sum_of(header)));
  return header + icmp;
}

std::string encode(const VxlanProbe& probe, std::string_view body) {
  Writer outer;
  outer.u8(kVniPresent).u8(0).u16(0).u32(probe.vni.value << 8);
  std::string out = outer.take();
  for (const auto* mac : {&probe.to_mac, &probe.from_mac}) out += bytes_of(std::as_bytes(std::span(mac->octets)));
  Writer type;
  type.u16(probe.to.is_v4() ? 0x0800 : 0x86dd);
  return out + type.take() + echo_packet(probe.from, probe.to, probe.id, probe.sequence, body);
}

}  // namespace trama::overlay::peers
