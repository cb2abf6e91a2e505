// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/pki/certificate.h"

#include <algorithm>
#include <ctime>
#include <memory>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "base/digest.h"

namespace trama::pki {

using base::Error;
using base::Result;

namespace {

using Bio = base::CPtr<BIO, BIO_free_all>;
using Names = base::CPtr<GENERAL_NAMES, GENERAL_NAMES_free>;

Bio reader(std::string_view text) { return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

std::string content(BIO* out) {
  char* data = nullptr;
  auto size = BIO_get_mem_data(out, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

std::string utf8(const ASN1_STRING* s) {
  unsigned char* raw = nullptr;
  int size = ASN1_STRING_to_UTF8(&raw, s);
  if (size < 0) return "";
  std::string text(reinterpret_cast<char*>(raw), static_cast<std::size_t>(size));
  OPENSSL_free(raw);
  // A NUL inside a name has been used to fool comparisons: such a name equals nothing.
  return text.find('\0') == std::string::npos ? text : "";
}

Subject subject_of(const X509_NAME* name) {
  Subject s;
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
    int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    auto text = utf8(X509_NAME_ENTRY_get_data(entry));
    if (nid == NID_commonName && s.common_name.empty())
      s.common_name = text;
    else if (nid == NID_organizationName)
      s.organizations.push_back(text);
    else
      s.other = true;
  }
  return s;
}

AltNames alt_names_of(const GENERAL_NAMES* list) {
  AltNames names;
  for (int i = 0; i < sk_GENERAL_NAME_num(list); ++i) {
    const GENERAL_NAME* g = sk_GENERAL_NAME_value(list, i);
    if (g->type == GEN_DNS) {
      names.dns.push_back(utf8(g->d.dNSName));
    } else if (g->type == GEN_IPADD) {
      auto* raw = reinterpret_cast<const std::byte*>(ASN1_STRING_get0_data(g->d.iPAddress));
      auto ip = base::Ip::from_bytes({raw, static_cast<std::size_t>(ASN1_STRING_length(g->d.iPAddress))});
      if (ip)
        names.ips.push_back(*ip);
      else
        names.other = true;
    } else {
      names.other = true;
    }
  }
  return names;
}

std::int64_t seconds(const ASN1_TIME* t) {
  std::tm tm{};
  if (ASN1_TIME_to_tm(t, &tm) != 1) return 0;
  return timegm(&tm);
}

bool key_is_strong(EVP_PKEY* key) {
  switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA: return EVP_PKEY_get_bits(key) >= 2048 && EVP_PKEY_get_bits(key) <= 8192;
    case EVP_PKEY_EC: return EVP_PKEY_get_bits(key) >= 224;
    case EVP_PKEY_ED25519: return true;
    default: return false;
  }
}

bool add_entry(X509_NAME* name, const char* field, const std::string& value) {
  return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

}  // namespace

Certificate Certificate::of(X509* x) {
  X509_up_ref(x);
  return Certificate(X509Ptr(x));
}

Result<std::vector<Certificate>> Certificate::chain_from_pem(std::string_view pem) {
  auto in = reader(pem);
  std::vector<Certificate> chain;
  while (X509* x = PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr)) chain.emplace_back(X509Ptr(x));
  // The loop ends with "no start line" in the queue, which is fine once something was read.
  if (chain.empty()) return openssl_error("this is not a certificate in PEM form");
  ERR_clear_error();
  return chain;
}

Result<Certificate> Certificate::from_pem(std::string_view pem) {
  auto in = reader(pem);
  X509Ptr x(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
  if (!x) return openssl_error("this is not a certificate in PEM form");
  return Certificate(std::move(x));
}

Result<std::string> Certificate::to_pem() const {
  Bio out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509(out.get(), x_.get()) != 1) return openssl_error("write a certificate");
  return content(out.get());
}

Subject Certificate::subject() const { return subject_of(X509_get_subject_name(x_.get())); }

AltNames Certificate::alt_names() const {
  Names list(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(x_.get(), NID_subject_alt_name, nullptr, nullptr)));
  return list ? alt_names_of(list.get()) : AltNames();
}

std::int64_t Certificate::not_before() const { return seconds(X509_get0_notBefore(x_.get())); }
std::int64_t Certificate::not_after() const { return seconds(X509_get0_notAfter(x_.get())); }

std::string Certificate::serial() const {
  base::CPtr<BIGNUM, BN_free> number(ASN1_INTEGER_to_BN(X509_get0_serialNumber(x_.get()), nullptr));
  if (!number) return "";
  std::unique_ptr<char, void (*)(char*)> hex(BN_bn2hex(number.get()), [](char* p) { OPENSSL_free(p); });
  return hex ? hex.get() : "";
}

bool Certificate::is_ca() const { return X509_check_ca(x_.get()) == 1; }

bool Certificate::is_for_servers() const {
  auto flags = X509_get_extended_key_usage(x_.get());  // UINT32_MAX when the extension is absent
  return (flags & XKU_SSL_SERVER) != 0;
}

bool Certificate::is_for_clients() const {
  auto flags = X509_get_extended_key_usage(x_.get());
  return (flags & XKU_SSL_CLIENT) != 0;
}

std::string Certificate::spki_pin() const {
  unsigned char* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x_.get()), &der);
  if (size <= 0) return "";
  auto pin = base::sha256_hex({reinterpret_cast<char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  return pin;
}

bool Certificate::signed_by(const Certificate& ca) const {
  bool named = X509_NAME_cmp(X509_get_issuer_name(x_.get()), X509_get_subject_name(ca.get())) == 0;
  bool ok = named && X509_verify(x_.get(), X509_get0_pubkey(ca.get())) == 1;
  ERR_clear_error();
  return ok;
}

bool Certificate::matches(const PrivateKey& key) const {
  bool ok = X509_check_private_key(x_.get(), key.get()) == 1;
  ERR_clear_error();
  return ok;
}

Result<SigningRequest> SigningRequest::from_pem(std::string_view pem) {
  auto in = reader(pem);
  X509ReqPtr raw(PEM_read_bio_X509_REQ(in.get(), nullptr, nullptr, nullptr));
  if (!raw) return openssl_error("this is not a certificate signing request in PEM form");
  EVP_PKEY* key = X509_REQ_get0_pubkey(raw.get());
  if (key == nullptr || !key_is_strong(key))
    return Error::text("the request's key is too weak or of an unknown kind (P-256, RSA from 2048 bit, Ed25519)");
  if (X509_REQ_verify(raw.get(), key) != 1)
    return openssl_error("the request is not signed by the key that it carries");
  SigningRequest request;
  request.subject = subject_of(X509_REQ_get_subject_name(raw.get()));
  auto free_extensions = [](STACK_OF(X509_EXTENSION) * s) { sk_X509_EXTENSION_pop_free(s, X509_EXTENSION_free); };
  std::unique_ptr<STACK_OF(X509_EXTENSION), decltype(free_extensions)> extensions(X509_REQ_get_extensions(raw.get()),
                                                                                  free_extensions);
  if (extensions) {
    Names list(static_cast<GENERAL_NAMES*>(X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
    if (list) request.alt_names = alt_names_of(list.get());
  }
  ERR_clear_error();
  request.raw = std::move(raw);
  return request;
}

std::string to_openssl(const AltNames& names) {
  std::string text;
  for (const auto& d : names.dns) text += (text.empty() ? "DNS:" : ",DNS:") + d;
  for (const auto& ip : names.ips) text += (text.empty() ? "IP:" : ",IP:") + ip.to_string();
  return text;
}

Result<std::string> make_signing_request(const PrivateKey& key, const Subject& subject, const AltNames& names) {
  X509ReqPtr raw(X509_REQ_new());
  X509_NAME* name = raw ? X509_REQ_get_subject_name(raw.get()) : nullptr;
  if (name == nullptr) return openssl_error("make a signing request");
  for (const auto& o : subject.organizations)
    if (!add_entry(name, "O", o)) return openssl_error(fmt::format("put O={} into a request", o));
  if (!add_entry(name, "CN", subject.common_name))
    return openssl_error(fmt::format("put CN={} into a request", subject.common_name));
  if (!names.empty()) {
    base::CPtr<X509_EXTENSION, X509_EXTENSION_free> san(
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, to_openssl(names).c_str()));
    if (!san) return openssl_error(fmt::format("put the names {} into a request", to_openssl(names)));
    auto free_stack = [](STACK_OF(X509_EXTENSION) * s) { sk_X509_EXTENSION_free(s); };
    std::unique_ptr<STACK_OF(X509_EXTENSION), decltype(free_stack)> list(sk_X509_EXTENSION_new_null(), free_stack);
    if (!list || sk_X509_EXTENSION_push(list.get(), san.get()) == 0 ||
        X509_REQ_add_extensions(raw.get(), list.get()) != 1)
      return openssl_error("put names into a request");
  }
  if (X509_REQ_set_version(raw.get(), X509_REQ_VERSION_1) != 1 || X509_REQ_set_pubkey(raw.get(), key.get()) != 1 ||
      X509_REQ_sign(raw.get(), key.get(), EVP_sha256()) <= 0)
    return openssl_error("sign a request");
  Bio out(BIO_new(BIO_s_mem()));
  if (!out || PEM_write_bio_X509_REQ(out.get(), raw.get()) != 1) return openssl_error("write a signing request");
  return content(out.get());
}

}  // namespace trama::pki
