// SPDX-License-Identifier: GPL-2.0-or-later
// X.509 certificates and certificate signing requests, as far as the cluster needs them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/x509.h>

#include "base/ip.h"
#include "control/pki/key.h"

namespace trama::pki {

using X509Ptr = base::CPtr<X509, X509_free>;
using X509ReqPtr = base::CPtr<X509_REQ, X509_REQ_free>;

// Who a certificate speaks for: user name (CN) and groups (O), as Kubernetes reads them.
struct Subject {
  std::string common_name;
  std::vector<std::string> organizations;
  bool other = false;  // attributes beyond CN and O are present
  friend bool operator==(const Subject&, const Subject&) = default;
};

struct AltNames {
  std::vector<std::string> dns;
  std::vector<base::Ip> ips;
  bool other = false;  // e-mail, URI and the like are present
  bool empty() const { return dns.empty() && ips.empty() && !other; }
  friend bool operator==(const AltNames&, const AltNames&) = default;
};

class Certificate {
 public:
  static base::Result<Certificate> from_pem(std::string_view pem);  // the first one in the text
  static base::Result<std::vector<Certificate>> chain_from_pem(std::string_view pem);
  // Takes a reference of its own.
  static Certificate of(X509* x);
  explicit Certificate(X509Ptr x) : x_(std::move(x)) {}
  Certificate() = default;

  base::Result<std::string> to_pem() const;
  Subject subject() const;
  AltNames alt_names() const;
  std::int64_t not_before() const;  // seconds since 1970
  std::int64_t not_after() const;
  std::string serial() const;  // hex
  bool is_ca() const;
  bool is_for_servers() const;  // extended key usage, or none at all
  bool is_for_clients() const;
  // SHA-256 of the SubjectPublicKeyInfo, lower-case hex: what a join string pins.
  std::string spki_pin() const;
  // True when `ca` signed this certificate; says nothing about validity times.
  bool signed_by(const Certificate& ca) const;
  bool matches(const PrivateKey& key) const;
  X509* get() const { return x_.get(); }

 private:
  X509Ptr x_;
};

// A parsed and self-signature-checked PKCS#10 request.
struct SigningRequest {
  Subject subject;
  AltNames alt_names;
  X509ReqPtr raw;
  // Errors: not PEM, bad self-signature, RSA below 2048 bit or EC below 224 bit.
  static base::Result<SigningRequest> from_pem(std::string_view pem);
};

base::Result<std::string> make_signing_request(const PrivateKey& key, const Subject& subject, const AltNames& names);

// OpenSSL's rendering of `sans` for an extension: "DNS:a,IP:10.0.0.1".
std::string to_openssl(const AltNames& names);

}  // namespace trama::pki
