// SPDX-License-Identifier: GPL-2.0-or-later
// What passes through a TUN device, cut to what fits into datagrams and joined again. Pure, no allocations.
//
// The kernel hands out TCP and UDP in pieces of up to 64 KB (struct virtio_net_hdr says how they are to be cut), and
// takes such pieces back. Each packet travels by itself, so that a lost datagram costs one packet, not 46.
//
//   body of a datagram   u8 flags, u8 hops, u16 0, IP packet
//     flags 1            the transport checksum is that of the pseudo-header alone. What is sealed needs no second
//                        checksum: the receiving kernel fills it in if the packet leaves the machine
//     hops               how often it may still be passed on by a third node
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include <sys/uio.h>

#include "base/ip.h"

namespace trama::overlay::tunnel {

// struct virtio_net_hdr; <linux/virtio_net.h> is for C alone. In the machine's own byte order.
struct VnetHeader {
  std::uint8_t flags = 0, gso_type = 0;
  std::uint16_t hdr_len = 0, gso_size = 0, csum_start = 0, csum_offset = 0;
};
static_assert(sizeof(VnetHeader) == 10);
constexpr std::uint8_t kNeedsChecksum = 1;
constexpr std::uint8_t kGsoNone = 0, kGsoTcp4 = 1, kGsoTcp6 = 4, kGsoUdp = 5, kGsoEcn = 0x80;

using ConstBytes = std::span<const std::byte>;

constexpr std::size_t kFrameSize = 4;
constexpr std::uint8_t kPartialChecksum = 1;
constexpr std::size_t kLargestHeaders = 60 + 60;  // IP and TCP, with all options
constexpr std::size_t kLargestPacket = 65535;

// An IP packet as far as it concerns us. Every offset lies inside of it.
struct PacketView {
  bool v4 = true;
  std::uint8_t protocol = 0;  // of what follows the fixed header; IPv6 extension headers are not walked
  std::size_t network = 0;    // size of the IP header, options included
  std::size_t headers = 0;    // and of the TCP or UDP header; = network for others and fragments
  bool fragment = false;
  base::Ip source() const;
  base::Ip destination() const;
  const std::byte* source_bytes() const { return data + (v4 ? 12 : 8); }
  const std::byte* destination_bytes() const { return data + (v4 ? 16 : 24); }
  const std::byte* data = nullptr;
};
// False for what is no IP packet of exactly that size.
bool look_at_packet(ConstBytes packet, PacketView& out);

// One piece from the kernel -> bodies of datagrams.
class Cutter {
 public:
  // `packet` is what came with `vnet`; both must stay until done. False when they do not fit each other.
  bool start(const VnetHeader& vnet, std::span<std::byte> packet);
  bool done() const { return left_ == 0; }
  // Size of the next body; at most kFrameSize + kLargestPacket.
  std::size_t next_size() const;
  // Writes it to where next_size() bytes have room.
  void next(std::byte* out);
  const PacketView& view() const { return view_; }

 private:
  PacketView view_;
  std::span<std::byte> packet_;
  std::size_t payload_ = 0;  // of each but the last
  std::size_t taken_ = 0, count_ = 0, left_ = 0;
  std::uint8_t flags_ = 0;
  bool cut_ = false;
};

// Bodies -> pieces for the kernel. Neighbouring packets of one TCP stream become one. The bodies are not copied: they
// must stay until flush().
class Joiner {
 public:
  // What write() gets: a virtio_net_hdr, headers, payloads.
  using Pieces = std::span<const iovec>;
  // Returns false for a body that holds no packet; nothing of it is then taken. `write` is called for what is
  // complete.
  template <class Write>
  bool add(ConstBytes body, Write&& write) {
    auto step = judge(body);
    if (step == Step::malformed) return false;
    if (step == Step::join) return true;
    flush(write);
    begin(body);
    return true;
  }
  template <class Write>
  void flush(Write&& write) {
    if (count_ == 0) return;
    finish();
    write(Pieces(pieces_.data(), count_));
    count_ = 0;
  }
  // Of the last body given to add().
  static bool body_is_sound(ConstBytes body, PacketView& view);

 private:
  enum class Step { malformed, join, begin };
  Step judge(ConstBytes body);
  void begin(ConstBytes body);
  void finish();
  bool continues(ConstBytes packet, const PacketView& view, std::size_t payload) const;

  static constexpr std::size_t kMostPieces = 2 + 64;
  std::array<iovec, kMostPieces> pieces_{};
  std::array<std::byte, sizeof(VnetHeader) + kLargestHeaders> head_{};
  std::size_t count_ = 0;  // of pieces; 0 = nothing waits
  PacketView view_;        // of the first packet
  bool joinable_ = false;
  std::size_t total_ = 0, segment_ = 0, packets_ = 0;
  std::uint32_t next_sequence_ = 0;
  std::uint8_t flags_ = 0;
};

}  // namespace trama::overlay::tunnel
