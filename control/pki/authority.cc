// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/authority.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

namespace trama::pki {

using base::Error;
using base::Result;

namespace {

constexpr std::int64_t kBackdate = 300;  // for clocks that are a little behind ours
constexpr std::int64_t kAuthorityLife = 10LL * 365 * 24 * 3600;

bool set_random_serial(X509* x) {
  base::CPtr<BIGNUM, BN_free> number(BN_new());
  return number && BN_rand(number.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
         BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x)) != nullptr;
}

bool add_extension(X509* x, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, x, nullptr, nullptr, 0);
  base::CPtr<X509_EXTENSION, X509_EXTENSION_free> e(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  return e && X509_add_ext(x, e.get(), -1) == 1;
}

bool set_subject(X509* x, const Subject& subject) {
  X509_NAME* name = X509_get_subject_name(x);
  auto add = [name](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  for (const auto& o : subject.organizations)
    if (!add("O", o)) return false;
  return add("CN", subject.common_name);
}

bool set_validity(X509* x, std::int64_t from, std::int64_t to) {
  return ASN1_TIME_set(X509_getm_notBefore(x), from) != nullptr && ASN1_TIME_set(X509_getm_notAfter(x), to) != nullptr;
}

std::string usages(const Usage& u) {
  if (u.server && u.client) return "serverAuth,clientAuth";
  return u.server ? "serverAuth" : "clientAuth";
}

}  // namespace

Result<Authority> Authority::create(const std::string& common_name, std::int64_t now) {
  auto key = PrivateKey::generate();
  if (!key) return std::move(key).error();
  X509Ptr x(X509_new());
  Subject subject;
  subject.common_name = common_name;
  bool ok = x && X509_set_version(x.get(), X509_VERSION_3) == 1 && set_random_serial(x.get()) &&
            set_subject(x.get(), subject) && X509_set_issuer_name(x.get(), X509_get_subject_name(x.get())) == 1 &&
            set_validity(x.get(), now - kBackdate, now + kAuthorityLife) && X509_set_pubkey(x.get(), key->get()) == 1 &&
            add_extension(x.get(), x.get(), NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
            add_extension(x.get(), x.get(), NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature") &&
            add_extension(x.get(), x.get(), NID_subject_key_identifier, "hash") &&
            X509_sign(x.get(), key->get(), EVP_sha256()) > 0;
  if (!ok) return openssl_error("make the cluster's certificate authority");
  Certificate certificate(std::move(x));
  auto pem = certificate.to_pem();
  if (!pem) return std::move(pem).error();
  return Authority(std::move(*key), std::move(certificate), std::move(*pem));
}

Result<Authority> Authority::from_pem(std::string_view certificate_pem, std::string_view key_pem) {
  auto certificate = Certificate::from_pem(certificate_pem);
  if (!certificate) return std::move(certificate).error().in("the CA's certificate");
  auto key = PrivateKey::from_pem(key_pem);
  if (!key) return std::move(key).error().in("the CA's key");
  if (!certificate->is_ca()) return Error::text("the CA's certificate is not a CA certificate (basicConstraints)");
  if (!certificate->matches(*key)) return Error::text("the CA's certificate and key do not belong together");
  return Authority(std::move(*key), std::move(*certificate), std::string(certificate_pem));
}

Result<std::string> Authority::sign(EVP_PKEY* public_key, const Issue& issue) const {
  if (public_key == nullptr) return Error::text("a certificate needs a public key");
  X509Ptr x(X509_new());
  // A short life must not begin before most of it is over.
  auto backdate = std::min(kBackdate, issue.life.count() / 12);
  // Nothing we sign outlives us.
  auto end = std::min(issue.now + issue.life.count(), certificate_.not_after());
  bool ok = x && X509_set_version(x.get(), X509_VERSION_3) == 1 && set_random_serial(x.get()) &&
            set_subject(x.get(), issue.subject) &&
            X509_set_issuer_name(x.get(), X509_get_subject_name(certificate_.get())) == 1 &&
            set_validity(x.get(), issue.now - backdate, end) && X509_set_pubkey(x.get(), public_key) == 1 &&
            add_extension(x.get(), certificate_.get(), NID_basic_constraints, "critical,CA:FALSE") &&
            add_extension(x.get(), certificate_.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment") &&
            add_extension(x.get(), certificate_.get(), NID_ext_key_usage, usages(issue.usage)) &&
            add_extension(x.get(), certificate_.get(), NID_authority_key_identifier, "keyid:always");
  if (ok && !issue.names.empty())
    ok = add_extension(x.get(), certificate_.get(), NID_subject_alt_name, to_openssl(issue.names));
  ok = ok && X509_sign(x.get(), key_.get(), EVP_sha256()) > 0;
  if (!ok) return openssl_error(fmt::format("sign a certificate for {}", issue.subject.common_name));
  return Certificate(std::move(x)).to_pem();
}

Result<std::string> Authority::sign(const SigningRequest& request, const Issue& issue) const {
  return sign(X509_REQ_get0_pubkey(request.raw.get()), issue);
}

Result<KeyPair> Authority::issue(const Issue& issue) const {
  auto key = PrivateKey::generate();
  if (!key) return std::move(key).error();
  auto certificate = sign(key->get(), issue);
  if (!certificate) return std::move(certificate).error();
  auto pem = key->to_pem();
  if (!pem) return std::move(pem).error();
  return KeyPair{std::move(*certificate), std::move(*pem)};
}

}  // namespace trama::pki
