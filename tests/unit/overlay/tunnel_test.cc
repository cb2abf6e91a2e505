// SPDX-License-Identifier: GPL-2.0-or-later
// Lanes, cutting and joining, and the choice between paths.
#include <cstdlib>
#include <cstring>
#include <random>

#include <gtest/gtest.h>

#include "overlay/peers/choice.h"
#include "overlay/tunnel/session.h"

namespace trama::overlay::tunnel {
namespace {

using Buffer = std::vector<std::byte>;
using Verdict = OpeningLane::Verdict;

Secret secret(std::uint8_t seed) {
  Secret s;
  for (std::size_t i = 0; i < s.size(); ++i) s[i] = static_cast<std::uint8_t>(seed * 31 + i);
  return s;
}

Buffer sealed(SealingLane& lane, std::uint32_t index, const std::string& body) {
  Buffer out(body.size() + kSealedOverhead);
  std::memcpy(out.data() + kHeaderSize, body.data(), body.size());
  EXPECT_TRUE(lane.seal(index, out.data(), body.size()));
  return out;
}

Verdict opened(OpeningLane& lane, Buffer datagram, std::string* body = nullptr) {
  auto header = parse_data_header(datagram);
  if (!header) return Verdict::forged;
  Bytes plain;
  auto verdict = lane.open(*header, datagram, plain);
  if (verdict == Verdict::genuine && body) body->assign(reinterpret_cast<char*>(plain.data()), plain.size());
  return verdict;
}

class Lanes : public testing::TestWithParam<Cipher> {};
INSTANTIATE_TEST_SUITE_P(Ciphers, Lanes, testing::Values(Cipher::aes_256_gcm, Cipher::chacha20_poly1305),
                         [](const auto& i) { return i.param == Cipher::aes_256_gcm ? "aes" : "chacha"; });

TEST_P(Lanes, OpenWhatTheOtherSideSealedOnce) {
  auto seal = SealingLane::make(GetParam(), secret(1), 3);
  auto open = OpeningLane::make(GetParam(), secret(1), 3);
  ASSERT_TRUE(seal && open);
  std::vector<Buffer> all;
  for (int i = 0; i < 100; ++i) all.push_back(sealed(*seal, 7, fmt::format("packet {}", i)));
  std::string body;
  for (std::size_t i : {5u, 3u, 99u, 4u}) {
    EXPECT_EQ(opened(*open, all[i], &body), Verdict::genuine);
    EXPECT_EQ(body, fmt::format("packet {}", i));
    EXPECT_EQ(opened(*open, all[i]), Verdict::replayed);
  }
  auto header = parse_data_header(all[5]);
  EXPECT_EQ(header->lane, 3);
  EXPECT_EQ(header->index, 7u);
  EXPECT_EQ(header->counter, 6u);
}

TEST_P(Lanes, OpenNothingOfAnotherLaneDirectionOrCipher) {
  auto seal = SealingLane::make(GetParam(), secret(1), 3);
  auto datagram = sealed(*seal, 7, std::string(1400, 'x'));
  auto other = GetParam() == Cipher::aes_256_gcm ? Cipher::chacha20_poly1305 : Cipher::aes_256_gcm;
  auto lane = OpeningLane::make(GetParam(), secret(1), 4), direction = OpeningLane::make(GetParam(), secret(2), 3),
       cipher = OpeningLane::make(other, secret(1), 3), right = OpeningLane::make(GetParam(), secret(1), 3);
  for (auto* wrong : {&*lane, &*direction, &*cipher}) EXPECT_EQ(opened(*wrong, datagram), Verdict::forged);
  EXPECT_EQ(opened(*right, datagram), Verdict::genuine) << "the control";
}

TEST_P(Lanes, AKeyThatIsUsedUpSealsNoMore) {
  auto seal = SealingLane::make(GetParam(), secret(1), 0);
  seal->skip_to(kMostSealed - 1);
  Buffer datagram(kSealedOverhead + 4);
  EXPECT_TRUE(seal->seal(1, datagram.data(), 4));
  EXPECT_FALSE(seal->seal(1, datagram.data(), 4));
}

// What an attacker can do to what he has seen: none of it opens, and none of it moves the window.
TEST_P(Lanes, NoForgeryOpens) {
  const int kTries = std::getenv("TRAMA_LONG") ? 1'000'000 : 50'000;
  auto seal = SealingLane::make(GetParam(), secret(1), 0), reflected = SealingLane::make(GetParam(), secret(2), 0),
       session = SealingLane::make(GetParam(), secret(3), 0);
  auto open = OpeningLane::make(GetParam(), secret(1), 0);
  std::mt19937_64 random(7);
  std::vector<Buffer> seen, mirror, foreign;
  for (int i = 0; i < 64; ++i) {
    std::string body(40 + random() % 200, static_cast<char>(i));
    seen.push_back(sealed(*seal, 9, body));
    mirror.push_back(sealed(*reflected, 9, body));
    foreign.push_back(sealed(*session, 9, body));
    if (i % 2 == 0) {
      ASSERT_EQ(opened(*open, seen.back()), Verdict::genuine);
    }
  }
  int accepted = 0;
  for (int i = 0; i < kTries; ++i) {
    auto from = random() % seen.size();
    Buffer forgery = seen[from];
    switch (random() % 7) {
      case 0: forgery = seen[from & ~std::size_t{1}]; break;  // replayed
      case 1: forgery = mirror[from]; break;
      case 2: forgery = foreign[from]; break;
      case 3: forgery.resize(random() % forgery.size()); break;
      case 4:  // a far counter: the window must not jump
        for (std::size_t b = 8; b < 16; ++b) forgery[b] = static_cast<std::byte>(random());
        break;
      case 5: {
        auto other = seen[random() % seen.size()];
        std::copy_n(other.end() - kTagSize, kTagSize, forgery.end() - kTagSize);
        if (forgery == seen[from]) forgery[20] ^= std::byte{1};
        break;
      }
      default: forgery[random() % forgery.size()] ^= static_cast<std::byte>(1u << random() % 8);
    }
    if (opened(*open, forgery) == Verdict::genuine) ++accepted;
  }
  EXPECT_EQ(accepted, 0);
  for (std::size_t i = 1; i < seen.size(); i += 2)
    EXPECT_EQ(opened(*open, seen[i]), Verdict::genuine) << "the control: what was not there yet still opens";
}

// ---- packets ------------------------------------------------------------------------------------------------------

void put16(Buffer& b, std::size_t at, std::size_t v) {
  b[at] = static_cast<std::byte>(v >> 8);
  b[at + 1] = static_cast<std::byte>(v);
}
std::size_t get16(const Buffer& b, std::size_t at) {
  return static_cast<std::size_t>(b[at]) << 8 | static_cast<std::size_t>(b[at + 1]);
}
std::uint16_t folded(const Buffer& b, std::size_t from, std::uint64_t sum = 0) {
  for (std::size_t i = from; i < b.size(); ++i)
    sum += (i - from) % 2 == 0 ? static_cast<std::uint64_t>(b[i]) << 8 : static_cast<std::uint64_t>(b[i]);
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

Buffer tcp(bool v4, std::size_t payload, std::uint8_t flags = 0x18, std::uint32_t sequence = 1000) {
  std::size_t network = v4 ? 20 : 40, headers = network + 32;
  Buffer b(headers + payload);
  if (v4) {
    b[0] = std::byte{0x45};
    put16(b, 2, b.size());
    put16(b, 4, 77);
    b[6] = std::byte{0x40};
    b[8] = std::byte{64};
    b[9] = std::byte{6};
    for (std::size_t i = 12; i < 20; ++i) b[i] = static_cast<std::byte>(i);
  } else {
    b[0] = std::byte{0x60};
    put16(b, 4, b.size() - 40);
    b[6] = std::byte{6};
    b[7] = std::byte{64};
    for (std::size_t i = 8; i < 40; ++i) b[i] = static_cast<std::byte>(i);
  }
  put16(b, network, 4000);
  put16(b, network + 2, 80);
  for (std::size_t i = 0; i < 4; ++i) b[network + 4 + i] = static_cast<std::byte>(sequence >> (8 * (3 - i)));
  b[network + 12] = std::byte{0x80};
  b[network + 13] = static_cast<std::byte>(flags);
  for (std::size_t i = 0; i < payload; ++i) b[headers + i] = static_cast<std::byte>(i * 7);
  return b;
}

std::vector<Buffer> cut(const VnetHeader& vnet, Buffer packet) {
  std::vector<Buffer> out;
  Cutter cutter;
  if (!cutter.start(vnet, packet)) return out;
  while (!cutter.done()) {
    Buffer body(cutter.next_size());
    cutter.next(body.data());
    out.push_back(std::move(body));
  }
  return out;
}

struct Written {
  VnetHeader vnet;
  Buffer packet;
};
std::vector<Written> join(const std::vector<Buffer>& bodies) {
  std::vector<Written> out;
  Joiner joiner;
  auto write = [&](Joiner::Pieces pieces) {
    Buffer all;
    for (const auto& p : pieces) {
      auto* from = static_cast<const std::byte*>(p.iov_base);
      all.insert(all.end(), from, from + p.iov_len);
    }
    Written w;
    std::memcpy(&w.vnet, all.data(), sizeof w.vnet);
    w.packet.assign(all.begin() + sizeof w.vnet, all.end());
    out.push_back(std::move(w));
  };
  for (const auto& b : bodies) joiner.add(b, write);
  joiner.flush(write);
  return out;
}

VnetHeader super(bool v4, std::uint16_t segment) {
  VnetHeader v;
  v.flags = kNeedsChecksum;
  v.gso_type = v4 ? kGsoTcp4 : kGsoTcp6;
  v.gso_size = segment;
  v.hdr_len = v4 ? 52 : 72;
  v.csum_start = v4 ? 20 : 40;
  v.csum_offset = 16;
  return v;
}

TEST(Packets, ALargePieceIsCutIntoWholePacketsAndComesBackAsOne) {
  for (bool v4 : {true, false}) {
    std::size_t network = v4 ? 20 : 40;
    auto whole = tcp(v4, 40'000, 0x18);
    auto bodies = cut(super(v4, 1384), whole);
    ASSERT_EQ(bodies.size(), 29u);
    for (std::size_t i = 0; i < bodies.size(); ++i) {
      Buffer packet(bodies[i].begin() + kFrameSize, bodies[i].end());
      PacketView view;
      ASSERT_TRUE(look_at_packet(packet, view));
      EXPECT_EQ(view.headers, network + 32);
      if (v4) {
        EXPECT_EQ(folded(Buffer(packet.begin(), packet.begin() + 20), 0), 0xffff) << "the checksum of the IP header";
        EXPECT_EQ(get16(packet, 4), 77 + i);
      }
      EXPECT_EQ(get16(packet, network + 4) << 16 | get16(packet, network + 6), 1000 + i * 1384);
      EXPECT_EQ(static_cast<int>(packet[network + 13]), i + 1 == bodies.size() ? 0x18 : 0x10) << "PSH on the last";
    }
    auto back = join(bodies);
    ASSERT_EQ(back.size(), 1u);
    EXPECT_EQ(back[0].vnet.gso_size, 1384);
    EXPECT_EQ(back[0].vnet.gso_type, v4 ? kGsoTcp4 : kGsoTcp6);
    EXPECT_EQ(back[0].vnet.csum_start, network);
    auto same = [&](std::size_t from, std::size_t to) {
      return std::equal(whole.begin() + static_cast<std::ptrdiff_t>(from),
                        whole.begin() + static_cast<std::ptrdiff_t>(to),
                        back[0].packet.begin() + static_cast<std::ptrdiff_t>(from));
    };
    ASSERT_EQ(back[0].packet.size(), whole.size());
    EXPECT_TRUE(same(network + 18, whole.size())) << "options and payload";
    EXPECT_TRUE(same(network, network + 16));
  }
}

TEST(Packets, OnlyNeighboursOfOneStreamAreJoined) {
  auto one = [](Buffer packet) {
    VnetHeader v;
    v.flags = kNeedsChecksum;
    v.csum_start = 20;
    v.csum_offset = 16;
    return cut(v, std::move(packet)).at(0);
  };
  auto first = one(tcp(true, 1000, 0x10, 1000));
  EXPECT_EQ(join({first, one(tcp(true, 1000, 0x10, 2000))}).size(), 1u) << "the control";
  EXPECT_EQ(join({first, one(tcp(true, 1000, 0x10, 2001))}).size(), 2u) << "a gap";
  EXPECT_EQ(join({first, one(tcp(true, 1001, 0x10, 2000))}).size(), 2u) << "longer than the first";
  EXPECT_EQ(join({first, one(tcp(true, 900, 0x10, 2000)), one(tcp(true, 900, 0x10, 2900))}).size(), 2u)
      << "behind a short one";
  EXPECT_EQ(join({one(tcp(true, 1000, 0x18, 1000)), one(tcp(true, 1000, 0x10, 2000))}).size(), 2u) << "behind PSH";
  auto port = tcp(true, 1000, 0x10, 2000);
  put16(port, 20, 4001);
  EXPECT_EQ(join({first, one(port)}).size(), 2u) << "another stream";
  auto ecn = tcp(true, 1000, 0x10, 2000);
  ecn[1] = std::byte{3};
  EXPECT_EQ(join({first, one(ecn)}).size(), 2u) << "congestion was marked";
  auto bare = first;
  bare[0] = std::byte{0};
  EXPECT_EQ(join({bare, one(tcp(true, 1000, 0x10, 2000))}).size(), 2u) << "its checksum is to be verified first";
}

TEST(Packets, UdpIsCutAndOddChecksumsAreSummedUp) {
  Buffer packet = tcp(true, 3000);
  packet[9] = std::byte{17};
  put16(packet, 24, packet.size() - 20);
  VnetHeader v;
  v.flags = kNeedsChecksum;
  v.gso_type = kGsoUdp;
  v.gso_size = 1000;
  auto bodies = cut(v, packet);  // 32 bytes of the "TCP header" are UDP's header and payload
  ASSERT_EQ(bodies.size(), 4u);
  EXPECT_EQ(get16(bodies[0], kFrameSize + 24), 1008u);
  EXPECT_EQ(get16(bodies[3], kFrameSize + 24), 32u);
  // A checksum where nobody would look for it, as for SCTP or behind extension headers.
  Buffer odd = tcp(true, 100);
  odd[9] = std::byte{132};
  VnetHeader sum;
  sum.flags = kNeedsChecksum;
  sum.csum_start = 20;
  sum.csum_offset = 8;
  auto done = cut(sum, odd);
  ASSERT_EQ(done.size(), 1u);
  EXPECT_EQ(done[0][0], std::byte{0});
  EXPECT_EQ(folded(Buffer(done[0].begin() + kFrameSize, done[0].end()), 20), 0xffff);
}

TEST(Packets, WhatIsNoPacketIsNotTaken) {
  PacketView view;
  auto good = cut(VnetHeader{}, tcp(true, 10)).at(0);
  ASSERT_TRUE(Joiner::body_is_sound(good, view)) << "the control";
  auto with = [&](std::size_t at, std::uint8_t v) {
    auto b = good;
    b[at] = static_cast<std::byte>(v);
    return Joiner::body_is_sound(b, view);
  };
  EXPECT_FALSE(with(0, 2)) << "a flag of the future";
  EXPECT_FALSE(with(2, 1));
  EXPECT_FALSE(with(kFrameSize, 0x55)) << "IP version 5";
  EXPECT_FALSE(with(kFrameSize, 0x44)) << "a header of 16 bytes";
  EXPECT_FALSE(with(kFrameSize + 3, 0)) << "a wrong length";
  for (std::size_t n = 0; n < good.size(); ++n)
    EXPECT_FALSE(Joiner::body_is_sound(ConstBytes(good).first(n), view)) << n;
  // What the kernel cannot have said.
  EXPECT_TRUE(cut(super(true, 0), tcp(true, 100)).empty());
  EXPECT_TRUE(cut(super(false, 100), tcp(true, 100)).empty());
  VnetHeader beyond;
  beyond.flags = kNeedsChecksum;
  beyond.csum_start = 60'000;
  EXPECT_TRUE(cut(beyond, tcp(true, 100)).empty());
}

// ---- choice -------------------------------------------------------------------------------------------------------

using peers::PathState;
using peers::Use;

TEST(Choice, LeavesVxlanWhenItIsDownAndReturnsWhenItIsUp) {
  peers::PathChoice c;
  peers::Situation s;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::undecided) << "what the kernel has, stays";
  s.vxlan = s.tunnel = PathState::up;
  EXPECT_TRUE(c.decide(s));
  EXPECT_EQ(c.use(), Use::vxlan);
  EXPECT_FALSE(c.decide(s));
  s.vxlan = PathState::down;
  s.tunnel_doubtful = true;
  EXPECT_FALSE(c.decide(s)) << "the peer may be gone";
  s.tunnel_doubtful = false;
  s.vxlan_reason = "UDP 6784 does not pass";
  EXPECT_TRUE(c.decide(s));
  EXPECT_EQ(c.use(), Use::tunnel);
  EXPECT_EQ(c.why(), "vxlan: UDP 6784 does not pass");
  s.tunnel = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel) << "nothing works: nothing is changed";
  s.vxlan = PathState::degraded;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "bad is better than nothing";
  s.vxlan_loss = 60;
  s.tunnel = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel);
  s.vxlan_loss = 8;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel) << "not back before it is well";
  s.vxlan = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan);
  EXPECT_EQ(c.switches(), 4u);
  s.vxlan = s.tunnel = PathState::down;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "isolated: stays";
}

