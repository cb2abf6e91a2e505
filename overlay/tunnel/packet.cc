// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/packet.h"

#include <algorithm>
#include <cstring>

namespace trama::overlay::tunnel {
namespace {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kHopByHop = 0, kFragment6 = 44;
constexpr std::size_t kIp6Header = 40, kTcpLeast = 20, kUdpHeader = 8;
constexpr std::size_t kTcpChecksumAt = 16, kUdpChecksumAt = 6;
constexpr std::uint8_t kFin = 0x01, kSyn = 0x02, kRst = 0x04, kPsh = 0x08, kAck = 0x10, kUrg = 0x20, kCwr = 0x80;

std::uint8_t u8(const std::byte* p) { return static_cast<std::uint8_t>(*p); }
std::uint16_t u16(const std::byte* p) { return static_cast<std::uint16_t>(u8(p) << 8 | u8(p + 1)); }
std::uint32_t u32(const std::byte* p) { return std::uint32_t{u16(p)} << 16 | u16(p + 2); }
void put16(std::byte* p, std::size_t v) {
  p[0] = static_cast<std::byte>(v >> 8);
  p[1] = static_cast<std::byte>(v);
}
void put32(std::byte* p, std::uint32_t v) {
  put16(p, v >> 16);
  put16(p + 2, v & 0xffff);
}

std::uint64_t sum_of(const std::byte* p, std::size_t size, std::uint64_t sum = 0) {
  for (; size >= 2; p += 2, size -= 2) sum += u16(p);
  if (size > 0) sum += static_cast<std::uint64_t>(u8(p)) << 8;
  return sum;
}

std::uint16_t fold(std::uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

void set_ip_checksum(std::byte* ip, std::size_t size) {
  put16(ip + 10, 0);
  put16(ip + 10, static_cast<std::uint16_t>(~fold(sum_of(ip, size))));
}

// As the kernel wants it where the rest is still to be summed up.
std::uint16_t pseudo_sum(const PacketView& view, const std::byte* ip, std::size_t transport) {
  std::size_t addresses = view.v4 ? 8 : 32;
  return fold(sum_of(ip + (view.v4 ? 12 : 8), addresses, transport + view.protocol));
}

std::size_t checksum_at(std::uint8_t protocol) { return protocol == kTcp ? kTcpChecksumAt : kUdpChecksumAt; }

void set_length(const PacketView& view, std::byte* ip, std::size_t whole) {
  if (view.v4) {
    put16(ip + 2, whole);
    set_ip_checksum(ip, view.network);
  } else {
    put16(ip + 4, whole - kIp6Header);
  }
}

}  // namespace

base::Ip PacketView::source() const {
  return base::Ip::from_bytes(std::span(source_bytes(), v4 ? 4u : 16u)).value_or(base::Ip());
}
base::Ip PacketView::destination() const {
  return base::Ip::from_bytes(std::span(destination_bytes(), v4 ? 4u : 16u)).value_or(base::Ip());
}

bool look_at_packet(ConstBytes packet, PacketView& out) {
  if (packet.size() < 20 || packet.size() > kLargestPacket) return false;
  const auto* p = packet.data();
  out = PacketView{};
  out.data = p;
  auto version = u8(p) >> 4;
  if (version == 4) {
    out.network = static_cast<std::size_t>(u8(p) & 0xf) * 4;
    if (out.network < 20 || out.network > packet.size() || u16(p + 2) != packet.size()) return false;
    out.protocol = u8(p + 9);
    out.fragment = (u16(p + 6) & 0x3fff) != 0;
  } else if (version == 6) {
    if (packet.size() < kIp6Header || u16(p + 4) + kIp6Header != packet.size()) return false;
    out.v4 = false;
    out.network = kIp6Header;
    out.protocol = u8(p + 6);
    out.fragment = out.protocol == kFragment6;
  } else {
    return false;
  }
  out.headers = out.network;
  if (out.fragment) return true;
  const auto* transport = p + out.network;
  auto room = packet.size() - out.network;
  if (out.protocol == kTcp) {
    if (room < kTcpLeast) return true;
    auto size = static_cast<std::size_t>(u8(transport + 12) >> 4) * 4;
    if (size >= kTcpLeast && size <= room) out.headers += size;
  } else if (out.protocol == kUdp && room >= kUdpHeader) {
    out.headers += kUdpHeader;
  }
  return true;
}

// ---- cutting ------------------------------------------------------------------------------------------------------

bool Cutter::start(const VnetHeader& vnet, std::span<std::byte> packet) {
  left_ = 0;
  if (!look_at_packet(packet, view_)) return false;
  packet_ = packet;
  taken_ = count_ = 0;
  flags_ = 0;
  cut_ = false;
  auto kind = vnet.gso_type & static_cast<std::uint8_t>(~kGsoEcn);
  bool with_transport = view_.headers > view_.network;
  if (kind != kGsoNone) {
    bool tcp = kind == (view_.v4 ? kGsoTcp4 : kGsoTcp6) && view_.protocol == kTcp;
    bool udp = kind == kGsoUdp && view_.protocol == kUdp;
    if (!with_transport || (!tcp && !udp) || vnet.gso_size == 0 || packet.size() == view_.headers) return false;
    payload_ = vnet.gso_size;
    cut_ = true;
    flags_ = kPartialChecksum;
    left_ = packet.size() - view_.headers;
    return true;
  }
  payload_ = packet.size();
  left_ = packet.size();
  if (!(vnet.flags & kNeedsChecksum)) return true;
  bool plain = with_transport && (view_.protocol == kTcp || view_.protocol == kUdp) &&
               vnet.csum_start == view_.network && vnet.csum_offset == checksum_at(view_.protocol);
  if (plain) {
    flags_ = kPartialChecksum;
    return true;
  }
  // Something that the receiver would not know where to sum up: done here, once.
  std::size_t begin = vnet.csum_start, at = begin + vnet.csum_offset;
  if (begin < view_.network || at + 2 > packet.size()) {  // a sum in the IP header is none of the transport's
    left_ = 0;
    return false;
  }
  auto sum = static_cast<std::uint16_t>(~fold(sum_of(packet.data() + begin, packet.size() - begin)));
  put16(packet.data() + at, sum == 0 ? 0xffff : sum);
  return true;
}

std::size_t Cutter::next_size() const { return kFrameSize + (cut_ ? view_.headers : 0) + std::min(payload_, left_); }

void Cutter::next(std::byte* out) {
  out[0] = static_cast<std::byte>(flags_);
  out[1] = out[2] = out[3] = std::byte{0};
  auto* ip = out + kFrameSize;
  auto take = std::min(payload_, left_);
  if (!cut_) {
    std::memcpy(ip, packet_.data(), take);
    left_ = 0;
    return;
  }
  auto headers = view_.headers, whole = headers + take;
  std::memcpy(ip, packet_.data(), headers);
  std::memcpy(ip + headers, packet_.data() + headers + taken_, take);
  bool first = count_ == 0, last = take == left_;
  if (view_.v4) put16(ip + 4, static_cast<std::uint16_t>(u16(ip + 4) + count_));
  set_length(view_, ip, whole);
  auto* transport = ip + view_.network;
  if (view_.protocol == kTcp) {
    put32(transport + 4, u32(transport + 4) + static_cast<std::uint32_t>(taken_));
    auto flags = u8(transport + 13);
    if (!last) flags = static_cast<std::uint8_t>(flags & ~(kFin | kPsh));
    if (!first) flags = static_cast<std::uint8_t>(flags & ~kCwr);
    transport[13] = static_cast<std::byte>(flags);
  } else {
    put16(transport + 4, whole - view_.network);
  }
  put16(transport + checksum_at(view_.protocol), pseudo_sum(view_, ip, whole - view_.network));
  taken_ += take;
  left_ -= take;
  ++count_;
}

// ---- joining ------------------------------------------------------------------------------------------------------

bool Joiner::body_is_sound(ConstBytes body, PacketView& view) {
  if (body.size() < kFrameSize + 20) return false;
  auto flags = u8(body.data());
  if ((flags & ~kPartialChecksum) != 0 || u16(body.data() + 2) != 0) return false;
  if (!look_at_packet(body.subspan(kFrameSize), view)) return false;
  bool summable = view.headers > view.network && (view.protocol == kTcp || view.protocol == kUdp);
  return !(flags & kPartialChecksum) || summable;
}

bool Joiner::continues(ConstBytes packet, const PacketView& view, std::size_t payload) const {
  if (!joinable_ || count_ >= kMostPieces || payload > segment_ || view.v4 != view_.v4 ||
      view.network != view_.network || view.headers != view_.headers || total_ + payload > kLargestPacket)
    return false;
  const auto *a = head_.data() + sizeof(VnetHeader), *b = packet.data();
  bool same = view_.v4 ? std::memcmp(a, b, 2) == 0 && std::memcmp(a + 6, b + 6, 4) == 0 &&  // not length, id, checksum
                             std::memcmp(a + 12, b + 12, view_.network - 12) == 0
                       : std::memcmp(a, b, 4) == 0 && std::memcmp(a + 6, b + 6, view_.network - 6) == 0;
  const auto *t = a + view_.network, *u = b + view_.network;
  auto options = view_.headers - view_.network - kTcpLeast;
  constexpr std::uint8_t kAlike = static_cast<std::uint8_t>(~(kPsh | kFin));
  return same && std::memcmp(t, u, 4) == 0 && u32(u + 4) == next_sequence_ && std::memcmp(t + 8, u + 8, 5) == 0 &&
         (u8(t + 13) & kAlike) == (u8(u + 13) & kAlike) && std::memcmp(t + 14, u + 14, 2) == 0 &&
         std::memcmp(t + 18, u + 18, 2 + options) == 0;
}

Joiner::Step Joiner::judge(ConstBytes body) {
  PacketView view;
  if (!body_is_sound(body, view)) return Step::malformed;
  auto packet = body.subspan(kFrameSize);
  bool tcp = view.protocol == kTcp && view.headers > view.network && (u8(body.data()) & kPartialChecksum);
  if (!tcp || count_ == 0) return Step::begin;
  auto payload = packet.size() - view.headers;
  if (payload == 0 || !continues(packet, view, payload)) return Step::begin;
  auto* head = head_.data() + sizeof(VnetHeader) + view_.network;
  auto flags = u8(packet.data() + view.network + 13);
  head[13] |= static_cast<std::byte>(flags & (kPsh | kFin));
  pieces_[count_++] = {const_cast<std::byte*>(packet.data() + view.headers), payload};
  total_ += payload;
  ++packets_;
  next_sequence_ += static_cast<std::uint32_t>(payload);
  if (payload < segment_ || (flags & (kPsh | kFin))) joinable_ = false;
  return Step::join;
}

void Joiner::begin(ConstBytes body) {
  auto packet = body.subspan(kFrameSize);
  look_at_packet(packet, view_);
  flags_ = u8(body.data());
  total_ = packet.size();
  packets_ = 1;
  segment_ = packet.size() - view_.headers;
  auto* head = head_.data() + sizeof(VnetHeader);
  std::memcpy(head, packet.data(), view_.headers);
  pieces_[0] = {head_.data(), sizeof(VnetHeader) + view_.headers};
  pieces_[1] = {const_cast<std::byte*>(packet.data() + view_.headers), segment_};
  count_ = segment_ > 0 ? 2 : 1;
  joinable_ = false;
  if (view_.protocol != kTcp || view_.headers == view_.network || !(flags_ & kPartialChecksum) || segment_ == 0) return;
  const auto* t = head + view_.network;
  auto flags = u8(t + 13);
  joinable_ = (flags & kAck) && !(flags & (kSyn | kRst | kUrg | kFin | kPsh | kCwr));
  next_sequence_ = u32(t + 4) + static_cast<std::uint32_t>(segment_);
}

void Joiner::finish() {
  VnetHeader vnet{};
  auto* ip = head_.data() + sizeof(VnetHeader);
  if (flags_ & kPartialChecksum) {
    vnet.flags = kNeedsChecksum;
    vnet.csum_start = static_cast<std::uint16_t>(view_.network);
    vnet.csum_offset = static_cast<std::uint16_t>(checksum_at(view_.protocol));
    put16(ip + view_.network + checksum_at(view_.protocol), pseudo_sum(view_, ip, total_ - view_.network));
  }
  if (packets_ > 1) {
    vnet.gso_type = view_.v4 ? kGsoTcp4 : kGsoTcp6;
    vnet.gso_size = static_cast<std::uint16_t>(segment_);
    vnet.hdr_len = static_cast<std::uint16_t>(view_.headers);
    set_length(view_, ip, total_);
  }
  std::memcpy(head_.data(), &vnet, sizeof vnet);
}

}  // namespace trama::overlay::tunnel
