// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/tunnel/lane.h"

#include <cstring>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

namespace trama::overlay::tunnel {

using base::Error;
using base::Result;

namespace {

constexpr std::uint8_t kMagic = 'T', kVersion = 1;
constexpr std::string_view kLabel = "trama tunnel lane v1";

using Nonce = std::array<std::uint8_t, 12>;
using Context = base::CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;

const EVP_CIPHER* evp(Cipher cipher) {
  return cipher == Cipher::aes_256_gcm ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
}

// HKDF-Expand to two blocks: a key and the nonce's mask. Wiped when it goes.
struct Expanded {
  std::array<std::uint8_t, 64> bytes{};
  ~Expanded() { OPENSSL_cleanse(bytes.data(), bytes.size()); }
};

bool expand(Expanded& out, Cipher cipher, const Secret& secret, std::uint8_t lane) {
  std::array<std::uint8_t, 32 + kLabel.size() + 3> info{};
  std::size_t previous = 0;
  for (std::uint8_t block = 1; block <= 2; ++block) {
    if (block == 2) std::memcpy(info.data(), out.bytes.data(), previous = 32);
    auto at = previous;
    std::memcpy(info.data() + at, kLabel.data(), kLabel.size());
    at += kLabel.size();
    info[at++] = static_cast<std::uint8_t>(cipher);
    info[at++] = lane;
    info[at++] = block;
    unsigned size = 32;
    if (!HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), info.data(), at,
              out.bytes.data() + 32 * (block - 1), &size))
      return false;
  }
  OPENSSL_cleanse(info.data(), info.size());
  return true;
}

Nonce nonce_of(const Nonce& mask, std::uint64_t counter) {
  Nonce out = mask;
  for (unsigned i = 0; i < 8; ++i) out[4 + i] ^= static_cast<std::uint8_t>(counter >> (8 * (7 - i)));
  return out;
}

std::uint8_t* raw(std::byte* p) { return reinterpret_cast<std::uint8_t*>(p); }

Result<Context> make_context(Cipher cipher, const Secret& secret, std::uint8_t lane, Nonce& mask, bool seal) {
  Context context(EVP_CIPHER_CTX_new());
  Expanded keys;
  if (!context || !expand(keys, cipher, secret, lane) ||
      EVP_CipherInit_ex(context.get(), evp(cipher), nullptr, keys.bytes.data(), nullptr, seal ? 1 : 0) != 1)
    return Error::text("make a key of the tunnel");
  std::memcpy(mask.data(), keys.bytes.data() + 32, mask.size());
  return context;
}

}  // namespace

const char* to_string(Cipher cipher) { return cipher == Cipher::aes_256_gcm ? "AES-256-GCM" : "ChaCha20-Poly1305"; }

bool aes_is_fast() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(__aarch64__)
  constexpr unsigned long kAes = 1 << 3, kPmull = 1 << 4;
  return (getauxval(AT_HWCAP) & (kAes | kPmull)) == (kAes | kPmull);
#else
  return false;
#endif
}

std::optional<DataHeader> parse_data_header(std::span<const std::byte> datagram) {
  if (datagram.size() < kSealedOverhead) return std::nullopt;
  auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(datagram[i]); };
  if (at(0) != kMagic || at(1) != kVersion || (at(2) != kDataType && at(2) != kRelayType) || at(3) >= kLanes)
    return std::nullopt;
  DataHeader h;
  h.type = at(2);
  h.lane = at(3);
  for (std::size_t i = 4; i < 8; ++i) h.index = h.index << 8 | at(i);
  for (std::size_t i = 8; i < 16; ++i) h.counter = h.counter << 8 | at(i);
  return h;
}

Result<SealingLane> SealingLane::make(Cipher cipher, const Secret& secret, std::uint8_t lane) {
  SealingLane out;
  out.lane_ = lane;
  auto context = make_context(cipher, secret, lane, out.mask_, true);
  if (!context) return std::move(context).error();
  out.context_ = std::move(*context);
  return out;
}

bool SealingLane::seal(std::uint32_t index, std::byte* datagram, std::size_t size, std::uint8_t type) {
  if (counter_ >= kMostSealed) return false;
  auto counter = ++counter_;
  auto* d = raw(datagram);
  d[0] = kMagic;
  d[1] = kVersion;
  d[2] = type;
  d[3] = lane_;
  for (unsigned i = 0; i < 4; ++i) d[4 + i] = static_cast<std::uint8_t>(index >> (8 * (3 - i)));
  for (unsigned i = 0; i < 8; ++i) d[8 + i] = static_cast<std::uint8_t>(counter >> (8 * (7 - i)));
  auto nonce = nonce_of(mask_, counter);
  auto* c = context_.get();
  auto* body = d + kHeaderSize;
  int n = 0, rest = 0;
  return EVP_EncryptInit_ex(c, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
         EVP_EncryptUpdate(c, nullptr, &n, d, static_cast<int>(kHeaderSize)) == 1 &&
         EVP_EncryptUpdate(c, body, &n, body, static_cast<int>(size)) == 1 &&
         EVP_EncryptFinal_ex(c, body + n, &rest) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagSize), body + size) == 1;
}

Result<OpeningLane> OpeningLane::make(Cipher cipher, const Secret& secret, std::uint8_t lane) {
  OpeningLane out;
  auto context = make_context(cipher, secret, lane, out.mask_, false);
  if (!context) return std::move(context).error();
  out.context_ = std::move(*context);
  return out;
}

OpeningLane::Verdict OpeningLane::open(const DataHeader& header, Bytes datagram, Bytes& body) {
  if (!window_.fresh(header.counter)) return Verdict::replayed;
  auto size = datagram.size() - kSealedOverhead;
  auto* d = raw(datagram.data());
  auto* sealed = d + kHeaderSize;
  auto nonce = nonce_of(mask_, header.counter);
  auto* c = context_.get();
  int n = 0, rest = 0;
  bool genuine = EVP_DecryptInit_ex(c, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
                 EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(kTagSize), sealed + size) == 1 &&
                 EVP_DecryptUpdate(c, nullptr, &n, d, static_cast<int>(kHeaderSize)) == 1 &&
                 EVP_DecryptUpdate(c, sealed, &n, sealed, static_cast<int>(size)) == 1 &&
                 EVP_DecryptFinal_ex(c, sealed + n, &rest) == 1;
  if (!genuine) return Verdict::forged;
  window_.take(header.counter);
  body = datagram.subspan(kHeaderSize, size);
  return Verdict::genuine;
}

}  // namespace trama::overlay::tunnel
