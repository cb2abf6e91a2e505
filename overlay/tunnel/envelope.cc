// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/envelope.h"

#include "base/digest.h"
#include "overlay/peers/wire.h"

namespace trama::overlay::tunnel {

namespace {

bool may_be_inside(std::uint8_t type) {
  return type == kDataType || type == static_cast<std::uint8_t>(peers::DatagramType::relay_probe) ||
         type == static_cast<std::uint8_t>(peers::DatagramType::relay_answer);
}

}  // namespace

void put_envelope(std::byte* body, std::uint8_t hops, std::uint64_t node) {
  body[0] = body[2] = body[3] = std::byte{0};
  body[1] = static_cast<std::byte>(hops);
  for (unsigned i = 0; i < 8; ++i) body[4 + i] = static_cast<std::byte>(node >> (8 * (7 - i)));
}

std::optional<Envelope> parse_envelope(Bytes body) {
  auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(body[i]); };
  if (body.size() < kEnvelopeSize + kSealedOverhead || body.size() > kEnvelopeSize + kLargestInside)
    return std::nullopt;
  if (at(0) != 0 || at(1) > 1 || at(2) != 0 || at(3) != 0) return std::nullopt;
  Envelope e;
  e.hops = at(1);
  for (std::size_t i = 4; i < kEnvelopeSize; ++i) e.node = e.node << 8 | at(i);
  e.inside = body.subspan(kEnvelopeSize);
  if (static_cast<std::uint8_t>(e.inside[0]) != peers::kDatagramMagic ||
      static_cast<std::uint8_t>(e.inside[1]) != peers::kDatagramVersion)
    return std::nullopt;
  e.type = static_cast<std::uint8_t>(e.inside[2]);
  if (!may_be_inside(e.type)) return std::nullopt;
  return e;
}

std::uint64_t node_number(std::string_view name) {
  auto digest = base::sha256(name);
  std::uint64_t out = 0;
  for (std::size_t i = 0; i < 8; ++i) out = out << 8 | digest[i];
  return out;
}

}  // namespace trama::overlay::tunnel
