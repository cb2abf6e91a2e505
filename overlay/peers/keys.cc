// SPDX-License-Identifier: GPL-2.0-or-later
#include "overlay/peers/keys.h"

#include <array>
#include <cstring>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/c_ptr.h"

namespace trama::overlay::peers {
namespace {

using CipherContext = base::CPtr<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>;
using Nonce = std::array<unsigned char, 12>;

const unsigned char* bytes(std::string_view s) { return reinterpret_cast<const unsigned char*>(s.data()); }
unsigned char* bytes(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }

struct Direction {
  std::array<unsigned char, kKeySize> key{};
  std::array<unsigned char, kSaltSize> salt{};

  void take(std::string_view& exported) {
    std::memcpy(key.data(), exported.data(), key.size());
    std::memcpy(salt.data(), exported.data() + key.size(), salt.size());
    exported.remove_prefix(key.size() + salt.size());
  }
  Nonce nonce(std::uint64_t counter) const {
    Nonce out{};
    std::memcpy(out.data(), salt.data(), salt.size());
    for (unsigned i = 0; i < 8; ++i) out[4 + i] = static_cast<unsigned char>(counter >> (8 * (7 - i)));
    return out;
  }
  ~Direction() { OPENSSL_cleanse(key.data(), key.size()); }
};

}  // namespace

struct DatagramKeys::Impl {
  Direction sending, receiving;
  std::uint32_t my_index = 0, their_index = 0;
  std::uint64_t counter = 0, opened = 0, refused = 0;
  ReplayWindow window;
  CipherContext context{EVP_CIPHER_CTX_new()};

  std::optional<std::string> decrypt(std::string_view datagram, std::uint64_t number) {
    auto header = datagram.substr(0, kDatagramHeader);
    auto sealed = datagram.substr(kDatagramHeader, datagram.size() - kDatagramHeader - kTagSize);
    std::string tag(datagram.substr(datagram.size() - kTagSize));
    std::string plain(sealed.size(), '\0');
    auto nonce = receiving.nonce(number);
    auto* c = context.get();
    int n = 0;
    bool genuine = EVP_DecryptInit_ex(c, EVP_chacha20_poly1305(), nullptr, receiving.key.data(), nonce.data()) == 1 &&
                   EVP_DecryptUpdate(c, nullptr, &n, bytes(header), static_cast<int>(header.size())) == 1 &&
                   EVP_DecryptUpdate(c, bytes(plain), &n, bytes(sealed), static_cast<int>(sealed.size())) == 1 &&
                   EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, static_cast<int>(tag.size()), tag.data()) == 1 &&
                   EVP_DecryptFinal_ex(c, bytes(plain) + n, &n) == 1;
    if (!genuine) return std::nullopt;
    return plain;
  }
};

DatagramKeys::DatagramKeys(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DatagramKeys::DatagramKeys(DatagramKeys&&) noexcept = default;
DatagramKeys& DatagramKeys::operator=(DatagramKeys&&) noexcept = default;
DatagramKeys::~DatagramKeys() = default;

base::Result<DatagramKeys> DatagramKeys::make(std::string_view exported, Side side, std::uint32_t my_index,
                                              std::uint32_t their_index) {
  if (exported.size() != kExportedSize) return base::Error::text("exported keying material of a wrong size");
  auto impl = std::make_unique<Impl>();
  if (!impl->context) return base::Error::text("no memory for a cipher", std::errc::not_enough_memory);
  (side == Side::dialer ? impl->sending : impl->receiving).take(exported);
  (side == Side::dialer ? impl->receiving : impl->sending).take(exported);
  impl->my_index = my_index;
  impl->their_index = their_index;
  return DatagramKeys(std::move(impl));
}

std::string DatagramKeys::seal(DatagramType type, std::string_view body) {
  auto& self = *impl_;
  auto out = encode(DatagramHeader{type, self.their_index, ++self.counter});
  out.resize(kDatagramHeader + body.size() + kTagSize);
  auto nonce = self.sending.nonce(self.counter);
  auto* c = self.context.get();
  int n = 0;
  EVP_EncryptInit_ex(c, EVP_chacha20_poly1305(), nullptr, self.sending.key.data(), nonce.data());
  EVP_EncryptUpdate(c, nullptr, &n, bytes(out), static_cast<int>(kDatagramHeader));
  EVP_EncryptUpdate(c, bytes(out) + kDatagramHeader, &n, bytes(body), static_cast<int>(body.size()));
  EVP_EncryptFinal_ex(c, bytes(out) + kDatagramHeader + n, &n);
  EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, static_cast<int>(kTagSize), bytes(out) + kDatagramHeader + body.size());
  return out;
}

std::optional<DatagramKeys::Opened> DatagramKeys::open(std::string_view datagram) {
  auto& self = *impl_;
  auto header = parse_datagram_header(datagram);
  if (header && header->index == self.my_index && self.window.fresh(header->counter)) {
    if (auto plain = self.decrypt(datagram, header->counter)) {
      bool newest = header->counter > self.window.highest();
      self.window.take(header->counter);
      ++self.opened;
      return Opened{header->type, std::move(*plain), newest};
    }
  }
  ++self.refused;
  return std::nullopt;
}

std::uint32_t DatagramKeys::my_index() const { return impl_->my_index; }
std::uint64_t DatagramKeys::opened() const { return impl_->opened; }
std::uint64_t DatagramKeys::refused() const { return impl_->refused; }

}  // namespace trama::overlay::peers
