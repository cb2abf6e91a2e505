// SPDX-License-Identifier: GPL-2.0-or-later
// What strangers send as a datagram, what a peer has sealed that is no packet, and what a TUN device hands out. The
// first byte says which; what comes out is what the kernel on the other side may be given.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "overlay/tunnel/session.h"

namespace {

using namespace trama::overlay::tunnel;

void expect(bool holds) {
  if (!holds) std::abort();
}

std::vector<std::byte> gathered(Joiner::Pieces pieces) {
  std::vector<std::byte> out;
  for (const auto& p : pieces) {
    const auto* from = static_cast<const std::byte*>(p.iov_base);
    out.insert(out.end(), from, from + p.iov_len);
  }
  return out;
}

// A piece for the kernel is a header and exactly one packet.
void check_piece(Joiner::Pieces pieces) {
  auto all = gathered(pieces);
  VnetHeader vnet;
  expect(all.size() > sizeof vnet);
  std::memcpy(&vnet, all.data(), sizeof vnet);
  PacketView view;
  auto packet = ConstBytes(all).subspan(sizeof vnet);
  expect(look_at_packet(packet, view));
  expect(view.headers <= packet.size());
  if (vnet.flags & kNeedsChecksum) expect(vnet.csum_start + vnet.csum_offset + 2u <= packet.size());
  if (vnet.gso_type != kGsoNone) expect(vnet.gso_size > 0 && packet.size() > view.headers + vnet.gso_size);
}

void join(std::span<const std::byte> data) {
  Joiner joiner;
  while (data.size() >= 2) {
    auto size = static_cast<std::size_t>(data[0]) << 8 | static_cast<std::size_t>(data[1]);
    data = data.subspan(2);
    auto body = data.first(std::min(size, data.size()));
    data = data.subspan(body.size());
    PacketView view;
    bool sound = Joiner::body_is_sound(body, view);
    expect(joiner.add(body, check_piece) == sound);
    if (sound) (void)view.source(), (void)view.destination();
  }
  joiner.flush(check_piece);
}

void cut(std::span<const std::byte> data) {
  VnetHeader vnet;
  if (data.size() < sizeof vnet) return;
  std::memcpy(&vnet, data.data(), sizeof vnet);
  std::vector<std::byte> packet(data.begin() + sizeof vnet, data.end());
  Cutter cutter;
  if (!cutter.start(vnet, packet)) return;
  Joiner joiner;
  std::vector<std::vector<std::byte>> bodies;
  while (!cutter.done() && bodies.size() < 4096) {
    bodies.emplace_back(cutter.next_size());
    cutter.next(bodies.back().data());
    PacketView view;
    expect(Joiner::body_is_sound(bodies.back(), view));
  }
  for (const auto& b : bodies) expect(joiner.add(b, check_piece));
  joiner.flush(check_piece);
}

void receive(std::span<const std::byte> data) {
  static auto session = [] {
    trama::overlay::peers::TunnelPort::Keys keys;
    keys.node = "n2";
    return *Session::make(keys, 1);
  }();
  std::vector<std::byte> datagram(data.begin(), data.end());
  auto header = parse_data_header(datagram);
  if (!header) return;
  expect(header->lane < kLanes && datagram.size() >= kSealedOverhead);
  Bytes body;
  expect(session->open(*header, datagram, body) != OpeningLane::Verdict::genuine);  // whoever guesses a tag
}

// What a peer may have sealed around a datagram.
void unwrap(std::span<const std::byte> data) {
  std::vector<std::byte> body(data.begin(), data.end());
  auto e = parse_envelope(body);
  if (!e) return;
  expect(e->hops <= 1 && e->type != kRelayType);
  expect(e->inside.size() >= kSealedOverhead && e->inside.size() + kEnvelopeSize == body.size());
  expect(e->inside.data() == body.data() + kEnvelopeSize);
  std::array<std::byte, kEnvelopeSize> again{};
  put_envelope(again.data(), e->hops, e->node);
  expect(std::memcmp(again.data(), body.data(), again.size()) == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  auto rest = std::as_bytes(std::span(data + 1, size - 1));
  switch (data[0]) {
    case 'j': join(rest); break;
    case 'c': cut(rest); break;
    case 'e': unwrap(rest); break;
    default: receive(rest);
  }
  return 0;
}
