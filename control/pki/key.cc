// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/key.h"

#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>

namespace trama::pki {

using base::Error;
using base::Result;

Error openssl_error(std::string what) {
  unsigned long last = 0;
  while (unsigned long e = ERR_get_error()) last = e;
  char text[256] = "no reason given";
  if (last != 0) ERR_error_string_n(last, text, sizeof text);
  return Error::text(fmt::format("{}: {}", what, text));
}

Result<PrivateKey> PrivateKey::generate() {
  Pkey key(EVP_EC_gen("P-256"));
  if (!key) return openssl_error("make a P-256 key");
  return PrivateKey(std::move(key));
}

Result<PrivateKey> PrivateKey::from_pem(std::string_view pem) {
  base::CPtr<BIO, BIO_free_all> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  if (!in) return openssl_error("read a private key");
  // An encrypted key would make OpenSSL ask on the terminal: answer with an empty passphrase instead.
  auto no_passphrase = [](char*, int, int, void*) { return 0; };
  Pkey key(PEM_read_bio_PrivateKey(in.get(), nullptr, no_passphrase, nullptr));
  if (!key) return openssl_error("this is not an unencrypted private key in PEM form");
  return PrivateKey(std::move(key));
}

Result<std::string> PrivateKey::to_pem() const {
  base::CPtr<BIO, BIO_free_all> out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_PKCS8PrivateKey(out.get(), key_.get(), nullptr, nullptr, 0, nullptr, nullptr) != 1)
    return openssl_error("write a private key");
  char* data = nullptr;
  auto size = BIO_get_mem_data(out.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

}  // namespace trama::pki
