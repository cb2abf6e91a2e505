// SPDX-License-Identifier: GPL-2.0-or-later
// Sealing and opening of the datagrams that carry packets. Pure, and free of allocations once made.
//
//   datagram  u8 'T', u8 version, u8 type (16, 17), u8 lane, u32 receiver's index, u64 counter, sealed body, 16 bytes
//   tag
//
// A lane is one sender's thread: it counts by itself and has a key of its own, so threads share nothing while they
// seal. Keys come from the secret of one direction of one TLS session (RFC 8446 section 7.5), expanded for each lane
// (RFC 5869); the nonce is the counter, masked (RFC 9001 section 5.3). Nothing that was sealed for one session,
// direction or lane opens in another.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/c_ptr.h"
#include "base/result.h"
#include "overlay/peers/replay_window.h"

struct evp_cipher_ctx_st;
extern "C" void EVP_CIPHER_CTX_free(evp_cipher_ctx_st*);

namespace trama::overlay::tunnel {

enum class Cipher : std::uint8_t { aes_256_gcm, chacha20_poly1305 };
const char* to_string(Cipher cipher);
// Whether this CPU has instructions for AES; without them ChaCha20 is the faster one, and the safer one.
bool aes_is_fast();

constexpr std::size_t kSecretSize = 32;
constexpr unsigned kLanes = 16;
constexpr std::uint8_t kDataType = 16, kRelayType = 17;  // a packet; a datagram in an envelope (envelope.h)
constexpr std::size_t kHeaderSize = 16, kTagSize = 16, kSealedOverhead = kHeaderSize + kTagSize;
// Beyond that a lane seals no more: AES-GCM's margin for packets of that size (RFC 9001 appendix B) is 2^28. Sessions
// are renewed long before.
constexpr std::uint64_t kMostSealed = std::uint64_t{1} << 28;

using Secret = std::array<std::uint8_t, kSecretSize>;
using Bytes = std::span<std::byte>;

struct DataHeader {
  std::uint8_t type = kDataType;
  std::uint8_t lane = 0;
  std::uint32_t index = 0;
  std::uint64_t counter = 0;
};
// Nothing for what cannot be a datagram with a packet in it.
std::optional<DataHeader> parse_data_header(std::span<const std::byte> datagram);

class SealingLane {
 public:
  static base::Result<SealingLane> make(Cipher cipher, const Secret& secret, std::uint8_t lane);
  // In place: the body, `size` bytes, stands at datagram + kHeaderSize. The datagram is then kSealedOverhead longer
  // than the body. False once the lane is used up.
  bool seal(std::uint32_t index, std::byte* datagram, std::size_t size, std::uint8_t type = kDataType);
  std::uint64_t sealed() const { return counter_; }
  void skip_to(std::uint64_t counter) { counter_ = counter; }  // for tests

 private:
  SealingLane() = default;
  base::CPtr<evp_cipher_ctx_st, EVP_CIPHER_CTX_free> context_;
  std::array<std::uint8_t, 12> mask_{};
  std::uint8_t lane_ = 0;
  std::uint64_t counter_ = 0;
};

class OpeningLane {
 public:
  static base::Result<OpeningLane> make(Cipher cipher, const Secret& secret, std::uint8_t lane);
  enum class Verdict { genuine, forged, replayed };
  // In place; `body` is then the plain body. Only a genuine datagram moves the window.
  Verdict open(const DataHeader& header, Bytes datagram, Bytes& body);

 private:
  OpeningLane() = default;
  base::CPtr<evp_cipher_ctx_st, EVP_CIPHER_CTX_free> context_;
  std::array<std::uint8_t, 12> mask_{};
  peers::BasicReplayWindow<8192> window_;
};

}  // namespace trama::overlay::tunnel
