// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <string>
#include <string_view>

#include <openssl/evp.h>

#include "base/c_ptr.h"
#include "base/result.h"

namespace trama::pki {

using Pkey = base::CPtr<EVP_PKEY, EVP_PKEY_free>;

// A private key; ours are always P-256.
class PrivateKey {
 public:
  static base::Result<PrivateKey> generate();
  static base::Result<PrivateKey> from_pem(std::string_view pem);
  base::Result<std::string> to_pem() const;  // PKCS#8, unencrypted: store it with mode 0600
  EVP_PKEY* get() const { return key_.get(); }

 private:
  explicit PrivateKey(Pkey key) : key_(std::move(key)) {}
  friend class base::Result<PrivateKey>;
  Pkey key_;
};

// The newest entry of OpenSSL's error queue as an Error; the queue is emptied.
base::Error openssl_error(std::string what);

}  // namespace trama::pki
