// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include <openssl/crypto.h>

namespace trama::overlay::tunnel {

using base::Result;

namespace {
constexpr std::uint8_t kMeshLane = kLanes - 1;  // behind those of workers
}

Result<std::shared_ptr<Session>> Session::make(const peers::TunnelPort::Keys& keys, unsigned workers) {
  std::shared_ptr<Session> out(new Session());
  out->node_ = keys.node;
  out->number_ = node_number(keys.node);
  out->my_index_ = keys.my_index;
  out->their_index_ = keys.their_index;
  out->cipher_ = keys.aes ? Cipher::aes_256_gcm : Cipher::chacha20_poly1305;
  out->receiving_ = keys.receiving;
  for (unsigned i = 0; i <= workers; ++i) {
    auto lane = SealingLane::make(out->cipher_, keys.sending, i < workers ? static_cast<std::uint8_t>(i) : kMeshLane);
    if (!lane) return std::move(lane).error();
    out->sealing_.push_back(std::unique_ptr<Sealing>(new Sealing{std::move(*lane)}));
  }
  return out;
}

Session::~Session() { OPENSSL_cleanse(receiving_.data(), receiving_.size()); }

bool Session::seal(unsigned lane, std::byte* datagram, std::size_t size, std::uint8_t type) {
  auto& sealing = *sealing_[lane];
  bool done = sealing.lane.seal(their_index_, datagram, size, type);
  sealing.sealed.store(sealing.lane.sealed(), std::memory_order_relaxed);
  return done;
}

OpeningLane::Verdict Session::open(const DataHeader& header, Bytes datagram, Bytes& body) {
  auto& opening = opening_[header.lane];
  std::lock_guard lock(opening.mutex);
  if (!opening.lane) {
    auto made = OpeningLane::make(cipher_, receiving_, header.lane);
    if (!made) return OpeningLane::Verdict::forged;
    opening.lane.emplace(std::move(*made));
  }
  return opening.lane->open(header, datagram, body);
}

bool Session::may_relay(std::size_t bytes) {
  std::chrono::duration<double> now = std::chrono::steady_clock::now().time_since_epoch();
  std::lock_guard lock(budget_mutex_);
  return budget_.take(bytes, now.count());
}

std::uint64_t Session::busiest() const {
  std::uint64_t most = 0;
  for (const auto& s : sealing_) most = std::max(most, s->sealed.load(std::memory_order_relaxed));
  return most;
}

Prefix::Prefix(const base::Cidr& cidr) : v4(cidr.family() == base::Family::v4) {
  std::memcpy(address.data(), cidr.address().bytes().data(), cidr.address().size());
  for (unsigned bit = 0; bit < cidr.length(); ++bit)
    mask[bit / 8] = static_cast<std::uint8_t>(mask[bit / 8] | 0x80 >> bit % 8);
}

bool Prefix::contains(const std::byte* ip) const {
  std::size_t size = v4 ? 4 : 16;
  for (std::size_t i = 0; i < size; ++i)
    if ((static_cast<std::uint8_t>(ip[i]) & mask[i]) != address[i]) return false;
  return true;
}

bool Target::speaks_for(const PacketView& packet) const {
  return std::any_of(pods.begin(), pods.end(),
                     [&](const Prefix& p) { return p.v4 == packet.v4 && p.contains(packet.source_bytes()); });
}

const Target* Tables::to(const PacketView& packet) const {
  const auto& ranges = packet.v4 ? ranges4 : ranges6;
  std::size_t size = packet.v4 ? 4 : 16;
  const auto* ip = packet.destination_bytes();
  auto after = std::upper_bound(ranges.begin(), ranges.end(), ip, [&](const std::byte* address, const Range& range) {
    return std::memcmp(address, range.first.data(), size) < 0;
  });
  if (after == ranges.begin()) return nullptr;
  const auto& range = *std::prev(after);
  return std::memcmp(ip, range.last.data(), size) <= 0 ? &targets[range.target] : nullptr;
}

}  // namespace trama::overlay::tunnel
