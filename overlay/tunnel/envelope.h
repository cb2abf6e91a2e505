// SPDX-License-Identifier: GPL-2.0-or-later
// A datagram inside of a datagram: to a third node that passes it on, and from there to its receiver. Pure.
//
//   body   u8 0, u8 hops, u16 0, u64 node, then the datagram as it would have gone directly
//
// hops   1 on the way to the third node, and `node` is whom it is for; 0 behind it, and `node` is who it is from. So
//        it is passed on once: what has arrived with 0 is for its receiver, and an envelope in an envelope is nothing.
//
// Each of the two ways is sealed with the keys of the two nodes at its ends; what is inside, with keys that the third
// node does not have.
#pragma once

#include <optional>
#include <string_view>

#include "overlay/tunnel/lane.h"

namespace trama::overlay::tunnel {

constexpr std::size_t kEnvelopeSize = 12;
constexpr std::size_t kRelayOverhead = kSealedOverhead + kEnvelopeSize;
constexpr std::size_t kLargestInside = 16 * 1024;

struct Envelope {
  std::uint8_t hops = 0;
  std::uint64_t node = 0;
  std::uint8_t type = 0;  // of the datagram inside: of a probe, or kDataType
  Bytes inside;
};
// Writes the first kEnvelopeSize bytes of a body.
void put_envelope(std::byte* body, std::uint8_t hops, std::uint64_t node);
// Nothing for what no node of ours would have sealed.
std::optional<Envelope> parse_envelope(Bytes body);

// What a node is called in there: the first 64 bits of SHA-256 of its name. Whoever shares them with another one is
// not reached over a third node: the keys inside do not fit.
std::uint64_t node_number(std::string_view name);

// How much one peer may have passed on: so many bytes each second, and at first as many as come at once.
class RelayBudget {
 public:
  static constexpr double kRate = 64.0 * 1024 * 1024, kBurst = 8.0 * 1024 * 1024;
  explicit RelayBudget(double rate = kRate, double burst = kBurst) : rate_(rate), burst_(burst), left_(burst) {}
  bool take(std::size_t bytes, double seconds) {
    if (seconds > last_) left_ = std::min(burst_, left_ + (seconds - last_) * rate_);
    last_ = std::max(last_, seconds);
    if (left_ < static_cast<double>(bytes)) return false;
    left_ -= static_cast<double>(bytes);
    return true;
  }

 private:
  double rate_, burst_, left_, last_ = 0;
};

}  // namespace trama::overlay::tunnel
