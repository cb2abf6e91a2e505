// SPDX-License-Identifier: GPL-2.0-or-later
#include "control/server/tls.h"

#include <ctime>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "base/digest.h"
#include "base/tls_policy.h"

namespace trama::server {

using base::Error;
using base::Result;
using boost::system::error_code;
namespace ssl = boost::asio::ssl;

namespace {

int choose_protocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned n, void*) {
  static constexpr unsigned char kProtocols[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
  auto chosen = SSL_select_next_proto(const_cast<unsigned char**>(out), size, kProtocols, sizeof kProtocols, in, n);
  return chosen == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

Result<std::shared_ptr<ssl::context>> make_server_tls(const Options& options) {
  auto tls = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* ctx = tls->native_handle();
  base::apply_tls_policy(ctx);
  error_code ec;
  tls->use_certificate_chain(boost::asio::buffer(options.certificate_pem), ec);
  if (ec) return Error::text("the serving certificate does not parse: " + ec.message());
  tls->use_private_key(boost::asio::buffer(options.key_pem), ssl::context::pem, ec);
  if (ec) return Error::text("the serving key does not parse: " + ec.message());
  if (!options.client_ca_pem.empty()) {
    tls->add_certificate_authority(boost::asio::buffer(options.client_ca_pem), ec);
    if (ec) return Error::text("the client CA does not parse: " + ec.message());
    tls->set_verify_mode(ssl::verify_peer, ec);  // asked for, not demanded: tokens and anonymous are allowed
  }
  SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, nullptr);
  static constexpr unsigned char kSession[] = "trama";
  SSL_CTX_set_session_id_context(ctx, kSession, sizeof kSession - 1);
  return tls;
}

namespace {

std::string pin_of(X509* certificate) {
  unsigned char* der = nullptr;
  int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
  if (size <= 0) return "";
  auto pin = base::sha256_hex({reinterpret_cast<char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  return pin;
}

}  // namespace

std::set<std::string> pins_of(const std::string& bundle_pem) {
  std::set<std::string> out;
  std::unique_ptr<BIO, decltype(&BIO_free)> text(
      BIO_new_mem_buf(bundle_pem.data(), static_cast<int>(bundle_pem.size())), BIO_free);
  while (auto* certificate = PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
    out.insert(pin_of(certificate));
    X509_free(certificate);
  }
  ERR_clear_error();  // the end of the text is one
  return out;
}

Peer peer_of(SSL* connection) {
  Peer peer;
  X509* certificate = SSL_get0_peer_certificate(connection);
  if (!certificate) return peer;
  auto& who = peer.identity;
  auto* name = X509_get_subject_name(certificate);
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    auto* entry = X509_NAME_get_entry(name, i);
    unsigned char* text = nullptr;
    int n = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(entry));
    if (n < 0) continue;
    std::string value(reinterpret_cast<char*>(text), static_cast<std::size_t>(n));
    OPENSSL_free(text);
    int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    if (nid == NID_commonName) who.name = value;
    if (nid == NID_organizationName) who.groups.push_back(value);
  }
  if (who.name.empty()) who.groups.clear();  // groups without a name speak for nobody
  if (!who.name.empty()) who.groups.emplace_back("system:authenticated");
  if (auto* chain = SSL_get0_verified_chain(connection); chain != nullptr && sk_X509_num(chain) > 0)
    peer.authority = pin_of(sk_X509_value(chain, sk_X509_num(chain) - 1));
  std::tm end{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &end) == 1) peer.expires = ::timegm(&end);
  return peer;
}

}  // namespace trama::server