TEST(Choice, WhatMustBeEncryptedNeverTakesVxlan) {
  for (auto vxlan : {PathState::unknown, PathState::up, PathState::down})
    for (auto tunnel : {PathState::unknown, PathState::probing, PathState::up, PathState::down}) {
      peers::PathChoice c;
      peers::Situation s;
      s.vxlan = vxlan;
      s.tunnel = tunnel;
      c.decide(s);
      s.must_encrypt = true;
      s.who_demands = "n2 requires encryption";
      c.decide(s);
      EXPECT_EQ(c.use(), Use::tunnel);
      EXPECT_EQ(c.why(), "n2 requires encryption");
      s.must_encrypt = false;
      c.decide(s);
      EXPECT_EQ(c.use(), vxlan == PathState::up ? Use::vxlan : Use::tunnel) << "back only to what is known to work";
    }
}

TEST(Choice, PlainRoutesAreTheBestWhereBothWantThem) {
  peers::PathChoice c;
  peers::Situation s;
  s.vxlan = s.tunnel = s.direct = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "not offered";
  s.offered_direct = true;
  s.direct = PathState::probing;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "not known to work";
  s.direct = PathState::up;
  EXPECT_TRUE(c.decide(s));
  EXPECT_EQ(c.use(), Use::direct);
  EXPECT_EQ(c.beside(), Use::vxlan);
  s.vxlan = PathState::down;
  EXPECT_TRUE(c.decide(s)) << "what has no plain route must go elsewhere";
  EXPECT_EQ(c.use(), Use::direct);
  EXPECT_EQ(c.beside(), Use::tunnel);
  s.direct = PathState::down;
  s.direct_reason = "port security";
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel);
  s.vxlan = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan);
  EXPECT_EQ(c.why(), "direct: port security");
  s.direct = PathState::degraded;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan) << "not back before it is well";
  s.direct = PathState::up;
  c.decide(s);
  s.direct = PathState::degraded;
  s.direct_loss = 12;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::direct) << "a little loss is no reason";
  s.direct_loss = 40;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::vxlan);
  s.direct = PathState::up;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::direct);
  s.must_encrypt = true;
  c.decide(s);
  EXPECT_EQ(c.use(), Use::tunnel);
}

}  // namespace
}  // namespace trama::overlay::tunnel
