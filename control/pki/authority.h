// SPDX-License-Identifier: GPL-2.0-or-later
// The cluster's certificate authority.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "control/pki/certificate.h"

namespace trama::pki {

struct Usage {
  bool server = false;
  bool client = false;
};

struct Issue {
  Subject subject;
  AltNames names;
  Usage usage;
  std::int64_t now = 0;  // seconds since 1970; validity starts five minutes earlier, or a twelfth of a short life
  std::chrono::seconds life{7 * 24 * 3600};
};

// A certificate with its key, as text.
struct KeyPair {
  std::string certificate_pem;
  std::string key_pem;
};

// Owns the CA's key. The key never leaves the process except into its file. It signs certificates, and tokens of
// ServiceAccounts (jwt.h): what is signed for the one can never be read as the other.
class Authority {
 public:
  static base::Result<Authority> create(const std::string& common_name, std::int64_t now);  // P-256, 10 years
  static base::Result<Authority> from_pem(std::string_view certificate_pem, std::string_view key_pem);

  const Certificate& certificate() const { return certificate_; }
  std::string certificate_pem() const { return pem_; }
  base::Result<std::string> key_pem() const { return key_.to_pem(); }
  std::string pin() const { return certificate_.spki_pin(); }
  const PrivateKey& key() const { return key_; }

  // A certificate for a key that we do not have; subject and names come from `issue`, not from the request.
  base::Result<std::string> sign(EVP_PKEY* public_key, const Issue& issue) const;
  base::Result<std::string> sign(const SigningRequest& request, const Issue& issue) const;
  // A fresh key and its certificate.
  base::Result<KeyPair> issue(const Issue& issue) const;

 private:
  Authority(PrivateKey key, Certificate certificate, std::string pem)
      : key_(std::move(key)), certificate_(std::move(certificate)), pem_(std::move(pem)) {}
  PrivateKey key_;
  Certificate certificate_;
  std::string pem_;
};

}  // namespace trama::pki
